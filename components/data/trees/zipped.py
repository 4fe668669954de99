"""The members of a zip archive, read one by one from where they lie in it.

The library reads the list of them alone: as it unpacks, a member that says to be small may take gigabytes before it is seen to be none.
"""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from components.data.trees import Caps, Entry, Unreadable, visible
from components.data.trees.inflating import DAMAGED, MOST_AT_ONCE, Inflated
from components.data.trees.members import Listing, Members, refused
from components.errors import UserError

_END, _END_BYTES = b"PK\5\6", 22
_LOCATOR, _LOCATOR_BYTES, _LARGE_END_BYTES = b"PK\6\7", 20, 56
_MEMBER, _MEMBER_BYTES = b"PK\1\2", 46
_ENCRYPTED = 0x1
_HEADER, _HEADER_BYTES = b"PK\3\4", 30
_UTF8 = 0x800
_PACKINGS = {zipfile.ZIP_STORED: "", zipfile.ZIP_DEFLATED: "deflate", zipfile.ZIP_BZIP2: "bz2"}
"""Without lzma, which may ask for any amount of memory to unpack."""


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
        members, end, size = Members(self.place, caps), 0, self._file.seek(0, io.SEEK_END)
        for info in sorted(self._zip.infolist(), key=lambda info: info.header_offset):
            name = info.orig_filename
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.flag_bits & _ENCRYPTED:
                raise refused(self.place, name, "is encrypted")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise refused(self.place, name, "is a link or a device")
            if info.header_offset < end:
                raise refused(self.place, name, "lies over another one")
            if info.compress_type not in _PACKINGS:
                raise refused(self.place, name, f"is packed by method {info.compress_type}, which is not known")
            end = info.header_offset + info.compress_size
            if end > size:
                raise refused(self.place, name, "lies outside the archive")
            members.accept(name, info.file_size, info.compress_size)
            if not info.is_dir() and visible(info.filename):
                yield Entry(info.filename, info.file_size, f"{info.CRC:08x}-{info.file_size}")

    @contextmanager
    def open(self, entry: Entry) -> Iterator[BinaryIO]:
        info = self._zip.getinfo(entry.name)
        try:
            packed = _Packed(self._file, self._begin(info), info.compress_size)
        except OSError as error:
            raise Unreadable(f"it cannot be unpacked ({error})") from None
        yield io.BufferedReader(_Member(Inflated(packed, _PACKINGS[info.compress_type]) if info.compress_type else packed, info))

    def _begin(self, info: zipfile.ZipInfo) -> int:
        """Where the bytes of a member begin, behind what is said of it a second time."""
        self._file.seek(info.header_offset)
        header = self._file.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES or not header.startswith(_HEADER):
            raise Unreadable("it cannot be unpacked (it is not where the archive's list says)")
        name, extra = struct.unpack_from("<HH", header, _HEADER_BYTES - 4)
        if self._file.read(name) != info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437"):
            raise Unreadable("it cannot be unpacked (the archive's list calls it otherwise)")
        return info.header_offset + _HEADER_BYTES + name + extra

    def close(self) -> None:
        self._zip.close()
        self._file.close()


class _Packed(io.RawIOBase):
    """``size`` bytes of ``file`` from ``begin`` on, whoever else reads from it meanwhile."""

    def __init__(self, file: BinaryIO, begin: int, size: int) -> None:
        self._file, self._at, self._end = file, begin, begin + size

    def read(self, size: int = -1) -> bytes:
        self._file.seek(self._at)
        found = self._file.read(min(size, self._end - self._at))
        self._at += len(found)
        return found


class _Member(io.RawIOBase):
    """What a member holds: as much as the archive's list says and with its checksum, or `Unreadable`; what lies behind that is not unpacked."""

    def __init__(self, stream: io.RawIOBase, info: zipfile.ZipInfo) -> None:
        self._stream, self._left, self._wanted = stream, info.file_size, info.CRC
        self._checksum = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            return 0
        try:
            found = self._stream.read(min(len(buffer), self._left, MOST_AT_ONCE)) or b""
        except DAMAGED as error:
            raise Unreadable(f"it cannot be unpacked ({error})") from None
        buffer[: len(found)] = found
        self._left -= len(found)
        self._checksum = zlib.crc32(found, self._checksum)
        if not found:
            raise Unreadable(f"it cannot be unpacked (it ends {self._left:,} bytes before the size that the archive says)")
        if not self._left and self._checksum != self._wanted:
            raise Unreadable("it cannot be unpacked (its checksum is not the one that the archive says)")
        return len(found)


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
