"""What of the project's cache nothing used for a while is found and dropped, and only that."""

import json
import os
import time
from pathlib import Path

import pytest

from components.cache import drop, mark_used, unused
from components.project import Project
from tests.genmill.test_cli import genmill

A_MONTH_AGO = time.time() - 31 * 86_400


def put(project: Project, path: str, used: float = A_MONTH_AGO) -> Path:
    file = project.cache / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(bytes(1000))
    for one in (file, file.parent):
        os.utime(one, (used, used))
    return file


def names(project: Project, days: float = 30) -> set[str]:
    return {str(path.relative_to(project.cache)) for entry in unused(project, days) for path in entry.paths}


def test_an_entry_with_all_that_belongs_to_it_is_unused_when_no_part_of_it_was_written_or_used(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert names(project) == set()
    for path in ("downloads/a.file", "downloads/a.json", "downloads/b.file", "tokens/mine-train-1/tokens.npy", "hub/ann--pets/old/0.parquet"):
        put(project, path)
    put(project, "downloads/b.json", time.time())
    put(project, "hub/ann--pets/new/0.parquet", time.time())
    assert names(project) == {"downloads/a.file", "downloads/a.json", "tokens/mine-train-1", "hub/ann--pets/old"}
    assert sum(entry.bytes for entry in unused(project, 30)) == 4000
    assert names(project, 40) == set()


def test_what_is_marked_as_used_stays_and_the_rest_goes(tmp_path: Path) -> None:
    project = Project(tmp_path)
    kept, gone = put(project, "tokens/kept/tokens.npy"), put(project, "tokens/gone/tokens.npy")
    mark_used(kept.parent)
    drop(unused(project, 30))
    assert (kept.is_file(), gone.parent.exists()) == (True, False)
    mark_used(gone)  # what is not there is nobody's error


@pytest.mark.slow
def test_the_command_drops_it_and_a_dry_run_only_says_so(versioned: Project) -> None:
    file = put(versioned, "downloads/a.file")
    for arguments in (("--dry-run",), ()):
        assert file.exists()
        done = genmill("data", "gc", "--no-registry", "--keep", "9", "--json", *arguments, cwd=versioned.root)
        assert json.loads(done.stdout)["cached"] == {"entries": 1, "bytes": 1000}
    assert not file.exists()
    assert genmill("data", "gc", "mine", "--no-registry", "--unused", "0", "--json", cwd=versioned.root).returncode == 0
