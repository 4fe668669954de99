"""Texts end before a stop string, and are shown while they grow, letter by letter the same."""

from collections.abc import Sequence

import pytest
from tokenizers import Tokenizer

from components.errors import UserError
from components.project import Project
from components.registry.asking import Drawn, SampleRequest
from components.registry.continuing import GrowingText, before_stop, settled
from components.registry.loading import Child, LoadedModel, load_package
from components.registry.package import Package
from components.registry.runtime import read_spec
from components.registry.sampling import sample_registered
from components.tracking import Tracker
from tests.stores import register, write_text_package

PARAMS = {"seed": 5, "max_new_tokens": 24}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return write_text_package(tmp_path_factory.mktemp("texts") / "model")


@pytest.fixture(scope="module")
def tokenizer(texts: Package) -> Tokenizer:
    return Tokenizer.from_str(str(read_spec(texts.folder / "artifacts").data_spec["tokenizer"]))


@pytest.mark.parametrize(
    ("text", "stop", "ended", "shown"),
    [
        ("a\n\nb", ("\n\n",), "a", "a\n\nb"),
        ("a\n", ("\n\n",), "a\n", "a"),
        ("ab", ("bc", "abd"), "ab", ""),
        ("one two", ("two", "one"), "", "one tw"),
        ("h\ufffd", (), "h\ufffd", "h"),
    ],
)
def test_a_text_ends_before_the_first_stop_string_and_shows_only_what_is_certain(text: str, stop: Sequence[str], ended: str, shown: str) -> None:
    assert before_stop(text, stop) == ended
    assert settled(text, stop) == shown


@pytest.mark.parametrize("stop", [(), ("wide",), ("\n",), ("€ x",)])
def test_what_is_shown_piece_by_piece_is_the_text(tokenizer: Tokenizer, stop: Sequence[str]) -> None:
    tokens = tokenizer.encode("Ünï € wide 🎈\nworld").ids
    pieces: list[str] = []
    growing = GrowingText(tokenizer, stop, pieces.append)
    count = next((count for count in range(1, len(tokens) + 1) if growing.ends(tokens[:count])), len(tokens))
    assert growing.finished(tokens[:count]) == "".join(pieces) == before_stop("Ünï € wide 🎈\nworld", stop)
    assert "\ufffd" not in "".join(pieces)


@pytest.mark.slow
def test_a_package_streams_the_text_that_it_answers_here_and_in_a_child(texts: Package) -> None:
    child = LoadedModel(read_spec(texts.folder / "artifacts"), Child(texts.folder))
    with load_package(texts.folder) as here, child:
        plain = here.predict([{"prompt": "The"}], PARAMS)
        for model in (here, child):
            pieces: list[str] = []
            assert model.predict([{"prompt": "The"}], PARAMS, pieces.append) == plain
            assert "".join(pieces) == plain[0]["text"]
            assert len(pieces) > 3
        stopped = here.predict([{"prompt": "The"}], {**PARAMS, "stop": [plain[0]["text"][5]]})
    assert stopped[0]["text"] == before_stop(plain[0]["text"], plain[0]["text"][5])


def draw(tracker: Tracker, package: Package, pieces: list[str] | None = None, **request: object) -> Drawn:
    version = register(tracker, package)
    on_text = None if pieces is None else pieces.append
    return sample_registered(Project(package.folder.parent), tracker, version.ref, SampleRequest(**request), on_text)  # type: ignore[arg-type]


def test_one_text_is_drawn_unless_more_are_asked_for_and_streams_from_its_prompt_on(tracker: Tracker, texts: Package) -> None:
    pieces: list[str] = []
    drawn = draw(tracker, texts, pieces, prompt="The", max_new_tokens=8)
    assert drawn.description.startswith("1 texts")
    assert "".join(pieces) == drawn.text
    several: list[str] = []
    assert draw(tracker, texts, several, prompt="The", num=2, max_new_tokens=8).text != drawn.text
    assert not several


def test_any_prompt_is_continued(tracker: Tracker, texts: Package) -> None:
    for prompt in ("", "漢字 🎈 \x00"):
        drawn = draw(tracker, texts, prompt=prompt, max_new_tokens=8)
        assert drawn.text is not None
        assert drawn.text.startswith(prompt)
        assert not drawn.notes


def test_of_a_prompt_beyond_the_context_the_last_tokens_count_and_that_is_said(tracker: Tracker, texts: Package) -> None:
    drawn = draw(tracker, texts, prompt="abc " * 100, max_new_tokens=8)
    assert drawn.notes == ("The prompt has 400 tokens, of which the model heeds the last 128.",)
    same = draw(tracker, texts, prompt="abc " * 90, max_new_tokens=8)
    assert drawn.text is not None
    assert same.text is not None
    assert drawn.text.removeprefix("abc " * 100) == same.text.removeprefix("abc " * 90)


def test_bytes_that_are_no_utf8_are_refused_in_one_sentence(tracker: Tracker, texts: Package) -> None:
    with pytest.raises(UserError, match="no UTF-8 at character 1: send it as UTF-8"):
        draw(tracker, texts, prompt=b"\xff".decode("utf-8", "surrogateescape"))
