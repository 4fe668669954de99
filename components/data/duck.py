"""The only file that opens DuckDB: for what looks at all rows at once, in bounded memory.

What does not fit into the limit goes to a folder of the project's state, which is removed with the connection.
"""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.project import Project

if TYPE_CHECKING:
    import duckdb

_PREFIX = "duckdb-"
_FULL = ("No space left on device", "max_temp_directory_size")
MEMORY_MIB = 256
"""Of one connection; several stand beside each other where shards are worked on in parallel."""


@contextlib.contextmanager
def connect(project: Project, memory_mib: int = MEMORY_MIB) -> "Iterator[duckdb.DuckDBPyConnection]":
    """An empty database of its own, of which at most ``memory_mib`` MiB are in memory; it ends with the block.

    Nothing is fetched: DuckDB's habit of downloading extensions is off.

    Raises:
        OSError: the disk is full.
    """
    import duckdb

    project.state.mkdir(parents=True, exist_ok=True)
    _remove_of_killed(project)
    folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=project.state)
    try:
        with duckdb.connect(f"{folder}/rows.duckdb") as connection:
            connection.execute("SET memory_limit = ?", [f"{memory_mib}MiB"])
            connection.execute("SET temp_directory = ?", [f"{folder}/spill"])
            for setting in ("autoinstall_known_extensions", "autoload_known_extensions", "enable_progress_bar"):
                connection.execute(f"SET {setting} = false")
            yield connection
    except duckdb.Error as error:
        if any(sign in str(error) for sign in _FULL):
            raise OSError(errno.ENOSPC, str(error)) from error  # as everything else here says it
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_of_killed(project: Project) -> None:
    """The folders of processes that were killed: nobody else would ever remove them."""
    import psutil

    for folder in project.state.glob(f"{_PREFIX}*"):
        owner = folder.name.removeprefix(_PREFIX).split("-")[0]
        if not (owner.isdigit() and psutil.pid_exists(int(owner))):
            shutil.rmtree(folder, ignore_errors=True)


def parquet_view(connection: "duckdb.DuckDBPyConnection", name: str, files: Sequence[Path]) -> None:
    """Make the view ``name`` of the rows of ``files``, which may differ in columns that are all null."""
    listed = ", ".join("'{}'".format(str(path).replace("'", "''")) for path in files)
    connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{listed}], union_by_name = true)")
