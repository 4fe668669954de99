"""The members of a zip archive, read one by one from where they lie in it."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, cast

from components.data.trees import Caps, Entry, Unreadable, visible
from components.data.trees.members import Listing, Members, refused
from components.errors import UserError

_END, _END_BYTES = b"PK\5\6", 22
_LOCATOR, _LOCATOR_BYTES, _LARGE_END_BYTES = b"PK\6\7", 20, 56
_MEMBER, _MEMBER_BYTES = b"PK\1\2", 46
_ENCRYPTED = 0x1
_KNOWN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)  # lzma may ask for any amount of memory to unpack


class Zip(Listing):
    """Its members by name. ``file`` is closed with the tree.

    Raises:
        UserError: it is no zip archive, or one that is not to be trusted.
    """

    sequential = False

    def __init__(self, file: BinaryIO, place: str, caps: Caps) -> None:
        self.place = place
        self._file = file
        try:
            _refuse_too_many(file, place, caps)
            self._zip = zipfile.ZipFile(file)
            super().__init__(sorted(self._members(caps), key=lambda entry: entry.name))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            file.close()
            raise UserError(f"{place} is no whole zip archive ({error}): pack or fetch it again.") from None
        except UserError:
            file.close()
            raise

    def _members(self, caps: Caps) -> Iterator[Entry]:
        members, end = Members(self.place, caps), 0
        for info in sorted(self._zip.infolist(), key=lambda info: info.header_offset):
            name = info.orig_filename
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.flag_bits & _ENCRYPTED:
                raise refused(self.place, name, "is encrypted")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise refused(self.place, name, "is a link or a device")
            if info.header_offset < end:
                raise refused(self.place, name, "lies over another one")
            if info.compress_type not in _KNOWN:
                raise refused(self.place, name, f"is packed by method {info.compress_type}, which is not known")
            end = info.header_offset + info.compress_size
            members.accept(name, info.file_size, info.compress_size)
            if not info.is_dir() and visible(info.filename):
                yield Entry(info.filename, info.file_size, f"{info.CRC:08x}-{info.file_size}")

    @contextmanager
    def open(self, entry: Entry) -> Iterator[BinaryIO]:
        try:
            file = self._zip.open(entry.name)
        except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
            raise Unreadable(f"it cannot be unpacked ({error})") from None
        with file:
            yield cast(BinaryIO, _Checked(file))

    def close(self) -> None:
        self._zip.close()
        self._file.close()


class _Checked(io.BufferedIOBase):
    """A member whose damage is said as `Unreadable`, whoever reads it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        try:
            return self._file.read(-1 if size is None else size)
        except (zipfile.BadZipFile, EOFError, OSError, zlib.error, ValueError) as error:
            raise Unreadable(f"it cannot be unpacked ({error})") from None

    def read1(self, size: int = -1) -> bytes:
        return self.read(size)


def _refuse_too_many(file: BinaryIO, place: str, caps: Caps) -> None:
    """Count the members before a library makes an object of each."""
    size = file.seek(0, io.SEEK_END)
    start = max(0, size - 2**16 - _END_BYTES - _LOCATOR_BYTES - _LARGE_END_BYTES)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + _END_BYTES:
        raise zipfile.BadZipFile("its end is missing")
    (length,) = struct.unpack_from("<L", tail, at + 12)
    if tail[max(0, at - _LOCATOR_BYTES) : at].startswith(_LOCATOR):  # of a large archive the length stands before that
        at -= _LOCATOR_BYTES + _LARGE_END_BYTES
        (length,) = struct.unpack_from("<Q", tail, at + 40)
    if length > max(caps.max_files * 1024, 2**20):
        raise UserError(f"{place} is not read, its list of members has {length:,} bytes: raise source.max_files if you trust it.")
    file.seek(max(0, start + at - length))
    listed, number, here = file.read(length), 0, 0
    while listed[here : here + 4] == _MEMBER:
        here += _MEMBER_BYTES + sum(struct.unpack_from("<HHH", listed, here + 28))
        number += 1
        if number > caps.max_files:
            raise UserError(f"{place} is not read, it has more than {caps.max_files:,} members: raise source.max_files if you trust it.")
    file.seek(0)
