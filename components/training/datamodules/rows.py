"""Batches of rows: all of them in memory where they fit, else a window of them at a time, while the next one is read in the background.

What a run is given does not depend on how fast anything is read: where the rows of a batch lie follows from the seed and the step, see `Order`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import torch

from components.data.dataset import Dataset, Split
from components.data.modalities import rng_seed
from components.training.datamodules import Batch
from components.training.datamodules.order import Order, Piece, Run, pieces_of
from components.training.datamodules.reading import PieceReader, RowReader, Window
from components.training.progress import say

PIECE_BYTES = 16 * 2**20
"""Decoded rows that one thread reads at a time."""
PIECES_PER_WINDOW = 8
"""At least: rows of a piece always meet in one window, so it should be a small part of it."""


class RowBatches:
    """Batches of the rows of ``dataset``; each training row is drawn once per epoch.

    ``buffer_mib`` is what decoded rows may take, see `TrainingConfig`. Where the training and the validation split fit, they are held; else a window of
    half of it is drawn from while the next one is read, and rows that are wanted in order are read anew for each pass.
    """

    def __init__(self, dataset: Dataset, reader: RowReader, *, batch_size: int, seed: int, buffer_mib: float, alteration: "Alteration | None" = None) -> None:
        self.batch_size, self._seed, self._alteration = batch_size, seed, alteration
        self._reader, self._pieces = reader, PieceReader(dataset, reader)
        form, buffer_bytes = self._pieces.first(), int(buffer_mib * 2**20)
        row_bytes = sum(column.nbytes for column in form.values())
        fits = row_bytes * (dataset.manifest.rows("train") + dataset.manifest.rows("validation")) <= buffer_bytes
        window_bytes = buffer_bytes if fits else buffer_bytes // 2
        piece_rows = max(1, min(PIECE_BYTES, window_bytes // PIECES_PER_WINDOW) // row_bytes)

        def pieces(split: Split, augmented: bool) -> tuple[Piece, ...]:
            return pieces_of(dataset.shards(split, augmented), piece_rows)

        self._order = Order(pieces("train", True), seed, None if fits else window_bytes // row_bytes)
        in_order: dict[Split, tuple[Piece, ...]] = {"train": pieces("train", False), "validation": pieces("validation", False)}
        source = _Held if fits else _Streamed
        self._rows: _Rows = source(self._pieces, form, self._order, in_order)

    def train(self, step: int) -> Batch:
        parts = []
        for run in self._order.runs(step, self.batch_size):
            window = self._rows.window(run.epoch, run.window)
            drawn = {name: column[run.rows] for name, column in window.items()}
            del window  # the next one may need its memory
            parts.append(self._altered(drawn, run) if self._alteration else drawn)
        return self._reader.finish({name: torch.cat([part[name] for part in parts]) for name in parts[0]})

    def _altered(self, drawn: Batch, run: Run) -> Batch:
        """A row is altered by its number and the epoch, wherever it was read."""
        assert self._alteration is not None
        return self._alteration.altered(drawn, [rng_seed(self._seed, self._alteration.seed, run.epoch, number) for number in self._order.numbers(run)])

    def validation(self) -> Iterator[Batch]:
        return map(self._reader.finish, _in_batches(self._rows.in_order("validation"), self.batch_size))

    def originals(self) -> Iterator[Batch]:
        return map(self._reader.finish, _in_batches(self._rows.in_order("train"), self.batch_size))

    def close(self) -> None:
        self._pieces.close()


class Alteration(Protocol):
    """What is done to training rows when they are drawn."""

    @property
    def seed(self) -> int: ...

    def altered(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        """Rows in their compact form, each altered as its seed draws it; what was given stays as it is."""
        ...


class _Rows(Protocol):
    """Where rows come from."""

    def window(self, epoch: int, number: int) -> Batch:
        """A window of the training split as `Order` has it."""
        ...

    def in_order(self, split: Split) -> Iterator[Batch]:
        """The split without added rows, in parts of any size."""
        ...


class _Held:
    """Both splits in memory; the training split is its only window."""

    def __init__(self, reader: PieceReader, form: Batch, order: Order, in_order: Mapping[Split, tuple[Piece, ...]]) -> None:
        self._num_originals = sum(piece.rows for piece in in_order["train"])
        read: dict[Split, Window] = {"train": reader.window(order.window(0, 0), form), "validation": reader.window(in_order["validation"], form)}
        try:
            self._held = {split: window.tensors() for split, window in read.items()}
        finally:
            reader.close()
        for split, window in read.items():
            _tell(window.told(), f"{_num_rows(self._held[split]):,} {split}")

    def window(self, epoch: int, number: int) -> Batch:
        return self._held["train"]

    def in_order(self, split: Split) -> Iterator[Batch]:
        yield self._held[split] if split == "validation" else _slice(self._held[split], 0, self._num_originals)


class _Streamed:
    """One window and, when it is drawn from, the one behind it: never a third."""

    def __init__(self, reader: PieceReader, form: Batch, order: Order, in_order: Mapping[Split, tuple[Piece, ...]]) -> None:
        self._reader, self._form, self._order, self._pieces = reader, form, order, in_order
        self._windows: dict[tuple[int, int], Window] = {}
        self._has_told: set[Split] = set()

    def window(self, epoch: int, number: int) -> Batch:
        now = (epoch, number) if self._order.num_windows > 1 else (0, 0)
        then = self._order.next(*now)
        for key in [key for key in self._windows if key not in (now, then)]:
            self._windows.pop(key).drop()
        self._begin(now)
        tensors = self._windows[now].tensors()
        if "train" not in self._has_told:
            self._has_told.add("train")
            _tell(self._windows[now].told(), f"the first {_num_rows(tensors):,} train")
        self._begin(then)
        return tensors

    def in_order(self, split: Split) -> Iterator[Batch]:
        told: Counter[str] = Counter()
        for columns in self._reader.in_order(self._pieces[split]):
            told.update(columns.told)
            yield columns.tensors
        if split == "validation" and split not in self._has_told:
            self._has_told.add(split)
            _tell(told, f"{sum(piece.rows for piece in self._pieces[split]):,} {split}")

    def _begin(self, key: tuple[int, int]) -> None:
        if key not in self._windows:
            self._windows[key] = self._reader.window(self._order.window(*key), self._form)


def _tell(told: Mapping[str, int], of: str) -> None:
    for what, num in told.items():
        say(f"{num:,} of {of} {what}")


def _in_batches(parts: Iterable[Batch], size: int) -> Iterator[Batch]:
    """The rows of ``parts``, ``size`` at a time; the last batch has what is left."""
    left: Batch | None = None
    for part in parts:
        joined = part if left is None else {name: torch.cat([left[name], column]) for name, column in part.items()}
        num = _num_rows(joined)
        whole = num - num % size
        yield from (_slice(joined, start, start + size) for start in range(0, whole, size))
        left = _slice(joined, whole, num) if whole < num else None
    if left is not None:
        yield left


def _slice(columns: Batch, start: int, stop: int) -> Batch:
    return {name: column[start:stop] for name, column in columns.items()}


def _num_rows(columns: Batch) -> int:
    return len(next(iter(columns.values())))
