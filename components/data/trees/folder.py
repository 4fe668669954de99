"""A folder of the local disk."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from components.data.trees import Entry, Unreadable
from components.errors import UserError


class Folder:
    """Files below ``root``; folders that are links are not followed, files that are links are."""

    sequential = False
    depth = 0  # the folder that the user named is the top, also where it holds a single folder

    def __init__(self, root: Path) -> None:
        self.root = root
        self.place = str(root)

    def entries(self) -> Iterator[Entry]:
        """Sorted by name; a folder at a time is in memory, for there may be a million files."""
        yield from _walk(os.fsencode(self.root), "")

    def find(self, name: str) -> Entry | None:
        """Also a file outside, where ``name`` leads there by `..`: who asks has to judge that."""
        try:
            status = os.stat(self._path(name))  # noqa: PTH116
        except (OSError, ValueError):
            return None
        return _entry(name, status) if stat.S_ISREG(status.st_mode) else None

    def tops(self) -> tuple[set[str], set[str]]:
        folders, files = set[str](), set[str]()
        with os.scandir(self.root) as found:
            for item in found:
                if not item.name.startswith("."):
                    (folders if item.is_dir() else files).add(item.name)
        return folders, files

    @contextmanager
    def open(self, entry: Entry) -> Iterator[BinaryIO]:
        try:
            with open(self._path(entry.name), "rb") as file:  # noqa: PTH123 - of a million files a Path each takes longer than the reading
                yield file
        except OSError as error:
            raise Unreadable(f"it cannot be read ({error.strerror})") from None

    def close(self) -> None:
        """Nothing is held open."""

    def _path(self, name: str) -> str:
        path = os.path.join(self.place, name)  # noqa: PTH118
        return path if "\\" not in name or os.path.exists(path) else os.path.join(self.place, os.fsdecode(_raw(name)))  # noqa: PTH110, PTH118


class SingleFile(Folder):
    """One file of a folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.parent)
        self._name = path.name
        self.place = str(path.parent)

    def entries(self) -> Iterator[Entry]:
        entry = self.find(self._name)
        yield from [entry] if entry else []

    def tops(self) -> tuple[set[str], set[str]]:
        return set(), {self._name}


def _walk(folder: bytes, above: str) -> Iterator[Entry]:
    """The files of ``folder`` and below, by name: a folder is sorted as if its name ended in a slash, which makes the order that of the whole names."""
    open_folders = [_sorted_items(folder, above)]  # a list, for calls within calls end at a thousand
    while open_folders:
        name, item = next(open_folders[-1], ("", None))
        if item is None:
            open_folders.pop()
        elif name.endswith("/"):
            open_folders.append(_sorted_items(item.path, name))
        elif item.is_file():
            try:
                entry = _entry(name, item.stat())
            except FileNotFoundError:
                continue  # it went away in this moment
            yield entry


def _sorted_items(folder: bytes, above: str) -> "Iterator[tuple[str, os.DirEntry[bytes]]]":
    return iter(sorted(_items(folder, above), key=lambda pair: pair[0]))


def _items(folder: bytes, above: str) -> "Iterator[tuple[str, os.DirEntry[bytes]]]":
    try:
        with os.scandir(folder) as items:
            for item in items:
                if not item.name.startswith(b"."):
                    name = above + item.name.decode("utf-8", "backslashreplace")
                    yield f"{name}/" if item.is_dir(follow_symlinks=False) else name, item
    except OSError as error:
        raise UserError(f"{os.fsdecode(folder)} cannot be read ({error.strerror}): make it readable, or take it out of the source.") from None


def _entry(name: str, status: os.stat_result) -> Entry:
    return Entry(name, status.st_size, str(status.st_mtime_ns))


def _raw(name: str) -> bytes:
    """The bytes of a file's name in which those that are no UTF-8 stand as `\\xNN`."""
    raw, rest = b"", name
    while rest:
        if rest.startswith("\\x") and len(rest) >= 4 and all(digit in "0123456789abcdef" for digit in rest[2:4]):
            raw, rest = raw + bytes.fromhex(rest[2:4]), rest[4:]
        else:
            raw, rest = raw + rest[0].encode(), rest[1:]
    return raw
