"""What a model drew as a dataset: alone, or beside real rows, where it is trained on and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from components.data.dataset import Dataset
from components.data.generated import LINEAGE, GeneratedFile, Lineage, generated_schema, lineage_sha256
from components.data.result import ValidationResult, result_folder
from components.data.shards import OutputFolder
from components.data.stages import probe
from components.errors import UserError
from components.project import Project
from tests.conftest import copy_project
from tests.data.workbench import png, quarantine, rows, run

Draw = Callable[..., Path]
COPIES = 5
NEW = 30


@pytest.fixture(scope="module")
def digits_passed(dataset_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """READ ONLY. Digits as they were prepared, and a gate that let them pass."""
    project = copy_project(dataset_project, tmp_path_factory.mktemp("passed") / "project")
    manifest = Dataset.open(project, "digits").manifest
    result = ValidationResult(name="digits", outcome="passed", manifest_sha256=manifest.sha256, rows=manifest.rows_by_split(), dropped={}, rules=())
    result_folder(project, "digits").mkdir(parents=True)
    (result_folder(project, "digits") / "result.json").write_text(result.model_dump_json())
    return project


@pytest.fixture
def project(digits_passed: Project, tmp_path: Path) -> Project:
    return copy_project(digits_passed, tmp_path / "project")


def drawn(project: Project, images: list[tuple[bytes, str | None]], **lineage: object) -> Path:
    """A generated dataset of ``images`` and their labels in `data/generated/gan-digits`, as `genmill generate` leaves it."""
    import pyarrow as pa

    folder = project.data / "generated/gan-digits"
    table = [
        {"index": index, "image": {"bytes": content, "path": f"{index}.png"}, "label": label, "caption": None} for index, (content, label) in enumerate(images)
    ]
    shard = OutputFolder(project.root, folder)
    written = shard.write_shard("part-00000.parquet", "train", pa.Table.from_pylist(table, generated_schema("image")))
    said = Lineage(
        model="gan-digits/3", run_id="f" * 32, package_sha256="a" * 64, trained_on="digits@v1", data_sha256="d" * 64, modality="image",
        class_names=tuple("0123456789") if images[0][1] else (), dealt="equal numbers", seed=7, rows=len(images),
        files=(GeneratedFile(name="part-00000.parquet", rows=len(images), sha256=written.sha256, bytes=written.bytes),),
    ).model_copy(update=lineage)  # fmt: skip
    (folder / LINEAGE).write_text(said.to_json())
    return folder


def more(project: Project, **source: object) -> None:
    """The dataset `more` of what was drawn; ``source`` adds keys."""
    params = yaml.safe_load(project.params.read_text())
    block = {"modality": "image", "source": {"kind": "synthetic", "path": "data/generated/gan-digits", **source}}
    project.params.write_text(yaml.safe_dump({"datasets": {**params["datasets"], "more": block}}, sort_keys=False))


def some_images(project: Project) -> list[tuple[bytes, str | None]]:
    """Copies of real training and test images, and new ones."""
    train, test = (Dataset.open(project, "digits").table(split, augmented=False).to_pylist() for split in ("train", "test"))  # type: ignore[arg-type]
    copies = [(row["image"]["bytes"], str(row["label"])) for row in (*train[:COPIES], *test[:COPIES])]
    return [*copies, *((png(seed, (8, 8), "L"), str(seed % 10)) for seed in range(NEW))]


def test_beside_real_rows_drawn_ones_are_trained_on_and_no_real_row_moves(project: Project) -> None:
    drawn(project, some_images(project))
    more(project, real="digits")
    manifest = run(project, "more")
    real, mixed = rows(project, "digits"), rows(project, "more")
    splits = {row["id"]: row["split"] for row in mixed}
    assert {row["id"]: row["split"] for row in real} == {name: split for name, split in splits.items() if not name.startswith("gan-digits")}
    synthetic = [row for row in mixed if row["source"].startswith("synthetic: gan-digits/3, seed 7")]
    assert len(synthetic) == NEW
    assert {row["split"] for row in synthetic} == {"train"}
    assert manifest.class_names == Dataset.open(project, "digits").class_names
    put_aside = quarantine(project, "more")
    assert len(put_aside) == 2 * COPIES
    assert {reason for reason, _ in put_aside.values()} == {"duplicate"}
    assert sum(detail.endswith("(test)") for _, detail in put_aside.values()) == COPIES


def test_the_manifest_says_who_drew_and_what_stands_beside_it(project: Project) -> None:
    folder = drawn(project, some_images(project))
    more(project, real="digits")
    source = run(project, "more").source
    assert (source["model"], source["package_sha256"], source["seed"], source["rows"]) == ("gan-digits/3", "a" * 64, 7, 2 * COPIES + NEW)
    assert source["lineage_sha256"] == lineage_sha256(folder)
    assert (source["real"], source["real_sha256"]) == ("digits", Dataset.open(project, "digits").manifest.sha256)


def test_to_train_on_synthetic_and_test_on_real_the_real_training_rows_are_left_out(project: Project) -> None:
    drawn(project, some_images(project))
    more(project, real="digits", train_on="synthetic")
    run(project, "more")
    real, mixed = rows(project, "digits"), rows(project, "more")
    held_out = {row["id"] for row in real if row["split"] != "train"}
    assert {row["id"] for row in mixed if row["split"] != "train"} == held_out
    assert {row["source"].partition(",")[0] for row in mixed if row["split"] == "train"} == {"synthetic: gan-digits/3"}


def test_alone_they_are_dealt_as_any_source_and_the_first_rows_can_be_taken(project: Project) -> None:
    drawn(project, some_images(project))
    more(project, rows=35)
    manifest = run(project, "more")
    assert sum(manifest.rows_by_split().values()) == 35
    assert set(manifest.rows_by_split()) == {"train", "validation", "test"}


def test_a_changed_file_is_refused_by_its_name(project: Project) -> None:
    folder = drawn(project, some_images(project))
    more(project)
    shard = folder / "part-00000.parquet"
    content = shard.read_bytes()
    shard.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    with pytest.raises(UserError, match=r"part-00000.parquet was changed \(sha256 .* draw it again with `genmill generate gan-digits/3 -n 40 --seed 7`"):
        run(project, "more", ("collect",))
    shard.write_bytes(content + b"x")
    with pytest.raises(UserError, match=r"part-00000.parquet was changed \("):
        probe(project, "more")
    shard.unlink()
    with pytest.raises(UserError, match=r"part-00000.parquet is missing"):
        probe(project, "more")


def test_a_new_drawing_and_new_real_rows_are_seen_by_the_probe(project: Project) -> None:
    drawn(project, some_images(project))
    more(project, real="digits")
    assert probe(project, "more")
    assert not probe(project, "more")
    drawn(project, some_images(project)[:-1])
    assert probe(project, "more")


def test_every_mistake_is_a_sentence_with_its_line(project: Project) -> None:
    images = some_images(project)
    drawn(project, images)
    for source, sentence in (
        ({"path": "data"}, "is no generated dataset, it has no lineage.json: make one with `genmill generate"),
        ({"real": "captions"}, "the rows of captions are image-text, not image: set modality to image-text"),
        ({"real": "pydogs"}, "Dataset 'pydogs' is not prepared"),
        ({"train_on": "synthetic"}, "train_on needs `real: DATASET`"),
    ):
        more(project, **source)
        with pytest.raises(UserError, match=sentence):
            probe(project, "more")
    drawn(project, [(content, None) for content, _ in images])
    more(project, real="digits")
    with pytest.raises(UserError, match=r"line \d+.*digits has labels and what gan-digits/3 drew has none"):
        probe(project, "more")
    drawn(project, images, class_names=("0", "eleven"))
    with pytest.raises(UserError, match="gan-digits/3 drew the class 'eleven', which digits does not have"):
        probe(project, "more")


def test_real_rows_that_failed_their_validation_are_refused(project: Project) -> None:
    drawn(project, some_images(project))
    more(project, real="digits")
    path = result_folder(project, "digits") / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "outcome": "failed"}))
    with pytest.raises(UserError, match="the real rows of digits have not passed their validation: run `genmill run --dataset digits`"):
        probe(project, "more")


def test_splits_that_would_mix_real_test_rows_with_drawn_ones_are_refused(project: Project) -> None:
    drawn(project, some_images(project))
    more(project, real="digits")
    params = yaml.safe_load(project.params.read_text())
    params["datasets"]["more"]["split"] = {"method": "hash"}
    project.params.write_text(yaml.safe_dump(params, sort_keys=False))
    with pytest.raises(UserError, match=r"its synthetic source says the split of each row: set split.method to given"):
        probe(project, "more")
