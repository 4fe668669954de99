"""Python code: the files of the standard library, which every interpreter carries.

The files differ between versions of Python, so their names and sizes are part of the record.
"""

import hashlib
import os
import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from components.data.sources import RawRow, SourceConfig
from components.errors import UserError

MODALITIES = ("text",)
LICENCE = "PSF License Version 2 (Python's standard library)"
_LEFT_OUT = {
    "site-packages", "dist-packages",  # not Python's own
    "test", "tests", "idle_test",  # test data of every kind, also code that is wrong on purpose
    "encodings", "pydoc_data",  # tables of characters, and prose that is the source pydocs
}  # fmt: skip
"""Names of folders that are not walked."""
_OF_THE_BUILD = ("_sysconfigdata", "config-")
"""Beginnings of what the build of this one interpreter wrote: other bytes, and paths, on every machine."""


class Config(SourceConfig):
    kind: Literal["stdlib"]
    rows: int | None = Field(None, ge=1)
    """Take the first ``rows`` files, in an order mixed by hash; null takes all. Raise it to grow the dataset: the first files stay the first."""


def check(config: Config, modality: str, root: Path) -> None:
    if not _files():
        raise UserError("This Python carries its standard library not as .py files: install Python 3.11 with its full standard library.")


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    for name, path in _files().items():
        digest.update(f"{name} {path.stat().st_size}\n".encode())
    return {"python": platform.python_version(), "files_sha256": digest.hexdigest(), "rows": config.rows}


def describe(config: Config, modality: str, root: Path) -> dict[str, Any]:
    return {"kind": "stdlib", "of": "Python's standard library without tests", **fingerprint(config, modality, root)}


def class_names(config: Config, modality: str, root: Path) -> tuple[str, ...]:
    return ()


def read(config: Config, modality: str, root: Path) -> Iterator[RawRow]:
    """One row per file, in an order mixed by the hash of its name."""
    files = _files()
    for name in sorted(files, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[: config.rows]:
        yield RawRow(id=f"stdlib-{name}", source=f"lib/python/{name}", fields={"text": files[name].read_bytes(), "title": name})


def _files() -> dict[str, Path]:
    """Every file by its name below the library's folder, e.g. `json/decoder.py`, in the order of the names."""
    library = Path(sysconfig.get_path("stdlib"))
    found: dict[str, Path] = {}
    for folder, subfolders, names in os.walk(library):
        subfolders[:] = [name for name in subfolders if name not in _LEFT_OUT and not name.startswith(_OF_THE_BUILD)]
        paths = [Path(folder, name) for name in names if name.endswith(".py") and not name.startswith(_OF_THE_BUILD)]
        found |= {path.relative_to(library).as_posix(): path for path in paths}
    return dict(sorted(found.items()))
