"""Captioned images: a caption is required, tidied and kept, and a picture is never in two splits."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from components.data.dataset import Dataset
from components.data.modalities import Examined, Rejection, find_modality
from components.data.stamp import read_stamp
from components.data.validate import validate
from components.project import Project
from tests.data.workbench import files, folder_project, one_dataset, png, quarantine, rows, run

MODALITY: Any = find_modality("image-text")
MANY = 60


def captioned(tmp_path: Path, num: int = MANY, **block: Any) -> Project:
    """A project with ``num`` images in a folder, each with its caption in a .txt beside it."""
    project = folder_project(tmp_path, "image-text", **block)
    for index in range(num):
        write(project, f"{index:03d}", png(index), f"a caption of picture {index}")
    return project


def write(project: Project, name: str, image: bytes, caption: str | bytes | None) -> None:
    (files(project) / f"{name}.png").write_bytes(image)
    if caption is not None:
        (files(project) / f"{name}.txt").write_bytes(caption if isinstance(caption, bytes) else caption.encode())


def examined(caption: bytes | None, **clean: Any) -> Examined | Rejection:
    row = {"image": {"bytes": png(0), "path": "a.png"}, "label": None, "caption": caption}
    found = MODALITY.examine(row, MODALITY.CleanConfig(**clean), False)
    assert isinstance(found, (Examined, Rejection))
    return found


@pytest.mark.parametrize(
    ("caption", "rejection"),
    [
        (None, Rejection("incomplete", "no caption")),
        (b"", Rejection("incomplete", "the caption is blank")),
        (b" \n\t ", Rejection("incomplete", "the caption is blank")),
        ("Grüße".encode("latin-1"), Rejection("corrupt", "the caption is not UTF-8 at byte 2")),
        (b"a\0b", Rejection("corrupt", "the caption holds NUL characters: not plain text")),
        (b"a   b", Rejection("out-of-range", "the caption has 3 characters, allowed are 4 to 10")),
        (b"a caption too long", Rejection("out-of-range", "the caption has 18 characters, allowed are 4 to 10")),
    ],
)
def test_a_row_without_a_usable_caption_is_rejected_with_its_reason(caption: bytes | None, rejection: Rejection) -> None:
    assert examined(caption, min_caption_chars=4, max_caption_chars=10) == rejection


def test_captions_are_stored_with_single_blanks(tmp_path: Path) -> None:
    project = captioned(tmp_path)
    write(project, "spaced", png(900), "  two\r\n\r\nlines,\t one   caption ")
    run(project)
    assert next(row["caption"] for row in rows(project) if row["id"] == "spaced.png") == "two lines, one caption"


def test_a_picture_with_another_caption_counts_once_with_the_first(tmp_path: Path) -> None:
    project = captioned(tmp_path)
    write(project, "again", png(7), "the same picture in other words")
    run(project)
    assert quarantine(project)["again.png"][0] == "duplicate"
    assert len(rows(project)) == MANY


def test_several_captions_of_a_picture_are_kept_in_one_split_where_that_is_wanted(tmp_path: Path) -> None:
    project = captioned(tmp_path, clean={"several_captions": True}, split={"train": 0.4, "validation": 0.3, "test": 0.3})
    for index in range(MANY):
        write(project, f"again{index:03d}", png(index), f"other words for picture {index}")
    write(project, "same", png(3), "a  caption of picture 3")
    run(project)
    splits = {row["id"]: row["split"] for row in rows(project)}
    assert len(splits) == 2 * MANY
    assert all(splits[f"again{index:03d}.png"] == splits[f"{index:03d}.png"] for index in range(MANY))
    assert quarantine(project) == {"same.png": ("duplicate", quarantine(project)["same.png"][1])}


def test_a_changed_caption_is_a_changed_row(tmp_path: Path) -> None:
    project = captioned(tmp_path)
    run(project)
    write(project, "005", png(5), "words that were mended")
    run(project)
    assert next(row["caption"] for row in rows(project) if row["id"] == "005.png") == "words that were mended"


def test_altered_copies_keep_the_caption(tmp_path: Path) -> None:
    project = captioned(tmp_path, augment={"copies": 2, "shift": 1})
    run(project)
    originals = {row["id"]: row["caption"] for row in rows(project)}
    added = rows(project, stage="augmented")
    assert len(added) == 2 * sum(row["split"] == "train" for row in rows(project))
    assert all(row["caption"] == originals[row["parent_id"]] for row in added)


@pytest.mark.slow
def test_the_gate_has_rules_on_captions(tmp_path: Path) -> None:
    project = captioned(tmp_path, clean={"min_caption_chars": 5})
    run(project)
    result = validate(project, read_stamp(project, "mine", "validate"))
    assert result.outcome == "passed"
    assert {rule.column for rule in result.rules} >= {"caption", "caption_chars", "num_bytes"}


@pytest.mark.slow
@pytest.mark.parametrize("source", [{"kind": "digits", "rows": 300}, {"kind": "glyphs", "rows": 300}])
def test_the_embedded_images_are_the_same_with_and_without_captions_required(tmp_path: Path, source: dict[str, Any]) -> None:
    found = []
    for modality in ("image", "image-text"):
        project = one_dataset(tmp_path / modality, {"modality": modality, "source": source})
        run(project)
        found.append([(row["id"], row["split"], row["image"], row["label"], row["caption"]) for row in rows(project)])
    assert found[0] == found[1]
    assert all(caption for *_, caption in found[1])


def test_the_preview_shows_captions_beside_the_pictures(tmp_path: Path) -> None:
    project = captioned(tmp_path)
    run(project)
    table = Dataset.open(project, "mine").table("train")
    with Image.open(io.BytesIO(MODALITY.preview(table, num=3))) as shown:
        assert shown.width > shown.height
        beside = shown.crop((70, 0, 320, 60)).convert("L")
        assert beside.getextrema()[0] < 100, "nothing is written there"
    assert MODALITY.preview(table.slice(0, 0))
