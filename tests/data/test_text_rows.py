"""Texts in files of rows and in folders: each with the title and the label that it was given, so that a model can be asked for them."""

import csv
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.data import records
from components.data.records import Record
from components.data.records import read_records as read_tree_records
from components.data.trees.folder import Folder
from components.errors import UserError
from tests.data.workbench import files, folder_project, quarantine, rows, run


def jsonl(*values: object) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def fillers(num: int = 60) -> list[dict[str, str]]:
    """Texts enough for a split."""
    return [{"text": f"filler number {number}", "label": "filler"} for number in range(num)]


def test_rows_become_texts_with_their_titles_and_labels(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text")
    told = jsonl(
        {"text": "Rührei in fünf Minuten", "title": "eggs", "label": "kitchen"}, {"text": "no more is known"}, {"text": "of the third class", "label": 3}
    )
    (files(project) / "texts.jsonl").write_text(told + jsonl(*fillers()))
    run(project)
    found = {row["id"]: (row["text"], row["title"], row["label"], row["source"]) for row in rows(project) if row["label"] != "filler"}
    assert found == {
        "texts.jsonl:1": ("Rührei in fünf Minuten", "eggs", "kitchen", "texts.jsonl line 1"),
        "texts.jsonl:2": ("no more is known", None, None, "texts.jsonl line 2"),
        "texts.jsonl:3": ("of the third class", None, "3", "texts.jsonl line 3"),
    }


def test_the_label_may_stand_in_a_column_of_another_name(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text", source={"kind": "folder", "path": "../files", "label_column": "genre"})
    (files(project) / "texts.csv").write_text("text,genre\nA rose is a rose,poem\nTo whom it may concern,letter\n")
    (files(project) / "more.jsonl").write_text(jsonl(*fillers()))
    run(project)
    assert {(row["text"], row["label"]) for row in rows(project) if row["label"]} == {("A rose is a rose", "poem"), ("To whom it may concern", "letter")}


def test_the_folder_of_a_text_is_its_label_unless_labels_are_not_wanted(tmp_path: Path) -> None:
    for labels, expected in (("folders", {"poem", None}), ("none", {None})):
        here = tmp_path / labels
        here.mkdir()
        project = folder_project(here, "text", source={"kind": "folder", "path": "../files", "labels": labels})
        (files(project) / "poem").mkdir()
        (files(project) / "poem" / "rose.txt").write_text("A rose is a rose")
        for number in range(60):
            (files(project) / f"letter{number}.txt").write_text(f"To whom it may concern, number {number}")
        run(project)
        assert {row["label"] for row in rows(project)} == expected


def test_files_of_rows_named_as_splits_are_the_splits(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text", split={"method": "given"})
    for split in ("train", "validation", "test"):
        (files(project) / f"{split}.jsonl").write_text(jsonl(*({"text": f"{split} text number {number}"} for number in range(3))))
    run(project)
    assert {(row["text"].split()[0], row["split"]) for row in rows(project)} == {(split, split) for split in ("train", "validation", "test")}


def test_a_row_that_cannot_be_read_goes_to_quarantine_with_its_line(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text")
    good = jsonl(*({"text": f"a text with the number {number}"} for number in range(40)))
    (files(project) / "texts.jsonl").write_bytes(good.encode() + b'{"text": "K\xf6ln"}\n{"text": ["a list"]}\nno json\n{"title": "no text"}\n{"text": " "}\n')
    run(project)
    assert quarantine(project) == {
        "texts.jsonl:41": ("corrupt", "the text is not UTF-8 at byte 1"),
        "texts.jsonl:42": ("unreadable", "text is no text"),
        "texts.jsonl:43": ("unreadable", "no JSON (Expecting value: line 1 column 1 (char 0))"),
        "texts.jsonl:44": ("incomplete", "no text"),
        "texts.jsonl:45": ("incomplete", "the text is blank"),
    }


def test_rows_without_a_column_of_texts_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text")
    (files(project) / "texts.tsv").write_text("content\tgenre\nA rose is a rose\tpoem\n")
    with pytest.raises(UserError, match=r"texts\.tsv line 2 has content, genre: rows of texts need text, and may have title and a label; rename them"):
        run(project)


def test_blocks_of_a_row_keep_its_label_and_what_is_no_text_goes_to_quarantine_whole(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text", split={"method": "blocks", "block_chars": 200, "train": 0.8, "validation": 0.1, "test": 0.1})
    long = "\n".join(f"line number {number} of a long text" for number in range(300))
    (files(project) / "texts.jsonl").write_text(jsonl({"text": long, "label": "counting"}, {"text": None}, {"text": " "}))
    (files(project) / "latin.txt").write_bytes("Köln".encode("latin-1"))
    run(project)
    assert len(rows(project)) > 40
    assert {row["label"] for row in rows(project)} == {"counting"}
    assert quarantine(project) == {
        "latin.txt": ("corrupt", "the text is not UTF-8 at byte 1"),
        "texts.jsonl:2": ("incomplete", "no text"),
        "texts.jsonl:3": ("incomplete", "the text is blank"),
    }


def read_records(path: Path) -> Iterator[Record]:
    tree = Folder(path.parent)
    entry = tree.find(path.name)
    assert entry is not None
    return read_tree_records(tree, entry)


def write_csv(path: Path, *texts: str) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])
    return path


def test_a_long_text_of_many_lines_is_one_row_of_a_csv_file(tmp_path: Path) -> None:
    long = "a line, and a comma\n" * 20_000
    found = list(read_records(write_csv(tmp_path / "texts.csv", long, "short")))
    assert [(record.line, record.fields, record.problem) for record in found] == [(2, {"text": long}, ""), (20_003, {"text": "short"}, "")]


def test_nothing_behind_a_field_that_is_too_long_is_taken_for_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_MOST_CHARACTERS", 1000)
    found = list(read_records(write_csv(tmp_path / "texts.csv", "first", "a line, and a comma\n" * 2000, "last")))
    assert [(record.line, record.fields) for record in found] == [(2, {"text": "first"}), (3, {})]
    assert found[1].problem == "a row that cannot be read (field larger than field limit (1000)), so the rest of the file was not read"
    assert [record.line for record in read_records(write_csv(tmp_path / "header.csv", "x" * 2000))] == [2]


def test_a_number_of_too_many_digits_is_a_problem_of_its_line(tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text('{"text": ' + "1" * 5000 + '}\n{"text": "next"}\n')
    first, second = read_records(tmp_path / "texts.jsonl")
    assert first.problem.startswith("no JSON (Exceeds the limit")
    assert second.fields == {"text": "next"}


def test_a_row_of_a_million_empty_objects_is_a_problem_and_long_texts_and_lists_of_numbers_are_none(tmp_path: Path) -> None:
    rows = ['{"text": [' + "{}," * 1_000_000 + "{}]}", json.dumps({"text": "word " * 300_000}), json.dumps({"text": "a", "tokens": [7] * 600_000})]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    assert [record.problem for record in read_records(tmp_path / "a.jsonl")] == ["more than 500,000 lists and objects in one row", "", ""]


def test_files_are_found_however_deep_their_folders_are(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    inside = os.open(tmp_path / "top", os.O_RDONLY)
    try:
        for _ in range(1200):
            os.mkdir("a", dir_fd=inside)
            outside, inside = inside, os.open("a", os.O_RDONLY, dir_fd=inside)
            os.close(outside)
        os.close(os.open("b.txt", os.O_WRONLY | os.O_CREAT, dir_fd=inside))
        assert [entry.name for entry in Folder(tmp_path).entries()] == [f"top/{'a/' * 1200}b.txt"]
    finally:
        os.close(inside)
        subprocess.run(["rm", "-rf", tmp_path / "top"], check=True)  # Python's own way of it ends at a thousand
