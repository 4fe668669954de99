"""Where raw bytes come from: one module per kind, found by its name.

A module of this package has ``MODALITIES``, ``LICENCE``, ``Config`` (its block in params.yaml), and the functions ``check`` and ``fingerprint`` of
`Source`; and those of `WholeSource` where its rows are made in one go, or those of `PartedSource` where they come from files, so that only what is new
or changed need be read.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeGuard, cast

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


class OtherModality(UserError):
    """The source holds nothing of the modality that it was asked for; it may hold another."""


PROBLEM = "problem"
"""Column of every raw row: in words, why the source could not give it; null where it could."""


@dataclass(frozen=True)
class RawRow:
    """One sample as the source gives it; nothing in it is checked yet."""

    id: str
    """Stays the same as long as the sample is the same one."""
    source: str
    """Where it came from, for people: a file's path, a position in an archive."""
    fields: Mapping[str, Any]
    """Values by the names of the modality's raw columns, and under `PROBLEM` why the sample could not be read; what is absent is null."""
    split: str | None = None
    """The source's own split, for `split: {method: given}`."""


@dataclass(frozen=True)
class Part:
    """What is read as a whole: a file with one sample or with many."""

    name: str
    """Like no other part's of the source."""
    stamp: str
    """Changes whenever the part's rows may have changed; empty where only reading tells."""
    rows: Callable[[], Iterator[RawRow]]


@dataclass(frozen=True)
class Reading:
    """A source while it is read."""

    parts: Callable[[], Iterator[Part]]
    """Every part, always in the same order, as often as it is called."""
    origin: dict[str, Any]
    """What the manifest says of the source: free of times, of this machine's paths beyond what the user wrote, and of anything secret."""
    class_names: tuple[str, ...]
    """Names of the classes, empty without labels."""


class Source(Protocol):
    """What every module in this package has. ``root`` is the project's folder, to which relative paths refer."""

    MODALITIES: tuple[str, ...]
    LICENCE: str
    Config: type[SourceConfig]

    def check(self, config: Any, modality: str, root: Path) -> None:
        """Raise a UserError that ends with the fix when the source cannot be read at all."""
        ...

    def fingerprint(self, config: Any, modality: str, root: Path) -> dict[str, Any]:
        """What changes when the data changes, without reading all of it."""
        ...


class WholeSource(Source, Protocol):
    """A source whose rows are made in one go."""

    def describe(self, config: Any, modality: str, root: Path) -> dict[str, Any]:
        """`Reading.origin`."""
        ...

    def class_names(self, config: Any, modality: str, root: Path) -> tuple[str, ...]: ...

    def read(self, config: Any, modality: str, root: Path) -> Iterator[RawRow]:
        """Every sample, always in the same order."""
        ...


class PartedSource(Source, Protocol):
    """A source whose rows come from files, each with a stamp."""

    def reading(self, config: Any, modality: str, root: Path) -> AbstractContextManager[Reading]: ...

    def code(self, modality: str) -> tuple[str, ...]:
        """Names of the modules that it finds by name, for the code digest."""
        ...


def is_parted(source: Source) -> TypeGuard[PartedSource]:
    return hasattr(source, "reading")


@contextmanager
def reading(source: Source, config: SourceConfig, modality: str, root: Path) -> Iterator[Reading]:
    """The source open for reading, of either kind."""
    if is_parted(source):
        with source.reading(config, modality, root) as found:
            yield found
        return
    whole = cast(WholeSource, source)
    part = Part(config.kind, "", lambda: whole.read(config, modality, root))
    yield Reading(lambda: iter([part]), whole.describe(config, modality, root), whole.class_names(config, modality, root))


@functools.cache
def source_kinds() -> tuple[str, ...]:
    return tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)))


def source_modules(kind: str, modality: str) -> tuple[str, ...]:
    """Names of the modules that read a source of ``kind`` as ``modality``, for the code digest."""
    source = find_source(kind)
    return (_module(kind), *(source.code(modality) if is_parted(source) else ()))


def find_source(kind: str) -> Source:
    if kind not in source_kinds():
        raise UserError(f"there is no kind of source {kind!r}; {nearest(kind, source_kinds())}")
    return cast(Source, importlib.import_module(_module(kind)))


def _module(kind: str) -> str:
    return f"{__name__}.{kind.replace('-', '_')}"
