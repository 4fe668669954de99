"""DuckDB as the stages use it: bounded, offline, and gone when it is done."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.data.duck import connect
from components.project import Project

_KILLED = """
import os, sys
from pathlib import Path
from components.data.duck import connect
from components.project import Project
with connect(Project(Path(sys.argv[1]))):
    os._exit(1)
"""


def folders(project: Project) -> list[Path]:
    return list(project.state.glob("duckdb-*"))


def test_its_folder_goes_with_the_connection(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with connect(project) as connection:
        connection.execute("CREATE TABLE numbers AS SELECT range AS number FROM range(1000)")
        assert len(folders(project)) == 1
    assert folders(project) == []
    with pytest.raises(RuntimeError, match="an error"), connect(project):
        raise RuntimeError("an error")
    assert folders(project) == []


def test_the_folder_of_a_process_that_was_killed_goes_with_the_next_and_that_of_a_live_one_stays(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=False).returncode == 1
    (left,) = folders(project)
    with connect(project), connect(project):
        assert left not in folders(project)
        assert len(folders(project)) == 2
        assert all(f"-{os.getpid()}-" in folder.name for folder in folders(project))


def test_what_does_not_fit_into_memory_is_spilled_and_sorted_all_the_same(tmp_path: Path) -> None:
    with connect(Project(tmp_path), memory_mib=64) as connection:
        query = "SELECT count(*), count(DISTINCT digest) FROM (SELECT sha256(range::VARCHAR) AS digest FROM range(1000000) ORDER BY digest)"
        assert connection.execute(query).fetchall() == [(1_000_000, 1_000_000)]


def test_nothing_is_ever_downloaded(tmp_path: Path) -> None:
    with connect(Project(tmp_path)) as connection:
        for setting in ("autoinstall_known_extensions", "autoload_known_extensions"):
            assert connection.execute("SELECT current_setting(?)", [setting]).fetchall() == [(False,)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", folder], capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_the_error_that_every_stage_explains(small_disk: Path) -> None:
    project = Project(small_disk)
    with pytest.raises(OSError, match="No space left") as caught, connect(project, memory_mib=64) as connection:
        connection.execute("CREATE TABLE digests AS SELECT sha256(range::VARCHAR) AS digest FROM range(1000000)")
    assert caught.value.errno == errno.ENOSPC
    assert folders(project) == []
