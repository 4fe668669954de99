"""What the pages of a Parquet file say that they unpack to; a reader believes them, not the sums at the end of the file, when it asks for memory.

A page begins with a header in Thrift's compact protocol, of which only the first two sizes are read here and the rest is skipped. Format: Apache
Parquet, `PageHeader` in parquet.thrift; Apache Thrift, "Thrift Compact protocol encoding".
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from components.data.trees import Unreadable

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_FIRST_BYTES, _MOST_BYTES = 512, 2**20
"""Of a header: what is read at first, and the most; statistics in it may be long."""
_UNPACKED, _PACKED = 2, 3
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_DEEPEST = 16


class Page(NamedTuple):
    header: int
    """Bytes of the header itself."""
    packed: int
    """Bytes behind it."""
    unpacked: int


def pages_of(file: BinaryIO, column: "pq.ColumnChunkMetaData") -> Iterator[Page]:
    """The pages of a column of a row group, in order.

    Raises:
        Unreadable: something else stands there.
    """
    at = column.data_page_offset
    if column.has_dictionary_page and 0 < (column.dictionary_page_offset or 0) < at:
        at = column.dictionary_page_offset
    end = at + column.total_compressed_size
    if at < 0:
        raise Unreadable("it is no whole Parquet file (a column begins before the file)")
    while at < end:
        page = _page_at(file, at, end)
        yield page
        at += page.header + page.packed


def _page_at(file: BinaryIO, at: int, end: int) -> Page:
    size = _FIRST_BYTES
    while True:
        file.seek(at)
        content = file.read(min(size, end - at))
        try:
            return _page(content)
        except IndexError:
            if size >= _MOST_BYTES or len(content) < size:
                raise Unreadable("it is no whole Parquet file (a page has no header)") from None
            size *= 4


def _page(content: bytes) -> Page:
    """The page whose header ``content`` begins with.

    Raises:
        IndexError: the header goes on behind it.
        Unreadable: it is none.
    """
    reader = _Compact(content)
    sizes: dict[int, int] = {}
    for number, kind in reader.fields():
        if kind == _I32 and number in (_UNPACKED, _PACKED):
            sizes[number] = reader.signed()
        else:
            reader.skip(kind)
    unpacked, packed = sizes.get(_UNPACKED, -1), sizes.get(_PACKED, -1)
    if unpacked < 0 or packed < 0:
        raise Unreadable("it is no whole Parquet file (a page does not say its size)")
    return Page(reader.at, packed, unpacked)


class _Compact:
    """Reads Thrift's compact protocol from the beginning of ``content``."""

    def __init__(self, content: bytes) -> None:
        self._content, self.at = content, 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and kind of each field of a struct; its value is to be read before the next."""
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self.signed()
            yield number, head & 15

    def signed(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)

    def skip(self, kind: int, depth: int = 0) -> None:
        """Pass over a value."""
        if depth > _DEEPEST:
            raise Unreadable("it is no whole Parquet file (a page header without an end)")
        if kind in (_TRUE, _FALSE):
            return
        if kind == _BYTE:
            self._pass(1)
        elif kind in (_I16, _I32, _I64):
            self._unsigned()
        elif kind == _DOUBLE:
            self._pass(8)
        elif kind == _BINARY:
            self._pass(self._unsigned())
        elif kind in (_LIST, _SET):
            head = self._byte()
            self._skip_each([_in_list(head & 15)], self._unsigned() if head >> 4 == 15 else head >> 4, depth)
        elif kind == _MAP:
            number = self._unsigned()
            kinds = self._byte() if number else 0
            self._skip_each([_in_list(kinds >> 4), _in_list(kinds & 15)] if number else [], number, depth)
        elif kind == _STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        else:
            raise Unreadable("it is no whole Parquet file (a page has no header)")

    def _skip_each(self, kinds: list[int], number: int, depth: int) -> None:
        if number > len(self._content):
            raise IndexError
        for _ in range(number):
            for kind in kinds:
                self.skip(kind, depth + 1)

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise Unreadable("it is no whole Parquet file (a page header with a number without an end)")

    def _byte(self) -> int:
        self._pass(1)
        return self._content[self.at - 1]

    def _pass(self, number: int) -> None:
        self.at += number
        if self.at > len(self._content):
            raise IndexError


def _in_list(kind: int) -> int:
    """In lists a truth value is a byte, where in a struct its kind says it all."""
    return _BYTE if kind in (_TRUE, _FALSE) else kind
