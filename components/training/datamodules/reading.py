"""Pieces of shards become tensors, by as many threads as there are cores: Pillow, Arrow and tokenizers work outside Python's lock."""

import os
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch

from components.data.dataset import Dataset
from components.training.datamodules import Batch
from components.training.datamodules.order import Piece

if TYPE_CHECKING:
    import pyarrow as pa


MOST_THREADS = 8
"""What is being decoded comes on top of the buffer: as many pieces, for each its bytes and twice its pixels."""


@dataclass(frozen=True)
class Columns:
    """Rows in a compact form: tensors [N, …] by name, in which every row is of one form."""

    tensors: Batch
    told: Mapping[str, int] = field(default_factory=dict)
    """What the user should hear of the rows, as the end of a sentence, and how many rows it is true of."""


class RowReader(Protocol):
    """How rows of a table become rows of a batch."""

    @property
    def columns(self) -> list[str]:
        """Of the table."""
        ...

    def read(self, table: "pa.Table") -> Columns:
        """Called by several threads at once."""
        ...

    def finish(self, batch: Batch) -> Batch:
        """What a network is given of drawn rows."""
        ...


class Window:
    """Rows that are being read into one buffer."""

    def __init__(self, buffer: Batch, reads: Sequence["Future[Mapping[str, int]]"]) -> None:
        self._buffer, self._reads = buffer, reads

    def tensors(self) -> Batch:
        """All rows, when they are read.

        Raises:
            UserError: a shard is missing or damaged.
        """
        for read in self._reads:
            read.result()
        return self._buffer

    def told(self) -> Counter[str]:
        """`Columns.told` of all rows."""
        return sum((Counter(read.result()) for read in self._reads), Counter())

    def drop(self) -> None:
        """Read no more of it."""
        for read in self._reads:
            read.cancel()


class PieceReader:
    """Reads pieces of the shards of ``dataset`` in the background."""

    def __init__(self, dataset: Dataset, reader: RowReader) -> None:
        self._dataset, self._reader = dataset, reader
        self._num_threads = min(os.cpu_count() or 1, MOST_THREADS)
        self._pool = ThreadPoolExecutor(self._num_threads, thread_name_prefix="rows")

    def first(self) -> Batch:
        """The first training row, [1, …] each."""
        return self._reader.read(self._dataset.read(self._dataset.shards("train")[0], self._reader.columns, 0, 1)).tensors

    def window(self, pieces: Sequence[Piece], form: Batch) -> Window:
        """The rows of ``pieces`` one after the other; ``form`` has rows like them."""
        num = sum(piece.rows for piece in pieces)
        buffer = {name: torch.empty((num, *column.shape[1:]), dtype=column.dtype) for name, column in form.items()}
        reads, start = [], 0
        for piece in pieces:
            part = {name: column[start : start + piece.rows] for name, column in buffer.items()}
            reads.append(self._pool.submit(self._fill, part, piece))
            start += piece.rows
        return Window(buffer, reads)

    def in_order(self, pieces: Sequence[Piece]) -> Iterator[Columns]:
        """Piece by piece, a few of them ahead."""
        ahead: deque[Future[Columns]] = deque()
        try:
            for piece in pieces:
                ahead.append(self._pool.submit(self._columns, piece))
                if len(ahead) > self._num_threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for read in ahead:
                read.cancel()

    def close(self) -> None:
        """End the threads: what is being read is waited for, what was not begun is left."""
        self._pool.shutdown(cancel_futures=True)

    def _columns(self, piece: Piece) -> Columns:
        return self._reader.read(self._dataset.read(piece.shard, self._reader.columns, piece.start, piece.rows))

    def _fill(self, part: Batch, piece: Piece) -> Mapping[str, int]:
        columns = self._columns(piece)
        for name, column in part.items():
            column.copy_(columns.tensors[name])
        return columns.told
