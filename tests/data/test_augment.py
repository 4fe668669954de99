"""Augmentation: only training rows, repeatable, and no more than asked for."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.data.augmenting.passages import passages
from components.data.config import load_project_datasets
from components.data.dataset import Dataset, is_added
from components.data.modalities import find_modality
from components.data.modalities import image as image_modality
from components.data.modalities import text as text_modality
from components.errors import UserError
from tests.data.workbench import files, folder_project, one_dataset, rows, run, set_params, write_images


def test_only_training_rows_get_copies_and_each_names_its_parent(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image", augment={"copies": 2, "rotate": 10, "shift": 1, "noise": 0.02})
    write_images(project, 60)
    manifest = run(project)
    data = Dataset.open(project, "mine")
    originals = data.table("train", augmented=False)
    added = [row for row in data.table("train").to_pylist() if row["parent_id"]]
    assert len(added) == 2 * originals.num_rows
    assert {row["parent_id"] for row in added} == set(originals["id"].to_pylist())
    assert {shard.split for shard in manifest.shards if is_added(shard)} == {"train"}
    labels = dict(zip(originals["id"].to_pylist(), originals["label"].to_pylist(), strict=True))
    assert all(row["label"] == labels[row["parent_id"]] for row in added)


def test_copies_differ_from_their_parent_and_from_each_other_but_not_much(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image", augment={"copies": 2, "noise": 0.02})
    write_images(project, 60)
    run(project)
    pixels = {
        row["id"]: np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])), dtype=float) for row in Dataset.open(project, "mine").table("train").to_pylist()
    }
    copies = [name for name in pixels if "~" in name]
    for name in copies:
        difference = np.abs(pixels[name] - pixels[name.partition("~")[0]]).mean()
        assert 1 < difference < 12
    assert not np.array_equal(pixels[copies[0]], pixels[copies[1]])


def test_a_shift_moves_the_picture_by_whole_pixels_and_repeats_the_border(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image", augment={"copies": 1, "shift": 3})
    write_images(project, 60)
    run(project)
    for row in [row for row in Dataset.open(project, "mine").table("train").to_pylist() if row["parent_id"]][:5]:
        parent = np.asarray(Image.open(files(project) / row["parent_id"]))
        copy = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
        shifted = [
            np.pad(parent, [(3, 3), (3, 3), (0, 0)], mode="edge")[3 - down : 19 - down, 3 - across : 19 - across]
            for down in range(-3, 4)
            for across in range(-3, 4)
        ]
        assert any(np.array_equal(copy, candidate) for candidate in shifted)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image", augment={"copies": 1, "rotate": 20, "noise": 0.1})
    write_images(project, 60)
    first = run(project).sha256
    assert run(project, stages=["augment"]).sha256 == first
    set_params(project, augment={"seed": 1})
    assert run(project).sha256 != first


def test_without_an_augment_block_nothing_is_added(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    write_images(project, 60)
    assert not any(is_added(shard) for shard in run(project).shards)


def test_text_copies_are_the_documents_in_passages_in_another_order(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text", augment={"copies": 1, "chunk_chars": 80})
    for index in range(60):
        (files(project) / f"{index:02d}.txt").write_text("\n".join(f"Line {line} of document {index}." for line in range(12)))
    run(project)
    data = Dataset.open(project, "mine")
    originals = {row["id"]: row["text"] for row in data.table("train", augmented=False).to_pylist()}
    added = [row for row in data.table("train").to_pylist() if row["parent_id"]]
    assert max(row["num_chars"] for row in added) <= 80
    for name, text in originals.items():
        mine = sorted((row for row in added if row["parent_id"] == name), key=lambda row: int(row["id"].rsplit(".", 1)[-1]))
        assert "\n".join(row["text"] for row in mine) == text
    parents = [row["parent_id"] for row in added]
    assert parents != sorted(parents)
    assert not any(row["parent_id"] for split in ("validation", "test") for row in data.table(split).to_pylist())


def test_a_line_longer_than_a_passage_is_cut_without_loss() -> None:
    found = list(passages("x" * 250 + "\n" + "short", 100))
    assert [len(passage) for passage in found][:2] == [100, 100]
    assert "".join(found).replace("\n", "") == "x" * 250 + "short"


def test_the_rows_of_the_validation_and_test_splits_are_those_of_the_clean_stage(dataset_project) -> None:  # type: ignore[no-untyped-def]
    data = Dataset.open(dataset_project, "digits")
    clean = {row["id"] for row in rows(dataset_project, "digits") if row["split"] != "train"}
    assert {name for split in ("validation", "test") for name in data.table(split)["id"].to_pylist()} == clean


def test_what_is_altered_at_load_time_adds_no_row_and_is_no_part_of_the_data_version(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    write_images(project, 60)
    plain = run(project)
    set_params(project, augment={"when": "load", "flip": True})
    altered = run(project)
    assert altered.sha256 == plain.sha256
    assert not any(is_added(shard) for shard in altered.shards)
    assert load_project_datasets(project)["mine"].load_time()["flip"]
    assert load_project_datasets(one_dataset(tmp_path / "other", {"modality": "image", "source": {"kind": "digits"}}))["mine"].load_time() == {}


@pytest.mark.parametrize("when", [{"when": "load"}, {"copies": 1}])
def test_colours_of_grey_images_are_refused_with_the_line(tmp_path: Path, when: dict[str, Any]) -> None:
    project = one_dataset(tmp_path, {"modality": "image", "source": {"kind": "digits", "rows": 50}, "augment": {**when, "saturation": 0.3}})
    with pytest.raises(UserError, match=r"params.yaml line \d+: datasets.mine.augment.saturation changes nothing in grey images: leave it out\."):
        run(project)


def test_a_template_that_names_labels_is_refused_where_there_are_none(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image-text", augment={"when": "load", "templates": ["{caption}", "a {label}"]})
    for index, path in enumerate(write_images(project, 60, classes=("",))):
        path.with_suffix(".txt").write_text(f"number {index}")
    with pytest.raises(UserError, match=r"datasets.mine.augment.templates has \{label\}, and the pictures have no labels: write \{caption\} there\."):
        run(project)


def test_captions_of_copies_are_reworded_and_their_pictures_altered(tmp_path: Path) -> None:
    augment = {"copies": 3, "flip": True, "templates": ["a photo of {caption}", "{label}!"]}
    project = one_dataset(tmp_path, {"modality": "image-text", "source": {"kind": "digits", "rows": 100}, "augment": augment})
    run(project)
    data = Dataset.open(project, "mine")
    captions = {row["id"]: (row["caption"], row["label"]) for row in data.table("train", augmented=False).to_pylist()}
    added = [row for row in data.table("train").to_pylist() if row["parent_id"]]
    kinds = set()
    for row in added:
        caption, label = captions[row["parent_id"]]
        assert row["caption"] in (f"a photo of {caption}", f"{data.class_names[label]}!")
        kinds.add(row["caption"].endswith("!"))
    assert kinds == {True, False}


def test_words_of_copied_documents_are_hidden_and_their_order_can_stay(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text", augment={"copies": 1, "chunk_chars": None, "shuffle": False, "mask": 0.3})
    for index in range(60):
        (files(project) / f"{index:02d}.txt").write_text(" ".join(f"word{index}-{word}" for word in range(40)))
    run(project)
    data = Dataset.open(project, "mine")
    originals = data.table("train", augmented=False)
    added = [row for row in data.table("train").to_pylist() if row["parent_id"]]
    assert [row["parent_id"] for row in added] == originals["id"].to_pylist()
    pairs = [pair for row, text in zip(added, originals["text"].to_pylist(), strict=True) for pair in zip(row["text"].split(), text.split(), strict=True)]
    assert all(new in (old, "_") for new, old in pairs)
    assert 0.2 < sum(new == "_" for new, _ in pairs) / len(pairs) < 0.4


@pytest.mark.parametrize("augment", [{"copies": 1, "flip": True, "rotate": 20}, {"when": "load", "flip": True, "rotate": 20}])
def test_images_are_shown_before_and_after(tmp_path: Path, augment: dict[str, Any]) -> None:
    for modality in ("image", "image-text"):
        project = one_dataset(tmp_path / modality, {"modality": modality, "source": {"kind": "digits", "rows": 100}, "augment": augment})
        manifest = run(project)
        module, table = find_modality(modality), Dataset.open(project, "mine").table("train", augmented=False)
        shown = module.before_after(table, module.AugmentConfig.model_validate(augment), manifest.class_names)
        assert isinstance(shown, bytes)
        assert Image.open(io.BytesIO(shown)).width > 200
        assert shown == module.before_after(table, module.AugmentConfig.model_validate(augment), manifest.class_names)
        assert module.before_after(table, module.AugmentConfig(), manifest.class_names) is None


def test_the_copy_that_is_shown_is_the_one_that_the_stage_makes(tmp_path: Path) -> None:
    augment = {"copies": 1, "shift": 2}
    project = one_dataset(tmp_path, {"modality": "image", "source": {"kind": "digits", "rows": 30}, "augment": augment})
    run(project)
    table = Dataset.open(project, "mine").table("train")
    first = table.slice(0, 1)
    sheet = np.asarray(Image.open(io.BytesIO(image_modality.before_after(first, image_modality.AugmentConfig(**augment), (), cell=8) or b"")).convert("L"))
    copy = next(row for row in table.to_pylist() if row["parent_id"] == first["id"][0].as_py())
    assert np.array_equal(sheet[2:10, 12:20], np.asarray(Image.open(io.BytesIO(copy["image"]["bytes"]))))


def test_documents_are_shown_before_and_after(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text", augment={"when": "load", "mask": 0.5})
    for index in range(30):
        (files(project) / f"{index:02d}.txt").write_text(f"Document {index} says this and that of one thing and another.")
    run(project)
    shown = text_modality.before_after(Dataset.open(project, "mine").table("train"), load_project_datasets(project)["mine"].augment, ())
    assert shown is not None
    before, after = shown.split("\n\nAfter\n")
    assert "_" not in before
    assert " _ " in after
