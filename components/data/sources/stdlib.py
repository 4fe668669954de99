"""Python code: the files of the standard library, which every interpreter carries.

The files differ between versions of Python, so their names and sizes are part of the record.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from components.data.sources import RawRow, SourceConfig
from components.data.standard_library import library_files, library_fingerprint, require_library

MODALITIES = ("text",)
LICENCE = "PSF License Version 2 (Python's standard library)"


class Config(SourceConfig):
    kind: Literal["stdlib"]
    rows: int | None = Field(None, ge=1)
    """Take the first ``rows`` files, in an order mixed by hash; null takes all. Raise it to grow the dataset: the first files stay the first."""


def check(config: Config, modality: str, root: Path) -> None:
    require_library()


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    return {**library_fingerprint(), "rows": config.rows}


def describe(config: Config, modality: str, root: Path) -> dict[str, Any]:
    return {"kind": "stdlib", "of": "Python's standard library without tests", **fingerprint(config, modality, root)}


def class_names(config: Config, modality: str, root: Path) -> tuple[str, ...]:
    return ()


def read(config: Config, modality: str, root: Path) -> Iterator[RawRow]:
    """One row per file, labelled with the package that it belongs to, in an order mixed by the hash of its name."""
    files = library_files()
    for name in sorted(files, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[: config.rows]:
        package = name.split("/")[0] if "/" in name else None
        yield RawRow(id=f"stdlib-{name}", source=f"lib/python/{name}", fields={"text": files[name].read_bytes(), "title": name, "label": package})
