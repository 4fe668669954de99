"""The order in which training rows are drawn: a pure function of the seed and the step, from the manifest's numbers of rows alone."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, groupby
from typing import NamedTuple

import torch
from torch import Tensor

from components.data.dataset import ShardInfo
from components.data.modalities import rng_seed


class EpochOrder:
    """Which of ``size`` rows stands where when every epoch goes through all of them in a new order."""

    def __init__(self, size: int, seed: int) -> None:
        assert size > 0, "no rows to draw from"
        self.size, self.seed = size, seed
        self._orders: dict[int, Tensor] = {}

    def draws(self, step: int, batch_size: int) -> list[tuple[int, int]]:
        """(epoch, row) of each element of batch ``step``; a batch may reach over the end of an epoch."""
        first = step * batch_size
        return [(place // self.size, int(self._order(place // self.size)[place % self.size])) for place in range(first, first + batch_size)]

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            # A batch spans two epochs at most unless it is larger than one; older orders are not needed again.
            self._orders = {known: order for known, order in self._orders.items() if known >= epoch - 1}
            self._orders[epoch] = torch.randperm(self.size, generator=epoch_generator(self.seed, epoch))
        return self._orders[epoch]


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


class Piece(NamedTuple):
    """Rows of a shard that are read together."""

    shard: ShardInfo
    start: int
    """Its first row within the shard."""
    rows: int
    first: int
    """The number of its first row within the split."""


def pieces_of(shards: Sequence[ShardInfo], most_rows: int) -> tuple[Piece, ...]:
    """All rows of ``shards`` in order, each shard in pieces of ``most_rows`` rows or fewer."""
    begins = accumulate((shard.rows for shard in shards), initial=0)
    return tuple(
        Piece(shard, start, min(most_rows, shard.rows - start), begin + start)
        for shard, begin in zip(shards, begins, strict=False)
        for start in range(0, shard.rows, most_rows)
    )


class Run(NamedTuple):
    """Neighbouring elements of a batch that come from one window."""

    epoch: int
    window: int
    rows: Tensor
    """Places within the window, int64."""


class Order:
    """Rows of ``pieces`` in windows: one with all of them, or as many as are needed for none to have more than ``most_rows``.

    Of several windows each epoch fills them with pieces anew, in an order drawn from the seed; then the rows of a window are drawn in an order of their
    own. So a window is a shuffle buffer: what stands far apart in the data meets in one, and all that is known beforehand is where each of its pieces lies.
    """

    def __init__(self, pieces: Sequence[Piece], seed: int, most_rows: int | None = None) -> None:
        self.pieces, self.seed, self.size = tuple(pieces), seed, sum(piece.rows for piece in pieces)
        assert self.size > 0, "no rows to draw from"
        # A window ends behind the piece that fills it, so it is planned that much smaller.
        room = None if most_rows is None else max(1, most_rows - max(piece.rows for piece in pieces))
        self.num_windows = 1 if room is None else -(-self.size // room)
        # A batch spans two epochs, or two windows, at most unless it is larger than one; older orders are not needed again.
        self._plan = lru_cache(maxsize=2)(self._planned)
        self._draws = lru_cache(maxsize=2)(self._drawn)

    def runs(self, step: int, batch_size: int) -> list[Run]:
        """Batch ``step``, in order; it may reach over the end of a window or of an epoch."""
        first = step * batch_size
        places = [self._place(place) for place in range(first, first + batch_size)]
        runs = []
        for (epoch, window), group in groupby(places, key=lambda place: place[:2]):
            rows = torch.tensor([place[2] for place in group])
            runs.append(Run(epoch, window, self._draws(epoch, window)[rows]))
        return runs

    def window(self, epoch: int, window: int) -> tuple[Piece, ...]:
        """What the window holds, in the order of its rows."""
        return self._plan(epoch).windows[window]

    def numbers(self, run: Run) -> list[int]:
        """The number of each row of ``run`` within the split."""
        pieces = self.window(run.epoch, run.window)
        ends = list(accumulate(piece.rows for piece in pieces))
        found = ((row, bisect_right(ends, row)) for row in run.rows.tolist())
        return [pieces[piece].first + row - (ends[piece] - pieces[piece].rows) for row, piece in found]

    def next(self, epoch: int, window: int) -> tuple[int, int]:
        """(epoch, window) behind this one; the only window is behind itself."""
        if self.num_windows == 1:
            return epoch, window
        return (epoch, window + 1) if window + 1 < len(self._plan(epoch).windows) else (epoch + 1, 0)

    def _place(self, place: int) -> tuple[int, int, int]:
        """(epoch, window, number of the draw in that window) of the draw ``place`` of the whole training."""
        epoch, offset = divmod(place, self.size)
        ends = self._plan(epoch).ends
        window = bisect_right(ends, offset)
        return epoch, window, offset - (ends[window - 1] if window else 0)

    def _planned(self, epoch: int) -> "_Plan":
        if self.num_windows == 1:
            return _Plan((self.pieces,), (self.size,))
        order = torch.randperm(len(self.pieces), generator=epoch_generator(self.seed, epoch)).tolist()
        filled: list[list[Piece]] = [[] for _ in range(self.num_windows)]
        drawn = 0
        for piece in (self.pieces[index] for index in order):
            filled[drawn * self.num_windows // self.size].append(piece)
            drawn += piece.rows
        windows = tuple(tuple(window) for window in filled if window)
        return _Plan(windows, tuple(accumulate(sum(piece.rows for piece in window) for window in windows)))

    def _drawn(self, epoch: int, window: int) -> Tensor:
        rows = sum(piece.rows for piece in self.window(epoch, window))
        generator = epoch_generator(self.seed, epoch)
        if self.num_windows > 1:
            generator.manual_seed(rng_seed(self.seed, epoch, window) >> 1)
        return torch.randperm(rows, generator=generator)


class _Plan(NamedTuple):
    """The windows of an epoch."""

    windows: tuple[tuple[Piece, ...], ...]
    ends: tuple[int, ...]
    """How many rows are drawn in the epoch when each of them is."""
