"""English technical prose: the topics of Python's own documentation, which every interpreter carries.

The text differs between minor versions of Python, so its sha256 is part of the record.
"""

import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from components.data.sources import RawRow, SourceConfig
from components.errors import UserError

MODALITIES = ("text",)
LICENCE = "PSF License Version 2 (Python documentation)"


class Config(SourceConfig):
    kind: Literal["pydocs"]


def check(config: Config, modality: str, root: Path) -> None:
    _file()


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(_file().read_bytes()).hexdigest()}


def describe(config: Config, modality: str, root: Path) -> dict[str, Any]:
    return {"kind": "pydocs", "of": "pydoc_data.topics", **fingerprint(config, modality, root)}


def class_names(config: Config, modality: str, root: Path) -> tuple[str, ...]:
    return ()


def read(config: Config, modality: str, root: Path) -> Iterator[RawRow]:
    """One row per topic, in the order of their names."""
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield RawRow(id=f"pydocs-{name}", source=f"pydoc_data.topics[{name!r}]", fields={"text": topics[name].encode(), "title": name})


def _file() -> Path:
    spec = importlib.util.find_spec("pydoc_data.topics")
    if spec is None or spec.origin is None:
        raise UserError("This Python has no module pydoc_data: install Python 3.11 with its full standard library.")
    return Path(spec.origin)
