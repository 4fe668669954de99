"""Augmentation: only training rows, repeatable, and no more than asked for."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from components.data.dataset import Dataset, is_added
from components.data.modalities import text as text_modality
from tests.data.workbench import files, folder_project, rows, run, set_params, write_images


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
    passages = list(text_modality._passages("x" * 250 + "\n" + "short", 100))
    assert [len(passage) for passage in passages][:2] == [100, 100]
    assert "".join(passages).replace("\n", "") == "x" * 250 + "short"


def test_the_rows_of_the_validation_and_test_splits_are_those_of_the_clean_stage(dataset_project) -> None:  # type: ignore[no-untyped-def]
    data = Dataset.open(dataset_project, "digits")
    clean = {row["id"] for row in rows(dataset_project, "digits") if row["split"] != "train"}
    assert {name for split in ("validation", "test") for name in data.table(split)["id"].to_pylist()} == clean
