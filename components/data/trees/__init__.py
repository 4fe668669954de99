"""Where files are, behind one protocol: a folder, an archive, a bucket, what was downloaded. What they mean is the readers' matter.

Names in a tree are relative, with forward slashes, and free of hidden files. Nothing is ever unpacked: a file is read from where it lies.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple, Protocol

from pydantic import Field

from components.params import Strict


class Entry(NamedTuple):
    """One file; a tuple, because there may be a million of them."""

    name: str
    size: int
    """Bytes, as the tree says; what is read is capped by it where the tree can lie."""
    stamp: str
    """Changes when the content does, seen without reading the file again."""
    said: Mapping[str, str] | None = None
    """`label`, `split` and `caption`, where an index says them of this file."""
    problem: str = ""
    """Why it cannot be had, known before it is opened."""


class Unreadable(Exception):
    """One file of a tree cannot be had, for a reason in half a sentence; the others can."""


class Caps(Strict):
    """How much may come out of what somebody else packed, sent or stored."""

    max_file_bytes: int = Field(2**30, ge=1)
    """Of one file."""
    max_total_bytes: int = Field(2**40, ge=1)
    """Of all files together, unpacked."""
    max_ratio: int = Field(200, ge=2)
    """Bytes unpacked per byte packed, asked of what unpacks to more than 32 MiB: photos have 1, texts 3 to 20, a bomb a thousand and more."""
    max_files: int = Field(250_000, ge=1)
    """Files of one archive: each takes some 700 bytes of memory while it is read."""


class Tree(Protocol):
    """Files by name, in a fixed order. It is closed at the end of a `with` block."""

    place: str
    """For people: what the user wrote, or the path that it means."""
    sequential: bool
    """Whether files can be read quickly only in the order of `entries`."""
    depth: int
    """How many folders all of its files share, which say nothing of any of them."""

    def entries(self) -> Iterator[Entry]:
        """Every visible file, always in the same order."""
        ...

    def find(self, name: str) -> Entry | None:
        """The file called ``name``, if it is there."""
        ...

    def tops(self) -> tuple[set[str], set[str]]:
        """Names of the folders and of the files at the top, below what all files share."""
        ...

    def open(self, entry: Entry) -> AbstractContextManager[BinaryIO]:
        """The content of ``entry``.

        Raises:
            Unreadable: it cannot be had.
        """
        ...

    def close(self) -> None: ...


def read_entry(tree: Tree, entry: Entry, most: int = 2**30) -> bytes:
    """The whole content of ``entry``, of at most ``most`` bytes.

    Raises:
        Unreadable: it cannot be had, or is larger.
    """
    if entry.problem:
        raise Unreadable(entry.problem)
    if entry.size > most:
        raise Unreadable(f"it has {entry.size:,} bytes, read are {most:,} at most")
    with tree.open(entry) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise Unreadable(f"it has more than the {most:,} bytes that are read at most")
    return content


def visible(name: str) -> bool:
    """Whether the relative ``name`` is neither hidden nor one of the notes that macOS packs beside files."""
    return not any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def shared_depth(names: Iterable[str]) -> int:
    """How many leading folders all ``names`` share."""
    shared: list[str] | None = None
    for name in names:
        folders = name.split("/")[:-1]
        if shared is None:
            shared = folders
        elif folders[: len(shared)] != shared:
            same = [number for number, (one, other) in enumerate(zip(shared, folders, strict=False)) if one != other]
            shared = shared[: same[0] if same else min(len(shared), len(folders))]
        if not shared:
            break
    return len(shared or ())


def tops_of(names: Iterable[str], depth: int) -> tuple[set[str], set[str]]:
    """`Tree.tops` from the names of all files."""
    folders, files = set[str](), set[str]()
    for name in names:
        parts = name.split("/")[depth:]
        (folders if len(parts) > 1 else files).add(parts[0])
    return folders, files
