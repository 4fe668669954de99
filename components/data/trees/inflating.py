"""Streams that unpack deflate, gzip, bzip2, xz and zstd: never more than a piece of what comes out is in memory, and a bomb is the end of it."""

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

from components.data.trees import Caps, Unreadable

RATIO_FROM_BYTES = 32 * 2**20
"""Below this a small file that unpacks well is no bomb."""
_PIECE = 2**16
MOST_AT_ONCE = 2**20
"""Asked of a stream whoever reads it: 64 KiB of bzip2 may be a gigabyte."""
DAMAGED = (OSError, EOFError, zlib.error, ValueError)
"""What decompressors raise for what is none of theirs."""
_DICTIONARY_BYTES = 128 * 2**20
"""What xz may ask for to unpack; level 9 asks for 65 MiB."""


class TooMuch(Exception):
    """More came out than may; the message says in half a sentence what."""


class _Decompressor(Protocol):
    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Zlib:
    """zlib's object with the interface of the other two: what it could not put out yet it keeps."""

    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)
        self._rest = b""

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._rest

    def decompress(self, data: bytes, max_length: int) -> bytes:
        found = self._inner.decompress(self._rest + data, max_length)
        self._rest = self._inner.unconsumed_tail
        return found


_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "deflate": lambda: _Zlib(-15),
    "gz": lambda: _Zlib(31),
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=_DICTIONARY_BYTES),
}


def inflated(file: BinaryIO, packing: str, caps: Caps) -> BinaryIO:
    """What ``file``, packed by ``packing`` (gz, bz2, xz or zst), holds, as a stream that cannot go back.

    Reading raises `TooMuch` at a bomb and `Unreadable` where the stream is damaged.
    """
    counted = _Counted(file)
    stream = _zstandard(counted) if packing == "zst" else Inflated(counted, packing)
    return io.BufferedReader(_Watched(stream, counted, caps), _PIECE)


def _zstandard(file: "_Counted") -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")


class _Counted(io.RawIOBase):
    """``file``, with how much of it was read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.num_bytes = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        found = self._file.read(size)
        self.num_bytes += len(found)
        return found


class Inflated(io.RawIOBase):
    """The unpacked bytes of streams that stand one behind the other in ``file``; reading raises one of `DAMAGED` where they are none."""

    def __init__(self, file: io.RawIOBase, packing: str) -> None:
        self._file, self._begin = file, _DECOMPRESSORS[packing]
        self._decompressor = self._begin()
        self._waiting = b""

    def read(self, size: int = -1) -> bytes:
        assert size > 0, "the whole is never asked for"
        while True:
            if self._decompressor.eof:
                self._waiting = self._decompressor.unused_data or self._file.read(_PIECE) or b""
                if not self._waiting.strip(b"\0"):  # padding behind the last stream, or nothing
                    return b""
                self._decompressor = self._begin()
            elif self._decompressor.needs_input and not self._waiting:
                self._waiting = self._file.read(_PIECE) or b""
            piece, self._waiting = self._waiting, b""
            fed = bool(piece) or not self._decompressor.needs_input
            found: bytes = self._decompressor.decompress(piece, size)
            if found:
                return found
            if not fed and not self._decompressor.eof:
                raise EOFError("it ends in the middle")


class _Watched(io.RawIOBase):
    """A stream that is refused once too much came out of it."""

    def __init__(self, stream: Any, packed: _Counted, caps: Caps) -> None:
        self._stream, self._packed, self._caps = stream, packed, caps
        self._num_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            found = self._stream.read(min(len(buffer), MOST_AT_ONCE))
        except lzma.LZMAError as error:
            if "memory" in str(error).lower():
                raise TooMuch(f"it asks for more than {_DICTIONARY_BYTES >> 20} MiB of memory to be unpacked") from None
            raise Unreadable(f"it is damaged ({error})") from None
        except DAMAGED as error:
            raise Unreadable(f"it is damaged ({error})") from None
        buffer[: len(found)] = found
        self._num_bytes += len(found)
        self._refuse_too_much()
        return len(found)

    def _refuse_too_much(self) -> None:
        if self._num_bytes > self._caps.max_total_bytes:
            raise TooMuch(f"it unpacks to more than {self._caps.max_total_bytes:,} bytes (source.max_total_bytes)")
        if self._num_bytes > RATIO_FROM_BYTES and self._num_bytes > self._caps.max_ratio * self._packed.num_bytes:
            raise TooMuch(f"it unpacks to more than {self._caps.max_ratio} times its size (source.max_ratio)")
