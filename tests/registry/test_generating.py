"""A generated dataset: the same request draws the same bytes, what is there is reused, an interrupted drawing goes on, and every mistake is a sentence."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from components.data.dataset import Dataset, file_sha256
from components.data.generated import LINEAGE, generated_rows, read_lineage
from components.errors import UserError
from components.evaluation.telling import SILENT, Silent
from components.project import Project
from components.registry import generating
from components.registry.dealing import _prompts
from components.registry.generating import Generated, GenerateRequest, generate_dataset, parse_params
from components.registry.package import Package
from components.tracking import ModelVersion, Tracker
from tests.stores import register, write_captions_package, write_digits_package, write_text_package, write_words_package


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Package]:
    folder = tmp_path_factory.mktemp("packages")
    drawing = {"gpt": write_text_package(folder / "gpt", context_length=16, num_layers=1, width=16, num_heads=2)}
    drawing |= {"gan": write_digits_package(folder / "gan", family="gan"), "vae": write_digits_package(folder / "vae")}
    return {**drawing, "bert": write_words_package(folder / "bert", family="bert"), "captions": write_captions_package(folder / "captions", "text-to-image")}


@pytest.fixture
def gan(tracker: Tracker, packages: dict[str, Package]) -> ModelVersion:
    return register(tracker, packages["gan"])


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches of eight rows to a shard."""
    monkeypatch.setattr(generating, "MOST_DRAWN", 8)
    monkeypatch.setattr(generating, "SHARD_BATCHES", 2)


def draw(tmp_path: Path, tracker: Tracker, model: str, tell: Silent = SILENT, **request: object) -> Generated:
    return generate_dataset(Project(tmp_path), tracker, GenerateRequest(**{"model": model, "rows": 40, **request}), tell)  # type: ignore[arg-type]


def hashes(generated: Generated) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted(generated.folder.glob("*.parquet"))}


def test_the_same_request_draws_the_same_bytes_and_another_seed_others(tmp_path: Path, tracker: Tracker, gan: ModelVersion) -> None:
    first, again, other = (draw(tmp_path, tracker, gan.ref, to=tmp_path / str(number), seed=seed) for number, seed in enumerate((3, 3, 4)))
    assert hashes(first) == hashes(again) == {file.name: file.sha256 for file in first.lineage.files}
    assert not set(hashes(first).values()) & set(hashes(other).values())
    assert (first.lineage.model, first.lineage.trained_on, first.lineage.package_sha256) == (gan.ref, "digits@v1", gan.tag("package_sha256"))


def test_every_class_that_the_model_heeds_gets_as_many_rows(tmp_path: Path, tracker: Tracker, gan: ModelVersion) -> None:
    generated = draw(tmp_path, tracker, gan.ref, rows=25)
    rows = list(generated_rows(generated.folder, generated.lineage))
    assert [row["index"] for row in rows] == list(range(25))
    labels = [row["label"] for row in rows]
    assert sorted(labels.count(name) for name in generated.lineage.class_names) == [2] * 5 + [3] * 5
    threes = draw(tmp_path, tracker, gan.ref, rows=5, to=tmp_path / "threes", params={"label": 3})
    assert {row["label"] for row in generated_rows(threes.folder, threes.lineage)} == {"3"}


def test_what_is_there_is_reused_until_something_else_is_asked_for_or_a_file_is_changed(tmp_path: Path, tracker: Tracker, gan: ModelVersion) -> None:
    first = draw(tmp_path, tracker, gan.ref)
    assert first.folder == tmp_path / "data/generated/gan-digits"
    assert not first.reused
    shard = next(first.folder.glob("*.parquet"))
    written = shard.stat().st_mtime_ns
    again = draw(tmp_path, tracker, gan.ref)
    assert again.reused
    assert "unchanged" in again.message
    assert shard.stat().st_mtime_ns == written
    assert not draw(tmp_path, tracker, gan.ref, rows=41).reused
    changed = draw(tmp_path, tracker, gan.ref)
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    mended = draw(tmp_path, tracker, gan.ref)
    assert not mended.reused
    assert hashes(mended) == hashes(changed) == hashes(first)


def test_without_a_seed_every_drawing_takes_the_next_one(tmp_path: Path, tracker: Tracker, gan: ModelVersion) -> None:
    drawn = [draw(tmp_path, tracker, gan.ref, seed=None) for _ in range(3)]
    assert [one.lineage.seed for one in drawn] == [0, 1, 2]
    assert len({file.sha256 for one in drawn for file in one.lineage.files}) == 3


def test_an_interrupted_drawing_goes_on_behind_its_last_finished_shard(tmp_path: Path, tracker: Tracker, gan: ModelVersion, small_shards: None) -> None:
    class Interrupts(Silent):
        def progress(self, message: str, done: int, total: int) -> None:
            if done == 3:
                raise KeyboardInterrupt

    whole = draw(tmp_path, tracker, gan.ref, to=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        draw(tmp_path, tracker, gan.ref, Interrupts(), to=tmp_path / "again")
    assert not (tmp_path / "again").exists()
    (finished,) = (tmp_path / ".again.part").glob("*.parquet")
    written = finished.stat().st_mtime_ns
    again = draw(tmp_path, tracker, gan.ref, to=tmp_path / "again")
    assert hashes(again) == hashes(whole)
    assert len(hashes(whole)) == 3
    assert (again.folder / finished.name).stat().st_mtime_ns == written
    assert sorted(path.name for path in again.folder.iterdir()) == [LINEAGE, *sorted(hashes(whole))]


def test_a_model_of_text_writes_text_behind_its_prompt(tmp_path: Path, tracker: Tracker, packages: dict[str, Package]) -> None:
    version = register(tracker, packages["gpt"])
    generated = draw(tmp_path, tracker, version.ref, rows=3, params={"prompt": "A list", "max_new_tokens": 4})
    rows = list(generated_rows(generated.folder, generated.lineage))
    assert generated.lineage.modality == "text"
    assert all(row["text"].startswith("A list") and row["prompt"] == "A list" for row in rows)
    assert len({row["text"] for row in rows}) > 1


def test_pictures_of_captions_keep_the_caption(tmp_path: Path, tracker: Tracker, packages: dict[str, Package]) -> None:
    version = register(tracker, packages["captions"])
    generated = draw(tmp_path, tracker, version.ref, rows=2, params={"prompt": "a new object", "steps": 1})
    (row, _) = pq.read_table(generated.folder / "part-00000.parquet").to_pylist()
    assert (generated.lineage.modality, row["caption"], row["image"]["bytes"][:4]) == ("image-text", "a new object", b"\x89PNG")


def test_captions_are_dealt_from_the_whole_training_split(dataset_project: Project) -> None:
    dataset = Dataset.open(dataset_project, "captions")
    plan, train = _prompts(dataset, "image-text"), dataset.table("train")
    asked = [one for one, num in plan.asked(0, 10, 10) for _ in range(num)]
    places = [index * train.num_rows // 10 for index in range(10)]
    assert sorted(one.prompt or "" for one in asked) == sorted(train["caption"].take(places).to_pylist())
    assert all(one.row == {"prompt": one.prompt} and one.drawn_label in dataset.class_names for one in asked)


def test_a_bare_name_is_the_champion_alone(tmp_path: Path, tracker: Tracker, gan: ModelVersion) -> None:
    with pytest.raises(UserError, match=r"gan-digits has no champion: run `genmill promote gan-digits`, or name a version, e.g. gan-digits/1"):
        draw(tmp_path, tracker, "gan-digits")
    tracker.set_alias("gan-digits", "champion", 1)
    assert draw(tmp_path, tracker, "gan-digits", rows=1).lineage.model == "gan-digits/1"


def test_what_cannot_be_drawn_is_one_sentence_and_leaves_nothing(tmp_path: Path, tracker: Tracker, gan: ModelVersion, packages: dict[str, Package]) -> None:
    bert, vae = register(tracker, packages["bert"]), register(tracker, packages["vae"])
    for model, request, sentence in (
        (gan.ref, {"rows": 0}, "0 rows are no dataset: ask for at least one with -n"),
        (bert.ref, {}, "draws nothing of its own, it answers requests with embeds-text, fills-masks: choose a model"),
        (vae.ref, {"params": {"label": "3"}}, "heeds no labels: leave --param label=… out"),
        (gan.ref, {"params": {"prompt": "three"}}, "takes no prompt: leave --param prompt=… out"),
        (gan.ref, {"params": {"stepz": 3}}, "There is no parameter 'stepz'; did you mean 'steps'"),
        (gan.ref, {"params": {"label": "eleven"}}, "There is no class 'eleven'"),
    ):
        with pytest.raises(UserError, match=sentence):
            draw(tmp_path, tracker, model, to=tmp_path / "out", **request)
        assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, tracker: Tracker, gan: ModelVersion) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds something else than a generated dataset: name another folder with --to"):
        draw(tmp_path, tracker, gan.ref, to=tmp_path / "mine")
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"


@pytest.mark.slow
def test_a_model_of_older_code_draws_its_labels_too(
    tmp_path: Path, tracker: Tracker, gan: ModelVersion, packages: dict[str, Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = draw(tmp_path, tracker, gan.ref, rows=10, to=tmp_path / "here")
    monkeypatch.setattr("components.registry.loading.is_same_code", lambda spec: False)
    there = draw(tmp_path, tracker, gan.ref, rows=10, to=tmp_path / "there")
    assert hashes(here) == hashes(there)


def test_parameters_are_read_as_a_person_writes_them() -> None:
    assert parse_params(["steps=20", "guidance=1.5", "label=3", "sampler=heun"]) == {"steps": 20, "guidance": 1.5, "label": "3", "sampler": "heun"}
    with pytest.raises(UserError, match="is no parameter: write NAME=VALUE"):
        parse_params(["steps"])
    with pytest.raises(UserError, match="give it with --seed"):
        parse_params(["seed=3"])


def test_a_folder_without_lineage_is_told_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no generated dataset, it has no lineage.json: make one with `genmill generate MODEL"):
        read_lineage(tmp_path)
