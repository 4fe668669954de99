"""What files mean: one module per modality, found by its name, whatever tree the files lie in.

A module of this package has ``ENDINGS`` and the functions of `Reader`. A modality whose files are to be read brings one; no list names it.
"""

import functools
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from components.data.sources import PROBLEM, Part, RawRow, SourceConfig
from components.data.trees import Entry, Tree, Unreadable, read_entry


class FilesConfig(SourceConfig):
    """Base of the block of every source whose samples are files."""

    labels: Literal["folders", "none"] = "folders"
    """`folders`: the folder that an image or a text lies in is its class; where they lie in no folder there are no labels."""
    label_column: str = "label"
    """Of rows of texts: the column that says their label, like a topic, a genre or an author."""
    licence: str = ""


@dataclass(frozen=True)
class Columns:
    """What a row of a table holds that is a sample of the modality; readers that can make samples of such rows have them as ``COLUMNS``."""

    needed: tuple[tuple[str, ...], ...]
    """Names of which all of one group must be there."""
    optional: tuple[str, ...]
    also: Mapping[str, tuple[str, ...]]
    """Other names that a column may have."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([name for group in self.needed for name in group] + [*self.optional, "split"]))

    def aliases(self, name: str) -> tuple[str, ...]:
        return (name, *self.also.get(name, ()))


class Reader(Protocol):
    """The shape of a module in this package."""

    ENDINGS: tuple[str, ...]
    """Of the files that it reads, in lower case."""

    def samples(self, tree: Tree, config: FilesConfig) -> Iterator[Entry]:
        """The files that are samples, or hold them, in the tree's order."""
        ...

    def sources(self, tree: Tree, config: FilesConfig) -> Iterator[Entry]:
        """Every file whose change changes a row: the samples, and what is said of them elsewhere."""
        ...

    def check(self, tree: Tree, config: FilesConfig) -> None:
        """Raise a UserError that ends with the fix where the files, though there are some, cannot make rows."""
        ...

    def survey(self, tree: Tree, config: FilesConfig) -> tuple[int, tuple[str, ...]]:
        """How many samples there are, by files, and the names of the classes, empty without labels."""
        ...

    def parts(self, tree: Tree, config: FilesConfig) -> Iterator[Part]: ...


class TableReader(Reader, Protocol):
    """A reader that also makes samples of the rows of tables."""

    COLUMNS: Columns

    def fields_of(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The raw columns for the values of a row, by the names of ``COLUMNS``."""
        ...


@functools.cache
def reader_names() -> tuple[str, ...]:
    """The modalities that files can be read as."""
    return tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)))


@functools.cache
def table_reader_names() -> tuple[str, ...]:
    """The modalities that rows of tables can be read as."""
    return tuple(name for name in reader_names() if hasattr(find_reader(name), "COLUMNS"))


def find_table_reader(modality: str) -> TableReader:
    assert modality in table_reader_names(), modality
    return cast(TableReader, find_reader(modality))


def reader_modules(modality: str) -> tuple[str, ...]:
    """Names of the modules that read files as ``modality``, for the code digest."""
    return (f"{__name__}.{modality.replace('-', '_')}",)


def find_reader(modality: str) -> Reader:
    assert modality in reader_names(), modality
    return cast(Reader, importlib.import_module(*reader_modules(modality)))


def with_endings(tree: Tree, endings: tuple[str, ...]) -> Iterator[Entry]:
    return (entry for entry in tree.entries() if entry.name.lower().endswith(endings))


def unlabelled(entries: Iterator[Entry]) -> tuple[int, tuple[str, ...]]:
    """`Reader.survey` where there are no classes."""
    return sum(1 for _ in entries), ()


def content_of(tree: Tree, entry: Entry | None) -> tuple[bytes | None, str]:
    """The whole file, or None and why it cannot be had; the reason is empty where there is none."""
    if entry is None:
        return None, ""
    try:
        return read_entry(tree, entry), ""
    except Unreadable as error:
        return None, str(error)


def bad_row(name: str, problem: str, split: str | None = None) -> RawRow:
    """The one row of a file that should hold several and cannot be read."""
    return RawRow(id=name, source=name, fields={PROBLEM: problem}, split=split)
