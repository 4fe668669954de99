"""What the playground puts side by side, which fields a model takes, and what it keeps open."""

import shutil
from pathlib import Path

import pytest

from components.errors import UserError
from components.project import Project
from components.registry import playing
from components.registry.asking import SampleRequest
from components.registry.loading import load_package
from components.registry.package import Package
from components.registry.playing import Fields, Playground, fields_of
from components.tracking import Tracker
from tests.stores import register, write_digits_package, write_text_package, write_words_package


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return write_digits_package(tmp_path_factory.mktemp("second") / "model", seed=1)


def test_champion_and_candidate_stand_side_by_side_where_they_differ(tracker: Tracker, package: Package, second: Package, tmp_path: Path) -> None:
    playground = Playground(Project(tmp_path), tracker)
    register(tracker, package, fid=12.5)
    tracker.set_alias("vae-digits", "champion", 1)
    (only,) = playground.contenders("vae-digits")
    assert (only.title, only.data, only.figures) == ("champion and candidate · vae-digits/1", "digits@v1", "fid_own 12.5")
    register(tracker, second)
    assert [one.title for one in playground.contenders("vae-digits")] == ["champion · vae-digits/1", "candidate · vae-digits/2"]
    for alias in ("champion", "candidate"):
        tracker.delete_alias("vae-digits", alias)
    assert [one.title for one in playground.contenders("vae-digits")] == ["newest · vae-digits/2"]


def test_open_models_are_kept_but_not_more_than_fit(
    tracker: Tracker, package: Package, second: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in (package, second):
        register(tracker, one)
    playground, request = Playground(Project(tmp_path), tracker), SampleRequest(num=1, seed=3)
    first = playground.draw("vae-digits/1", request)
    kept = playground._open.copy()
    assert playground.draw("vae-digits/1", request) == first
    assert playground._open == kept
    assert playground.draw("vae-digits/2", request).png != first.png
    assert len(playground._open) == 2
    monkeypatch.setattr(playing, "MOST_OPEN_BYTES", 1)
    playground.close()
    for ref in ("vae-digits/1", "vae-digits/2"):
        playground.draw(ref, request)
        assert len(playground._open) == 1


def test_weights_that_cannot_be_read_are_a_sentence(tracker: Tracker, package: Package, tmp_path: Path) -> None:
    shutil.copytree(package.folder, tmp_path / "package")
    (tmp_path / "package/artifacts/model.safetensors").write_bytes(b"no weights")
    register(tracker, package.model_copy(update={"folder": tmp_path / "package"}))
    with pytest.raises(UserError, match=r"vae-digits/1 cannot be opened here \(SafetensorError: .*: train the model again"):
        Playground(Project(tmp_path), tracker).draw("vae-digits/1", SampleRequest())


def test_what_is_unknown_is_a_sentence(tracker: Tracker, package: Package, tmp_path: Path) -> None:
    register(tracker, package)
    with pytest.raises(UserError, match="vae-digits has no version 7"):
        Playground(Project(tmp_path), tracker).fields("vae-digits/7")


@pytest.mark.slow
def test_a_model_is_asked_for_what_it_heeds_and_for_nothing_else(package: Package, tmp_path: Path) -> None:
    gan = write_digits_package(tmp_path / "gan", family="gan")
    gpt = write_text_package(tmp_path / "gpt", context_length=16, num_layers=1, width=16, num_heads=2)
    word2vec = write_words_package(tmp_path / "word2vec", family="word2vec")
    wanted = [
        (package, Fields(image=True, num=16)),
        (gan, Fields(labels=tuple("0123456789"), num=16)),
        (gpt, Fields(prompt=True, example="The ", temperature=True, num=1)),
        (word2vec, Fields(prompt=True, example="object", num=5)),
    ]
    for made, fields in wanted:
        with load_package(made.folder) as model:
            assert fields_of(model) == fields, made.folder
