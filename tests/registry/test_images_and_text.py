"""Models that look at an image and a text together: served in the one wire format, sampled by picture and prompt, and every mistake one sentence."""

from pathlib import Path

import pytest
from PIL import Image

from components.errors import UserError
from components.models.capabilities import Question
from components.project import Project
from components.registry import wire
from components.registry.asking import Drawn, SampleRequest
from components.registry.package import Package
from components.registry.runtime import Runtime
from components.registry.sampling import sample_registered
from components.tracking import Tracker
from tests.stores import register, write_fusion_package

QUESTIONS = (Question("what is it?", "label", ("a", "b")), Question("how many?", "([0-9])", ("1", "2", "3")))


@pytest.fixture(scope="module")
def fusion(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return write_fusion_package(tmp_path_factory.mktemp("fusion") / "model", questions=QUESTIONS)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return write_fusion_package(tmp_path_factory.mktemp("single") / "model", shape="single-stream")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (20, 30), "red").save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def png() -> str:
    return wire.encode_png(Image.new("L", (8, 8), 90))


def draw(tracker: Tracker, package: Package, **request: object) -> Drawn:
    version = register(tracker, package)
    return sample_registered(Project(package.folder.parent), tracker, version.ref, SampleRequest(**request))  # type: ignore[arg-type]


def test_pairs_are_judged_questions_answered_and_gaps_filled(fusion: Package) -> None:
    runtime = Runtime.open(fusion.folder / "artifacts")
    assert runtime.spec.abilities == ("matches-images-and-text", "judges-pairs", "answers-questions", "fills-captions")
    request = [
        {"image": png(), "prompt": "an object"}, {"image": png(), "question": "How many", "n": 2}, {"image": png(), "prompt": "a [MASK] [MASK]", "n": 3},
        {"image": png()}, {"prompt": "an object"},
    ]  # fmt: skip
    judged, *answers = runtime.predict(request)
    assert judged["probability"] == pytest.approx(0.5)
    assert -1 <= judged["similarity"] <= 1
    assert [(answer["question"], answer["probability"]) for answer in answers[:2]] == [("how many?", pytest.approx(1 / 3))] * 2
    assert [(answer["row"], answer["mask"]) for answer in answers[2:8]] == [(2, 1)] * 3 + [(2, 2)] * 3
    assert [len(answer["vector"]) for answer in answers[8:]] == [8, 8]
    assert runtime.predict(request) == [judged, *answers]


def test_a_single_stream_judges_pairs_without_vectors(single: Package) -> None:
    runtime = Runtime.open(single.folder / "artifacts")
    assert runtime.spec.abilities == ("judges-pairs", "answers-questions", "fills-captions")
    (judged,) = runtime.predict([{"image": png(), "prompt": "an object"}])
    assert (judged["probability"], judged["similarity"]) == (pytest.approx(0.5), None)
    with pytest.raises(wire.BadRequestError, match="judges an image and a text together"):
        runtime.predict([{"prompt": "an object"}])


def test_a_gap_behind_a_blank_takes_the_beginning_of_a_word(fusion: Package) -> None:
    runtime = Runtime.open(fusion.folder / "artifacts")
    words = {answer["word"] for answer in runtime.predict([{"image": png(), "prompt": "a new [MASK]", "n": 300}])}
    assert {"object", "method"} <= words
    assert "xyz" not in words
    assert len(words) < len({answer["word"] for answer in runtime.predict([{"image": png(), "prompt": "a new[MASK]", "n": 300}])})


def test_a_prompt_says_what_is_wanted(tracker: Tracker, fusion: Package, picture: Path) -> None:
    assert draw(tracker, fusion, image=picture, prompt="an object").text == " 50.0 %  an object"
    answered = draw(tracker, fusion, image=picture, prompt="what is it?", num=5).text
    assert answered is not None
    assert sorted(answered.splitlines()) == [" 50.0 %  a", " 50.0 %  b"]
    filled = draw(tracker, fusion, image=picture, prompt="a [MASK] object").text
    assert filled is not None
    assert filled.splitlines()[0] == "a [MASK] object"
    assert len(filled.splitlines()) == 6
    alone = draw(tracker, fusion, image=picture).text
    assert alone is not None
    assert [line.split("%  ")[1][:9] for line in alone.splitlines()] == ["what is i", "how many?"]


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"prompt": "an object"}, "looks at a picture and a text: give a picture with --from"),
        ({"prompt": " ", "image": "PICTURE"}, "--prompt is empty: write what the picture may show"),
        ({"prompt": "who is it?", "image": "PICTURE"}, "does not know the question 'who is it?': ask one of 'what is it?', 'how many?'."),
        ({"prompt": "object " * 40, "image": "PICTURE"}, "tokens with its marks, and the model reads 24 at once: shorten it."),
        ({"prompt": "[MASK] object" * 40, "image": "PICTURE"}, "tokens with its marks, and the model reads 24 at once: shorten it."),
        ({"prompt": "\udcff", "image": "PICTURE"}, "The column prompt holds what is no UTF-8"),
        ({"prompt": "an object", "image": Path("nothing.png")}, "There is no picture nothing.png"),
        ({"prompt": "an object", "image": "PICTURE", "label": "a"}, "looks at a picture and a text: leave --label out."),
    ],
)
def test_what_cannot_be_answered_is_one_sentence(tracker: Tracker, fusion: Package, picture: Path, request_: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError) as error:
        draw(tracker, fusion, **{name: picture if value == "PICTURE" else value for name, value in request_.items()})
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"question": "what is it?"}, "A question is about an image: fill the column image as well."),
        ({"prompt": "a [MASK]"}, "A prompt with a gap is about an image"),
        ({"image": "PNG", "question": " "}, "The question is empty"),
        ({"image": "PNG", "question": 3}, "The column question must be text, not 3."),
        ({}, "neither an image nor a text"),
    ],
)
def test_a_bad_request_is_one_sentence(fusion: Package, row: dict[str, object], sentence: str) -> None:
    with pytest.raises(wire.BadRequestError, match=sentence):
        Runtime.open(fusion.folder / "artifacts").predict([{name: png() if value == "PNG" else value for name, value in row.items()}])


def test_a_model_without_questions_says_so(tracker: Tracker, single: Package, picture: Path) -> None:
    with pytest.raises(UserError, match="was trained without questions: name some in its config"):
        draw(tracker, single, image=picture, prompt="what is it?")
    with pytest.raises(UserError, match="was trained without questions: say with --prompt"):
        draw(tracker, single, image=picture)
