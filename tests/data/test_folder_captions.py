"""Captions that lie in a folder with their images: beside them, or in metadata files as Hugging Face's imagefolder has them."""

import json
import os
from pathlib import Path

import pytest

from components.data.stages import probe
from components.errors import UserError
from components.project import Project
from tests.data.workbench import files, folder_project, png, quarantine, rows, run, set_params

MANY = 60


def images(tmp_path: Path, names: list[str]) -> Project:
    project = folder_project(tmp_path, "image-text")
    for index, name in enumerate(names):
        path = files(project) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(index))
    return project


def jsonl(path: Path, values: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


def captions(project: Project) -> dict[str, str]:
    return {row["id"]: row["caption"] for row in rows(project)}


def test_a_text_of_the_same_name_is_the_caption_and_class_folders_are_labels(tmp_path: Path) -> None:
    names = [f"{'ab'[index % 2]}/{index:03d}.png" for index in range(MANY)]
    project = images(tmp_path, names)
    for name in names[1:]:
        (files(project) / name).with_suffix(".txt").write_text(f"this is {name}")
    manifest = run(project)
    assert captions(project) == {name: f"this is {name}" for name in names[1:]}
    assert quarantine(project) == {names[0]: ("incomplete", "no caption")}
    assert manifest.class_names == ("a", "b")
    assert manifest.source["files"] == MANY


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_metadata_file_names_images_from_where_it_stands(tmp_path: Path, kind: str) -> None:
    names = [f"pictures/{index:03d}.png" for index in range(MANY)]
    project = images(tmp_path, names)
    metadata = files(project) / "pictures" / f"metadata.{kind}"
    if kind == "jsonl":
        jsonl(metadata, [{"file_name": f"./{index:03d}.png", "text": f'number {index}, "quoted"', "more": 1} for index in range(MANY)])
    else:
        metadata.write_text("file_name,more,text\n" + "".join(f'{index:03d}.png,1,"number {index}, ""quoted"""\n' for index in range(MANY)))
    run(project)
    assert captions(project) == {f"pictures/{index:03d}.png": f'number {index}, "quoted"' for index in range(MANY)}
    assert rows(project)[0]["source"].endswith(")")


def test_several_captions_of_a_file_are_several_rows(tmp_path: Path) -> None:
    project = images(tmp_path, [f"{index:03d}.png" for index in range(MANY)])
    values: list[dict[str, object]] = [{"file_name": f"{index:03d}.png", "text": f"{word} {index}"} for index in range(MANY) for word in ("first", "second")]
    jsonl(files(project) / "metadata.jsonl", values)
    set_params(project, clean={"several_captions": True})
    run(project)
    found = captions(project)
    assert found["007.png"] == "first 7"
    assert found["007.png#2"] == "second 7"
    assert len(found) == 2 * MANY


def test_an_image_that_is_named_but_not_in_the_folder_is_quarantined_and_nothing_outside_is_read(tmp_path: Path) -> None:
    project = images(tmp_path, [f"{index:03d}.png" for index in range(MANY)])
    (tmp_path / "outside.png").write_bytes(png(900))
    values: list[dict[str, object]] = [{"file_name": f"{index:03d}.png", "text": f"number {index}"} for index in range(MANY)]
    jsonl(files(project) / "metadata.jsonl", [*values, {"file_name": "gone.png", "text": "gone"}, {"file_name": "../outside.png", "text": "outside"}])
    run(project)
    assert quarantine(project) == {"gone.png": ("incomplete", "no image bytes"), "../outside.png": ("incomplete", "no image bytes")}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"file_name": "000.png", "text": ', r"metadata.jsonl line 2 has no JSON .*: mend that line"),
        ('["000.png"]', r"metadata.jsonl line 2 has no JSON object: mend that line"),
        ('{"file_name": "000.png", "caption": "x"}', r"metadata.jsonl line 2 has no 'text' \(it has file_name, caption\): every line needs file_name and text"),
        ('{"text": "x"}', r"metadata.jsonl line 2 has no 'file_name'"),
        ('{"file_name": "", "text": "x"}', r"metadata.jsonl line 2 names no image: give it a file_name"),
        ('{"file_name": "000.png", "text": 7}', r"metadata.jsonl line 2: text is no text but 7: mend that line"),
    ],
)
def test_a_mistake_in_a_metadata_file_is_named_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    project = images(tmp_path, ["000.png", "001.png"])
    (files(project) / "metadata.jsonl").write_text('{"file_name": "001.png", "text": "fine"}\n' + line + "\n")
    with pytest.raises(UserError, match=message):
        run(project)


def test_a_caption_that_is_not_utf_8_is_quarantined_wherever_it_stands(tmp_path: Path) -> None:
    project = images(tmp_path, [f"{index:03d}.png" for index in range(MANY)])
    text = "".join(f'{{"file_name": "{index:03d}.png", "text": "number {index}"}}\n' for index in range(MANY - 2))
    latin = '{"file_name": "058.png", "text": "Grüße"}\n'.encode("latin-1")
    (files(project) / "metadata.jsonl").write_bytes(text.encode() + latin)
    (files(project) / "059.txt").write_bytes("Grüße".encode("latin-1"))
    run(project)
    assert quarantine(project) == dict.fromkeys(("058.png", "059.png"), ("corrupt", "the caption is not UTF-8 at byte 2"))


def test_a_name_that_is_not_utf_8_finds_its_image(tmp_path: Path) -> None:
    project = images(tmp_path, [f"{index:03d}.png" for index in range(MANY)])
    name = b"Gr\xfc\xdfe.png"
    Path(os.fsdecode(bytes(files(project)) + b"/" + name)).write_bytes(png(900))
    lines = [f'{{"file_name": "{index:03d}.png", "text": "number {index}"}}\n'.encode() for index in range(MANY)]
    (files(project) / "metadata.jsonl").write_bytes(b"".join(lines) + b'{"file_name": "' + name + b'", "text": "greetings"}\n')
    run(project)
    assert captions(project)["Gr\\xfc\\xdfe.png"] == "greetings"


def test_a_missing_image_does_not_ask_for_a_split(tmp_path: Path) -> None:
    project = images(tmp_path, [f"{split}/{index:03d}.png" for index, split in enumerate(["train", "test"] * (MANY // 2))])
    lines = [{"file_name": f"{split}/{index:03d}.png", "text": f"number {index}"} for index, split in enumerate(["train", "test"] * (MANY // 2))]
    jsonl(files(project) / "metadata.jsonl", [*lines, {"file_name": "elsewhere/gone.png", "text": "gone"}])  # type: ignore[list-item]
    set_params(project, split={"method": "given"})
    run(project)
    assert quarantine(project) == {"elsewhere/gone.png": ("incomplete", "no image bytes")}
    assert {row["split"] for row in rows(project)} == {"train", "validation", "test"}


def test_images_without_any_caption_are_refused_with_both_ways_out(tmp_path: Path) -> None:
    project = images(tmp_path, ["000.png"])
    (files(project) / "notes.txt").write_text("no caption, for no image has this name")
    with pytest.raises(UserError, match=r"holds images without captions: put a .txt of the same name .* set modality to image\.$"):
        run(project)


def test_a_new_caption_is_seen_by_the_probe(tmp_path: Path) -> None:
    project = images(tmp_path, ["000.png"])
    (files(project) / "000.txt").write_text("old")
    assert probe(project, "mine")
    assert not probe(project, "mine")
    (files(project) / "000.txt").write_text("newer")
    assert probe(project, "mine")
