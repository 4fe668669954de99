"""The members of a tar archive, plain or packed: read in the order in which they stand in it, without unpacking any to the disk."""

import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from components.data.trees import Caps, Entry, Unreadable, visible
from components.data.trees.inflating import TooMuch, inflated
from components.data.trees.members import Listing, Members, refused
from components.errors import UserError

_HEADERS_BYTES = 2**20
"""Most that may be read to come to the next member: tarfile holds long names in memory, however long they say to be."""
_PIECE = 2**16
_BLOCK = 512


class Tape(Listing):
    """A stream that goes forward only: reading in the order of `entries` passes through the archive once, each step back begins anew.

    ``begin`` opens the archive; each call gives a file of its own.

    Raises:
        UserError: it is no tar archive, or one that is not to be trusted.
    """

    sequential = True

    def __init__(self, begin: Callable[[], BinaryIO], packing: str, place: str, caps: Caps, known: "Tape | None" = None) -> None:
        """``known``: the same archive, listed before."""
        self.place = place
        self.begin, self.packing, self._caps = begin, packing, caps
        self._stream: _Stream | None = None
        self._next = 0
        self._order: dict[str, int] = known._order if known else {}
        super().__init__(list(known.entries()) if known else self._listed())

    def _listed(self) -> list[Entry]:
        """Every visible file; all members are judged, and read once for a stamp that tells their contents apart."""
        members, found = Members(self.place, self._caps), list[Entry]()
        stream = self._opened()
        try:
            for number, member in enumerate(stream):
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    raise refused(self.place, member.name, "is no regular file (a link, a device or a file with holes)")
                members.accept(member.name, member.size)
                if visible(_plain(member.name)):
                    self._order[_plain(member.name)] = number
                    found.append(Entry(_plain(member.name), member.size, f"{stream.checksum(member):08x}-{member.size}"))
        finally:
            stream.close()
        return found

    def _opened(self) -> "_Stream":
        return _Stream(self.begin(), self.packing, self.place, self._caps)

    @contextmanager
    def open(self, entry: Entry) -> Iterator[BinaryIO]:
        wanted = self._order[entry.name]
        if self._stream is None or wanted < self._next:
            self.close()
            self._stream, self._next = self._opened(), 0
        for member in self._stream:
            self._next += 1
            if self._next > wanted:
                yield self._stream.content(member)
                return
        raise Unreadable("the archive was changed while it was read")

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class _Stream:
    """One passage through the archive; what goes wrong is said with its name."""

    def __init__(self, file: BinaryIO, packing: str, place: str, caps: Caps) -> None:
        self._place, self._file = place, file
        self._bounded = _Bounded(inflated(file, packing, caps) if packing else file)
        self._left = 0
        try:
            self._tar = self._said(lambda: tarfile.open(fileobj=self._bounded, mode="r|"))  # noqa: SIM115 - closed with the stream
        except UserError:
            file.close()
            raise

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        while True:
            self._bounded.allowed = self._left + _HEADERS_BYTES
            member = self._said(self._tar.next)
            if member is None:
                return
            self._left = member.size + _BLOCK
            self._bounded.allowed = None
            self._tar.members.clear()  # the library keeps all that it has seen
            yield member

    def checksum(self, member: tarfile.TarInfo) -> int:
        found, file = 0, self.content(member)
        while piece := self._said(lambda: file.read(_PIECE)):
            found = zlib.crc32(piece, found)
        return found

    def content(self, member: tarfile.TarInfo) -> Any:
        self._left = _BLOCK + member.size
        file = self._tar.extractfile(member)
        assert file is not None, "it is a regular file"
        return file

    def close(self) -> None:
        self._tar.close()
        self._file.close()

    def _said(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except TooMuch as error:
            raise UserError(f"{self._place} is not read, {error}: raise that if you trust it.") from None
        except (tarfile.TarError, Unreadable, EOFError, OSError, ValueError) as error:
            raise UserError(f"{self._place} is no whole tar archive ({error}): pack or fetch it again.") from None


class _Bounded(io.RawIOBase):
    """``file``, of which no more may be read than is ``allowed`` (None: any amount) before that is set again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.allowed: int | None = _HEADERS_BYTES

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self.allowed is not None:
            if self.allowed < 0:
                raise TooMuch(f"the name of a member has more than {_HEADERS_BYTES:,} bytes")
            self.allowed -= size
        return self._file.read(size)


def _plain(name: str) -> str:
    """Without the `./` that tar may write, and as text also where it holds bytes that are no UTF-8."""
    return name.removeprefix("./").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
