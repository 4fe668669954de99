"""The Python files of the running interpreter's standard library, which differ between its versions."""

import hashlib
import os
import platform
import sysconfig
from pathlib import Path
from typing import Any

from components.errors import UserError

_LEFT_OUT = {
    "site-packages", "dist-packages",  # not Python's own
    "test", "tests", "idle_test",  # test data of every kind, also code that is wrong on purpose
    "encodings", "pydoc_data",  # tables of characters, and prose
}  # fmt: skip
"""Names of folders that are not walked."""
_OF_THE_BUILD = ("_sysconfigdata", "config-")
"""Beginnings of what the build of this one interpreter wrote: other bytes, and paths, on every machine."""


def library_files() -> dict[str, Path]:
    """Every file by its name below the library's folder, e.g. `json/decoder.py`, in the order of the names; none in an interpreter without them."""
    library = Path(sysconfig.get_path("stdlib"))
    found: dict[str, Path] = {}
    for folder, subfolders, names in os.walk(library):
        subfolders[:] = [name for name in subfolders if name not in _LEFT_OUT and not name.startswith(_OF_THE_BUILD)]
        paths = [Path(folder, name) for name in names if name.endswith(".py") and not name.startswith(_OF_THE_BUILD)]
        found |= {path.relative_to(library).as_posix(): path for path in paths}
    return dict(sorted(found.items()))


def require_library() -> None:
    """Refuse an interpreter that has none of the files.

    Raises:
        UserError: with what to install.
    """
    if not library_files():
        raise UserError("This Python carries its standard library not as .py files: install Python 3.11 with its full standard library.")


def library_fingerprint() -> dict[str, Any]:
    """What changes when the files do, without reading them: the version, names and sizes."""
    digest = hashlib.sha256()
    for name, path in library_files().items():
        digest.update(f"{name} {path.stat().st_size}\n".encode())
    return {"python": platform.python_version(), "files_sha256": digest.hexdigest()}
