"""The code of the standard library: real files, none of the tests, the same ones every time."""

import ast
from pathlib import Path

import pytest

from components.data.sources import RawRow, stdlib
from components.data.sources.stdlib import Config
from components.errors import UserError
from tests.data.workbench import one_dataset, rows, run, set_params


def read(count: int | None = None) -> list[RawRow]:
    return list(stdlib.read(Config(kind="stdlib", rows=count), "text", Path()))


def test_gives_the_code_that_this_interpreter_runs_and_no_tests_tables_or_build_settings() -> None:
    titles = {row.fields["title"]: row.fields["text"] for row in read()}
    assert titles["json/decoder.py"] == Path(__import__("json.decoder").decoder.__file__).read_bytes()
    assert 7_000_000 < sum(map(len, titles.values())) < 15_000_000
    folders = {folder for title in titles for folder in title.split("/")[:-1]}
    assert not folders & {"test", "tests", "idle_test", "site-packages", "encodings", "pydoc_data"}
    assert not [title for title in titles if "_sysconfigdata" in title]


def test_the_first_files_stay_the_first_and_mix_the_packages() -> None:
    first = read(60)
    assert [row.id for row in first] == [row.id for row in read()[:60]]
    assert len({row.fields["title"].split("/")[0] for row in first}) > 20
    assert len({row.id for row in read()}) == len(read())


def test_a_file_is_labelled_with_its_package_and_a_lone_module_with_nothing() -> None:
    labels = {row.fields["title"]: row.fields["label"] for row in read()}
    assert (labels["json/decoder.py"], labels["email/message.py"], labels["chunk.py"]) == ("json", "email", None)


def test_another_number_of_files_is_another_fingerprint_and_no_path_of_this_machine_is_recorded() -> None:
    few, more = (Config(kind="stdlib", rows=count) for count in (5, 6))
    assert stdlib.fingerprint(few, "text", Path()) != stdlib.fingerprint(more, "text", Path())
    assert stdlib.fingerprint(few, "text", Path()) == stdlib.fingerprint(few, "text", Path("/elsewhere"))
    assert "/" not in str(stdlib.describe(few, "text", Path()))


def test_a_python_without_its_files_is_a_mistake_with_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(UserError, match=r"not as \.py files: install Python"):
        stdlib.check(Config(kind="stdlib"), "text", tmp_path)


def test_cleaning_leaves_the_code_code(tmp_path: Path) -> None:
    project = one_dataset(tmp_path, {"modality": "text", "source": {"kind": "stdlib", "rows": 60}, "clean": {"min_chars": 40, "unique_chars": 100}})
    run(project)
    for row in rows(project):
        ast.parse(row["text"])
    set_params(project, source={"rows": 61})
    run(project)
    assert {row["id"] for row in rows(project)} >= {f"stdlib-{title}" for title in ("chunk.py", "html/parser.py")}
