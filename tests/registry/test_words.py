"""Models that answer with words: served in the one wire format, sampled by prompt, and every mistake one sentence."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from components.errors import UserError
from components.project import Project
from components.registry.asking import Drawn, SampleRequest
from components.registry.loading import load_package
from components.registry.package import Package
from components.registry.runtime import Runtime
from components.registry.sampling import gaps_filled, sample_registered
from components.tracking import Tracker
from tests.stores import register, write_words_package


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return write_words_package(tmp_path_factory.mktemp("bert") / "model", family="bert")


@pytest.fixture(scope="module")
def word2vec(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return write_words_package(tmp_path_factory.mktemp("word2vec") / "model", family="word2vec")


@pytest.fixture(scope="module")
def gaps(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return write_words_package(tmp_path_factory.mktemp("gaps") / "model", family="t5")


@pytest.fixture(scope="module")
def mapper(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return write_words_package(tmp_path_factory.mktemp("mapper") / "model", family="t5", modality="text-pairs")


def draw(tracker: Tracker, package: Package, **request: object) -> Drawn:
    version = register(tracker, package)
    return sample_registered(Project(package.folder.parent), tracker, version.ref, SampleRequest(**request))  # type: ignore[arg-type]


def test_each_gap_is_filled_by_itself_and_a_text_becomes_a_vector(bert: Package) -> None:
    runtime = Runtime.open(bert.folder / "artifacts")
    assert runtime.spec.abilities == ("fills-masks", "embeds-text")
    answers = runtime.predict([{"prompt": "a [MASK] object is [MASK]", "n": 3}, {"text": "an object"}])
    assert [(answer["row"], answer["mask"]) for answer in answers[:6]] == [(0, 1)] * 3 + [(0, 2)] * 3
    assert all(0 < answer["probability"] < 1 for answer in answers[:6])
    assert answers[6]["row"] == 1
    assert len(answers[6]["vector"]) == 16


def test_the_package_names_its_columns_and_an_example(bert: Package, word2vec: Package) -> None:
    for package, columns in ((bert, {"prompt", "n", "text"}), (word2vec, {"prompt", "n"})):
        described = (package.folder / "MLmodel").read_text()
        assert all(f'"name": "{column}"' in described for column in columns)
    assert "object" in (bert.folder / "input_example.json").read_text()


def test_five_words_are_named_unless_said_otherwise(tracker: Tracker, bert: Package, word2vec: Package) -> None:
    filled = draw(tracker, bert, prompt="a [MASK] object").text
    assert filled is not None
    assert filled.splitlines()[0] == "a [MASK] object"
    assert len(filled.splitlines()) == 6
    two = draw(tracker, bert, prompt="[MASK] is [MASK]", num=2).text
    assert two is not None
    assert [line for line in two.splitlines() if line.startswith("mask")] == ["mask 1:", "mask 2:"]
    near = draw(tracker, word2vec, prompt="object", num=3).text
    assert near is not None
    assert len(near.splitlines()) == 4
    assert near == draw(tracker, word2vec, prompt="Object", num=3).text.replace("Object", "object", 1)  # type: ignore[union-attr]


def test_gaps_without_a_single_word_are_one_sentence() -> None:
    with pytest.raises(UserError, match=r"knows no word for a gap of 'a \[MASK\]': give another text round it"):
        gaps_filled("a [MASK]", [])


def test_words_are_added_and_taken_away(tracker: Tracker, word2vec: Package) -> None:
    found = draw(tracker, word2vec, prompt="objects - object + method", num=100).text
    assert found is not None
    named = {line.split()[1] for line in found.splitlines()[1:]}
    assert not named & {"objects", "object", "method", "[UNK]", "<|endoftext|>"}
    assert "raised" in named


def test_a_source_is_answered_and_the_answers_repeat(tracker: Tracker, mapper: Package) -> None:
    runtime = Runtime.open(mapper.folder / "artifacts")
    assert runtime.spec.abilities == ("maps-text",)
    rows: list[dict[str, object]] = [{"prompt": "def area(width)", "n": 2}, {"prompt": "object"}]
    params = {"max_new_tokens": 6, "seed": 3}
    answers = runtime.predict(rows, params)
    assert answers == runtime.predict(rows, params)
    assert [(answer["row"], answer["seed"], answer["prompt"]) for answer in answers] == [(0, 3, "def area(width)")] * 2 + [(1, 5, "object")]
    assert answers[0]["text"] != answers[1]["text"]
    letter = answers[0]["text"][2]
    assert runtime.predict(rows[:1], {**params, "stop": [letter]})[0]["text"] == answers[0]["text"].partition(letter)[0]
    single = draw(tracker, mapper, prompt="def area(width)", max_new_tokens=8)
    assert single.text == draw(tracker, mapper, prompt="def area(width)", max_new_tokens=8, seed=9).text  # the likeliest one
    assert single.text != draw(tracker, mapper, prompt="def area(width)", max_new_tokens=8, temperature=2.0).text
    assert single.notes == ()


def test_of_a_long_source_the_beginning_is_read_and_that_is_said(tracker: Tracker, mapper: Package) -> None:
    prompt = "object " * 200
    with load_package(mapper.folder) as model:
        length = len(Tokenizer.from_str(model.data_spec.tokenizer).encode(prompt).ids)
    drawn = draw(tracker, mapper, prompt=prompt, max_new_tokens=4)
    assert drawn.notes == (f"The prompt has {length:,} tokens with its marks, of which the model reads the first 96.",)


def test_gaps_of_any_length_are_filled_in_their_places(tracker: Tracker, gaps: Package) -> None:
    drawn = draw(tracker, gaps, prompt="a [MASK] is raised by [MASK].", max_new_tokens=400, temperature=1.0)
    assert drawn.text is not None
    assert drawn.text.startswith("a")
    assert " is raised by" in drawn.text
    assert drawn.text.endswith(".")
    assert "MASK" not in drawn.text
    assert drawn.text == draw(tracker, gaps, prompt="a [MASK] is raised by [MASK].", max_new_tokens=400, temperature=1.0).text


@pytest.mark.parametrize(
    ("family", "request_", "sentence"),
    [
        ("bert", {}, "The prompt is empty: give a text with [MASK]"),
        ("bert", {"prompt": "  "}, "The prompt is empty: give a text with [MASK]"),
        ("bert", {"prompt": "a [MASK] object [SEP]"}, "The prompt has [SEP], which is a mark of the model's own: leave it out."),
        ("bert", {"prompt": "no gap"}, 'The prompt has no [MASK]: write one where a word is missing, e.g. "a [MASK] object".'),
        ("bert", {"prompt": "[MASK] object" * 40}, "tokens with its marks, and the model reads 32 at once: shorten it."),
        ("bert", {"prompt": "\udcff [MASK]"}, "The column prompt holds what is no UTF-8"),
        ("bert", {"prompt": "a [MASK]", "label": "3"}, "fills the gaps of a prompt: leave --label out."),
        ("bert", {"prompt": "a [MASK]", "image": Path("x.png")}, "leave --from out."),
        ("gaps", {}, "The prompt is empty: give a text with [MASK] where words are missing"),
        ("gaps", {"prompt": "no gap"}, "The prompt has no [MASK], and this model fills gaps only: write one where words are missing"),
        ("gaps", {"prompt": "[MASK]" + " an object" * 20}, "tokens with its marks, and the model reads 32 at once: shorten it."),
        ("gaps", {"prompt": "[MASK]" * 33}, "The prompt has 33 times [MASK], and the model fills at most 32 gaps at once: give fewer."),
        ("gaps", {"prompt": "\udcff [MASK]"}, "The column prompt holds what is no UTF-8"),
        ("gaps", {"prompt": "a [MASK]", "stop": ("x",)}, "leave the parameter stop out."),
        ("mapper", {"prompt": " "}, "The prompt is empty: give the text that the model shall answer."),
        ("mapper", {"prompt": "\udcff"}, "The column prompt holds what is no UTF-8"),
        ("mapper", {"prompt": "x", "label": "3"}, "answers a prompt with text: leave --label out."),
        ("mapper", {"prompt": "x", "steps": 3}, "answers a prompt with text: leave --steps out."),
        ("word2vec", {}, "The prompt names no word: give one, or a sum"),
        ("word2vec", {"prompt": "+ -"}, "The prompt names no word: give one, or a sum"),
        ("word2vec", {"prompt": "objct"}, "The model does not know the word 'objct'; did you mean 'object'?"),
        ("word2vec", {"prompt": "Ωmega"}, "The model does not know the word 'Ωmega'; choose one that the training text has."),
        ("word2vec", {"prompt": "a.b"}, "'a.b' is not one word"),
        ("word2vec", {"prompt": "\udcff"}, "The column prompt holds what is no UTF-8"),
        ("word2vec", {"prompt": "object", "steps": 3}, "names the words nearest to a prompt: leave --steps out."),
    ],
)
def test_a_prompt_that_cannot_be_answered_is_one_sentence(
    tracker: Tracker, bert: Package, word2vec: Package, gaps: Package, mapper: Package, family: str, request_: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UserError) as error:
        draw(tracker, {"bert": bert, "word2vec": word2vec, "gaps": gaps, "mapper": mapper}[family], **request_)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
