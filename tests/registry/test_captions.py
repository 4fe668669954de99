"""A model that says what a picture shows: served in the one wire format, sampled from a picture, and every mistake one sentence."""

import json
from pathlib import Path

import pytest
from PIL import Image

from components.errors import UserError
from components.project import Project
from components.registry import wire
from components.registry.asking import Drawn, SampleRequest
from components.registry.package import Package
from components.registry.runtime import Runtime
from components.registry.sampling import sample_registered
from components.tracking import Tracker
from tests.stores import register, write_captions_package


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return write_captions_package(tmp_path_factory.mktemp("captioner") / "model")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.jpg"
    Image.new("RGB", (40, 30), (200, 30, 30)).save(path)
    return path


def draw(tracker: Tracker, package: Package, **request: object) -> Drawn:
    version = register(tracker, package)
    return sample_registered(Project(package.folder.parent), tracker, version.ref, SampleRequest(**request))  # type: ignore[arg-type]


def test_the_first_caption_is_the_likeliest_and_the_others_are_drawn(captioner: Package) -> None:
    runtime = Runtime.open(captioner.folder / "artifacts")
    assert runtime.spec.abilities == ("captions-images",)
    request = [{"image": wire.blank_png(1, 8)}, {"image": wire.blank_png(1, 8), "n": 4}]
    answers = runtime.predict(request, {"seed": 3})
    assert [answer["row"] for answer in answers] == [0, 1, 1, 1, 1]
    assert answers == runtime.predict(request, {"seed": 3})
    texts = [answer["text"] for answer in answers]
    assert texts[0] == texts[1], "the likeliest hangs on no seed"
    assert len(set(texts[1:])) > 1
    assert len({answer["text"] for answer in runtime.predict(request, {"temperature": 0})}) == 1


def test_the_package_names_its_columns_and_has_an_example_that_is_answered(captioner: Package) -> None:
    described = (captioner.folder / "MLmodel").read_text()
    assert all(f'"name": "{column}"' in described for column in ("image", "n", "row", "seed", "text"))
    example = json.loads((captioner.folder / "input_example.json").read_text())
    assert "image" in json.dumps(example)


def test_a_picture_of_any_size_and_mode_is_captioned(tracker: Tracker, captioner: Package, picture: Path) -> None:
    one = draw(tracker, captioner, image=picture)
    assert one.text is not None
    several = draw(tracker, captioner, image=picture, num=3, seed=2)
    assert several.text is not None
    assert several.text.split("\n")[0] == one.text
    assert several.description.startswith("3 captions, the first the likeliest, of ")


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({}, "says what a picture shows: give one with --from."),
        ({"prompt": "a dog"}, "says what a picture shows: leave --prompt out."),
        ({"label": "3"}, "leave --label out."),
        ({"top_k": 3}, "leave --top-k out."),
        ({"image": Path("none.png")}, "There is no picture none.png"),
        ({"image": Path("x.png"), "animated": True}, "renders no views, so there is nothing to animate"),
    ],
)
def test_a_wish_that_cannot_be_met_is_one_sentence(tracker: Tracker, captioner: Package, request_: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError) as error:
        draw(tracker, captioner, **request_)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_request_without_a_picture_is_one_sentence(captioner: Package) -> None:
    with pytest.raises(wire.BadRequestError, match="answers only requests with the column image"):
        Runtime.open(captioner.folder / "artifacts").predict([{"n": 2}])
