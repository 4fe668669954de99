"""Where raw bytes come from: one module per kind, found by its name.

A module of this package has ``MODALITIES``, ``LICENCE``, ``Config`` (its block in params.yaml), and the functions
``check``, ``fingerprint``, ``describe`` and ``read`` of `Source`.
"""

import functools
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from components.errors import UserError, nearest
from components.params import Strict


class SourceConfig(Strict):
    """Base of every source's block."""

    kind: str

    @property
    def only_split(self) -> Literal["given"] | None:
        """The one method of dealing splits that its rows allow; None where all do."""
        return None

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the datasets whose rows it reads, which must be prepared before."""
        return ()


@dataclass(frozen=True)
class RawRow:
    """One sample as the source gives it; nothing in it is checked yet."""

    id: str
    """Stays the same as long as the sample is the same one."""
    source: str
    """Where it came from, for people: a file's path, a position in an archive."""
    fields: Mapping[str, Any]
    """Values by the names of the modality's raw columns; what is absent is null."""
    split: str | None = None
    """The source's own split, for `split: {method: given}`."""


class Source(Protocol):
    """The shape of a module in this package. ``root`` is the project's folder, to which relative paths refer."""

    MODALITIES: tuple[str, ...]
    LICENCE: str
    Config: type[SourceConfig]

    def check(self, config: Any, modality: str, root: Path) -> None:
        """Raise a UserError that ends with the fix when the source cannot be read at all."""
        ...

    def fingerprint(self, config: Any, modality: str, root: Path) -> dict[str, Any]:
        """What changes when the data changes, without reading all of it."""
        ...

    def describe(self, config: Any, modality: str, root: Path) -> dict[str, Any]:
        """What the manifest says of the source: free of times and of this machine's paths."""
        ...

    def class_names(self, config: Any, modality: str, root: Path) -> tuple[str, ...]:
        """Names of the classes, empty without labels."""
        ...

    def read(self, config: Any, modality: str, root: Path) -> Iterator[RawRow]:
        """Every sample, always in the same order."""
        ...


@functools.cache
def source_kinds() -> tuple[str, ...]:
    return tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)))


def source_module(kind: str) -> str:
    """The module's name for the code digest."""
    return f"{__name__}.{kind.replace('-', '_')}"


def find_source(kind: str) -> Source:
    if kind not in source_kinds():
        raise UserError(f"there is no kind of source {kind!r}; {nearest(kind, source_kinds())}")
    return cast(Source, importlib.import_module(source_module(kind)))
