"""The gates that look at data and lineage: what is stored of a version must be whole before it goes into production."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from components import git
from components.data.publish import find_version
from components.project import Project
from components.registry.checks import check_gates
from components.registry.gates import GateRow, Gates
from components.tracking import Tracker
from components.training.identity import library_versions
from tests.stores import register, tracker_in, write_digits_package

pytestmark = pytest.mark.slow

RULES = Gates(champion=None)


@pytest.fixture
def whole(published: Project, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Project, Tracker]:
    """A published dataset, and a version trained on it with all that a run notes."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker = tracker_in(published, empty_store)
    data = find_version(published, "digits", "v1")
    package = write_digits_package(tmp_path / "model", data_sha256=data.sha256)
    tags = {
        "git_commit": git.head(published.root) or "", "validation": data.validation, "data_sha256": data.sha256, "params_sha256": "a" * 64,
        "code_sha256": "b" * 64, "libraries": json.dumps(library_versions()),
    }  # fmt: skip
    register(tracker, package, tags=tags)
    return published, tracker


def rows(project: Project, tracker: Tracker) -> list[GateRow]:
    found = check_gates(project, tracker, tracker.model_version("vae-digits", 1), RULES)
    assert found.passed == all(row.verdict == "passed" for row in found.rows)
    return [row for row in found.rows if row.rule in ("data", "lineage")]


def test_a_version_with_its_data_and_its_history_passes_and_says_what_was_hashed(whole: tuple[Project, Tracker]) -> None:
    validated, files, lineage = rows(*whole)
    assert (validated.verdict, validated.note) == ("passed", "digits@v1: passed")
    assert files.verdict == "passed"
    assert files.note.endswith("bytes re-hashed")
    assert (lineage.verdict, "package files" in lineage.note) == ("passed", True)


def change_a_shard(project: Project, tracker: Tracker) -> None:
    shard = next((project.data / "clean/digits").glob("*.parquet"))
    shard.chmod(0o644)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))


def name_another_data_version(project: Project, tracker: Tracker) -> None:
    tracker.set_version_tags("vae-digits", 1, {"data_version": "v9"})


def name_other_content(project: Project, tracker: Tracker) -> None:
    tracker.set_version_tags("vae-digits", 1, {"data_sha256": "0" * 64})


def name_data_that_is_not_published(project: Project, tracker: Tracker) -> None:
    tracker.set_version_tags("vae-digits", 1, {"data_version": "v9", "data_sha256": "0" * 64})


def change_the_package(project: Project, tracker: Tracker) -> None:
    folder = tracker.local_path(tracker.model_version("vae-digits", 1).source)
    assert folder is not None
    (folder / "code/components/extra.py").write_text("")


def delete_the_package(project: Project, tracker: Tracker) -> None:
    folder = tracker.local_path(tracker.model_version("vae-digits", 1).source)
    assert folder is not None
    shutil.rmtree(folder)


def forget_the_libraries(project: Project, tracker: Tracker) -> None:
    tracker.set_tags(tracker.model_version("vae-digits", 1).run_id, {"libraries": ""})


def forget_the_commit(project: Project, tracker: Tracker) -> None:
    tracker.set_tags(tracker.model_version("vae-digits", 1).run_id, {"git_commit": "0" * 40})


@pytest.mark.parametrize(
    ("fault", "rule", "note"),
    [
        (change_a_shard, "data", "damaged"),
        (name_another_data_version, "lineage", "data_version of version and run differ"),
        (name_other_content, "data", "digits@v1 is not what it was trained on"),
        (name_data_that_is_not_published, "data", "has no version 'v9'"),
        (change_the_package, "lineage", "package files differ from what was registered: code/components/extra.py"),
        (delete_the_package, "lineage", "its package is gone from"),
        (forget_the_libraries, "lineage", "missing: tag libraries of the run"),
        (forget_the_commit, "lineage", "git commit 000000000000 is not in this repository"),
    ],
)
def test_a_broken_link_fails_its_rule_and_is_named(whole: tuple[Project, Tracker], fault: Callable[[Project, Tracker], None], rule: str, note: str) -> None:
    fault(*whole)
    failed = [row for row in rows(*whole) if row.verdict == "failed"]
    assert {row.rule for row in failed} >= {rule}
    assert note in " ".join(row.note for row in failed)
