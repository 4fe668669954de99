"""Text pairs: both sides are required, a conversation becomes a pair, and a source is never in two splits."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.data.dataset import Dataset
from components.data.modalities import Examined, Rejection, find_modality
from components.data.publish import publish
from components.data.stamp import read_stamp
from components.data.validate import validate
from components.errors import UserError
from components.project import Project
from tests.conftest import make_project, prepare
from tests.data.workbench import files, folder_project, quarantine, rows, run, set_params

MODALITY: Any = find_modality("text-pairs")
MANY = 60
HELLO = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hi."}]


def jsonl(*values: object) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def many(num: int = MANY, names: tuple[str, str] = ("source", "target")) -> list[dict[str, str]]:
    return [{names[0]: f"question {index}", names[1]: f"answer {index}"} for index in range(num)]


def project_of(tmp_path: Path, text: str | bytes, name: str = "pairs.jsonl", **block: Any) -> Project:
    project = folder_project(tmp_path, "text-pairs", **block)
    (files(project) / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return project


def examined(source: bytes | None = None, target: bytes | None = None, messages: Any = None, **clean: Any) -> Examined | Rejection:
    row = {"source_text": source, "target_text": target, "messages": None if messages is None else json.dumps(messages).encode(), "problem": None}
    found = MODALITY.examine(row, MODALITY.CleanConfig(**clean), False)
    assert isinstance(found, (Examined, Rejection))
    return found


@pytest.mark.parametrize(
    ("source", "target", "rejection"),
    [
        (None, b"an answer", Rejection("incomplete", "no source")),
        (b" \n", b"an answer", Rejection("incomplete", "the source is blank")),
        (b"a question", None, Rejection("incomplete", "no target")),
        (b"a question", b"\t", Rejection("incomplete", "the target is blank")),
        ("Köln".encode("latin-1"), b"an answer", Rejection("corrupt", "the source is not UTF-8 at byte 1")),
        (b"a question", "Köln".encode("latin-1"), Rejection("corrupt", "the target is not UTF-8 at byte 1")),
        (b"a question", b"a\0b", Rejection("corrupt", "the target holds NUL characters: not plain text")),
        (b"ab", b"an answer", Rejection("out-of-range", "the source has 2 characters, allowed are 3 to 20")),
        (b"a question", b"x" * 31, Rejection("out-of-range", "the target has 31 characters, allowed are 2 to 30")),
    ],
)
def test_a_pair_with_an_unusable_side_is_rejected_with_its_reason(source: bytes | None, target: bytes | None, rejection: Rejection) -> None:
    assert examined(source, target, min_source_chars=3, max_source_chars=20, min_target_chars=2, max_target_chars=30) == rejection


@pytest.mark.parametrize(
    ("messages", "rejection"),
    [
        ([], Rejection("incomplete", "the messages are no list with at least one message")),
        ("Hello", Rejection("incomplete", "the messages are no list with at least one message")),
        (HELLO[:1], Rejection("incomplete", "the last message is from 'user', not from 'assistant'")),
        (HELLO[1:], Rejection("incomplete", "nothing stands before the message of 'assistant'")),
        ([{"role": "user", "content": " "}, HELLO[1]], Rejection("incomplete", "the text of message 1 is blank")),
        ([HELLO[0], {"role": "assistant", "content": ["Hi."]}], Rejection("corrupt", "message 2 is no object with the texts role and content")),
        ([{"role": "user", "content": "a\0b"}, HELLO[1]], Rejection("corrupt", "the text of message 1 holds NUL characters: not plain text")),
        (["Hello?", "Hi."], Rejection("corrupt", "message 1 is no object with the texts role and content")),
    ],
)
def test_a_conversation_that_makes_no_pair_is_rejected_with_its_reason(messages: Any, rejection: Rejection) -> None:
    assert examined(messages=messages) == rejection


def test_a_conversation_becomes_what_went_before_and_the_last_answer(tmp_path: Path) -> None:
    talk = [{"role": "system", "content": "Be brief."}, *HELLO, {"role": "user", "content": "Who?\nYou?"}, {"role": "assistant", "content": "Grüße, 你好"}]
    project = project_of(tmp_path, jsonl(*many(), {"messages": talk}))
    run(project)
    (row,) = [row for row in rows(project) if row["id"] == f"pairs.jsonl:{MANY + 1}"]
    assert row["source_text"] == "system: Be brief.\n\nuser: Hello?\n\nassistant: Hi.\n\nuser: Who?\nYou?"
    assert row["target_text"] == "Grüße, 你好"
    assert (row["source_chars"], row["target_chars"]) == (len(row["source_text"]), len(row["target_text"]))


def test_half_a_character_in_a_conversation_is_rejected() -> None:
    row = dict.fromkeys(("source_text", "target_text", "problem")) | {"messages": json.dumps([{"role": "user", "content": "\ud800"}, HELLO[1]]).encode()}
    found = MODALITY.examine(row, MODALITY.CleanConfig(), False)
    assert found.reason == "corrupt"
    assert "surrogates not allowed" in found.detail


def test_a_column_of_conversations_holds_json(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text-pairs")
    with (files(project) / "talks.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["messages"])
        writer.writerows([[json.dumps([{"role": "user", "content": f"question {index}"}, HELLO[1]])] for index in range(MANY)])
    run(project)
    assert {row["source_text"] for row in rows(project)} == {f"user: question {index}" for index in range(MANY)}


@pytest.mark.parametrize("names", [("source", "target"), ("prompt", "response")])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
def test_both_names_of_the_sides_are_read_from_every_kind_of_file(tmp_path: Path, names: tuple[str, str], kind: str) -> None:
    values = [*many(names=names), {names[0]: 'two\nlines, "quoted"', names[1]: "tab\there"}]
    delimiter = {"csv": ",", "tsv": "\t"}.get(kind, "")
    lines = [delimiter.join('"' + value.replace('"', '""') + '"' for value in row.values()) for row in values]
    text = jsonl(*values) if kind == "jsonl" else "\ufeff" + "\r\n".join([delimiter.join(names), *lines])
    project = project_of(tmp_path, text, f"pairs.{kind}")
    run(project)
    found = {(row["source_text"], row["target_text"]) for row in rows(project)}
    assert found == {tuple(row.values()) for row in values}


def test_the_same_pair_is_kept_once_and_the_same_source_stays_in_one_split(tmp_path: Path) -> None:
    others = [{"source": f"Question  {index}!", "target": f"another answer {index}"} for index in range(MANY)]
    same = {"source": "question\n7", "target": "answer 7"}
    project = project_of(tmp_path, jsonl(*many(), *others, same), split={"train": 0.4, "validation": 0.3, "test": 0.3})
    set_params(project, split={"seed": 1})
    run(project)
    assert quarantine(project) == {f"pairs.jsonl:{2 * MANY + 1}": ("duplicate", quarantine(project)[f"pairs.jsonl:{2 * MANY + 1}"][1])}
    splits = {row["id"]: row["split"] for row in rows(project)}
    assert all(splits[f"pairs.jsonl:{index}"] == splits[f"pairs.jsonl:{index + MANY}"] for index in range(1, MANY + 1))


def test_a_row_that_cannot_be_read_is_quarantined_with_file_and_line(tmp_path: Path) -> None:
    bad = ['{"source": "a", "target": ', '["a", "b"]', '{"question": "a", "\\udcff": "b"}', '{"source": "a", "target": 7}', '{"source": "a"}']
    latin = '{"source": "Köln", "target": "a town"}'.encode("latin-1")
    surrogate = rb'{"source": "\ud800", "target": "half a character"}'
    project = project_of(tmp_path, jsonl(*many()).encode() + "\n".join([*bad, ""]).encode() + latin + b"\n\n" + surrogate)
    manifest = run(project)
    found = {int(name.rpartition(":")[2]) - MANY: rejection for name, rejection in quarantine(project).items()}
    assert {line: reason for line, (reason, _) in found.items()} == {
        1: "unreadable", 2: "unreadable", 3: "unreadable", 4: "unreadable", 5: "incomplete", 6: "corrupt", 8: "corrupt",
    }  # fmt: skip
    assert found[1][1].startswith("no JSON (")
    assert found[3][1].startswith("question, \\xff where source and target or prompt and response, or messages")
    assert found[4][1] == "target is no text"
    assert found[5][1] == "no target"
    assert found[6][1] == "the source is not UTF-8 at byte 1"
    assert manifest.rows() == MANY


def test_a_csv_row_of_the_wrong_width_is_quarantined(tmp_path: Path) -> None:
    text = "source,target\n" + "".join(f"question {index},answer {index}\n" for index in range(MANY)) + "one,two,three\n"
    project = project_of(tmp_path, text, "pairs.csv")
    run(project)
    assert quarantine(project) == {f"pairs.csv:{MANY + 2}": ("unreadable", "3 fields where the header has 2")}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("pairs.csv", "english,german\na,b\n", r"pairs.csv line 2 has english, german: rows of text pairs need source and target or prompt and response"),
        ("pairs.jsonl", '{"text": "a"}\n', r"pairs.jsonl line 1 has text: rows of text pairs need .*; rename them\.$"),
        ("notes.md", "# no pairs", r"holds no text-pairs files \(.jsonl, .csv, .tsv"),
        ("pairs.jsonl", "", r"Dataset 'mine' is empty"),
    ],
)
def test_a_file_without_pairs_is_refused_with_what_it_has(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(project_of(tmp_path, text, name))


def test_files_or_folders_named_by_splits_are_the_sources_split(tmp_path: Path) -> None:
    project = project_of(tmp_path, jsonl(*many()), "train.jsonl", split={"method": "given"})
    (files(project) / "test").mkdir()
    (files(project) / "test" / "part.jsonl").write_text(jsonl(*({"source": f"q{index}", "target": "a"} for index in range(5))))
    manifest = run(project)
    assert manifest.rows("test") == 5
    assert manifest.rows("train") + manifest.rows("validation") == MANY


def test_new_lines_at_the_end_never_move_old_rows(tmp_path: Path) -> None:
    project = project_of(tmp_path, jsonl(*many()))
    run(project)
    before = {row["id"]: row["split"] for row in rows(project)}
    (files(project) / "pairs.jsonl").write_text(jsonl(*many(2 * MANY)))
    run(project)
    after = {row["id"]: row["split"] for row in rows(project)}
    assert {name: after[name] for name in before} == before
    assert len(after) == 2 * MANY


def test_pairs_are_not_augmented_and_the_line_says_why(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params.yaml line \d+: datasets.mine.augment.copies: text pairs are not augmented.*leave it at 0"):
        run(project_of(tmp_path, jsonl(*many()), augment={"copies": 1}))


def test_the_preview_shows_both_sides(tmp_path: Path) -> None:
    project = project_of(tmp_path, jsonl(*many()))
    run(project)
    text = MODALITY.preview(Dataset.open(project, "mine").table("train"), num=2)
    assert text.count("question ") == text.count("\n→ answer ") == 2


@pytest.mark.slow
def test_the_gate_has_rules_on_both_sides(tmp_path: Path) -> None:
    project = project_of(tmp_path, jsonl(*many()))
    run(project)
    result = validate(project, read_stamp(project, "mine", "validate"))
    assert result.outcome == "passed"
    assert {rule.column for rule in result.rules} >= {"source_chars", "target_chars", "source_words", "target_words"}


@pytest.mark.slow
def test_pairs_and_captions_become_versions_through_dvc(tmp_path: Path) -> None:
    captioned = {"modality": "image-text", "source": {"kind": "digits", "rows": 300}, "split": {"train": 0.5, "validation": 0.2, "test": 0.3}}
    params = {"datasets": {"docs": {"modality": "text-pairs", "source": {"kind": "docstrings", "rows": 200}}, "digits": captioned}}
    project = make_project(tmp_path / "project", yaml.safe_dump(params))
    for name, modality in (("docs", "text-pairs"), ("digits", "image-text")):
        prepare(project, name)
        version = publish(project, name, actor="tester")
        assert (version.version, version.validation) == ("v1", "passed")
        assert Dataset.open(project, name).modality == modality
