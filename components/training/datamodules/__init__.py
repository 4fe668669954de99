"""Batches for training, by kind: `image-text` is the module `image_text.py` beside this file, and what a dataset of that modality gives.

A family may train on another kind (`Family.batches`): one that needs no captions takes `image` from a dataset of images and captions.
A module of a kind has ``describe(dataset, config, cache) -> DataSpec`` and ``prepare(dataset, config, data_spec, seed) -> Batches``.
"""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from torch import Tensor

from components.data.dataset import Dataset, Split
from components.errors import UserError
from components.models.capabilities import DataSpec
from components.models.family import TrainingConfig

Batch = dict[str, Tensor]


class Batches(Protocol):
    """What a dataset gives. Batch ``step`` is a pure function of the seed and ``step``, so a resumed run needs no state of a loader."""

    def train(self, step: int) -> Batch:
        """The batch of step 0, 1, … of the training split, augmented rows included."""
        ...

    def validation(self) -> Iterator[Batch]:
        """The validation split, each row once."""
        ...

    def originals(self) -> Iterator[Batch]:
        """The training split without augmented rows, each row once, in order."""
        ...


class StepLoader:
    """The training batches from ``start`` to ``stop`` (exclusive), as Lightning wants them."""

    def __init__(self, batches: Batches, start: int, stop: int) -> None:
        self.batches, self.start, self.stop = batches, start, stop

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.start, self.stop):
            yield self.batches.train(step)

    def __len__(self) -> int:
        # The whole run's length, also when it starts in the middle: Lightning counts from the run's beginning.
        return self.stop

    def state_dict(self) -> dict[str, Any]:
        """Nothing: ``start`` says it all. Its presence tells Lightning that the run can go on in the middle."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        return


class ValidationLoader:
    """The validation split, anew for each pass."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Batch]:
        return self.batches.validation()


class DataModule(pl.LightningDataModule):
    """Batches of one dataset for one run that starts at step ``start``."""

    def __init__(self, batches: Batches, *, start: int, max_steps: int) -> None:
        super().__init__()
        self.batches, self.start, self.max_steps = batches, start, max_steps

    def train_dataloader(self) -> StepLoader:
        return StepLoader(self.batches, self.start, self.max_steps)

    def val_dataloader(self) -> ValidationLoader:
        return ValidationLoader(self.batches)


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


class RowBatches:
    """Rows in memory, as columns in a compact form; each training row is drawn once per epoch.

    ``load`` gives the columns of a split, with or without augmented rows, the originals first; ``finish`` makes of drawn rows what a network is given.
    """

    def __init__(self, dataset: Dataset, *, batch_size: int, seed: int, load: Callable[[Split, bool], Batch], finish: Callable[[Batch], Batch]) -> None:
        self.batch_size, self._finish = batch_size, finish
        self._train, self._validation = load("train", True), load("validation", False)
        self._num_originals = dataset.table("train", columns=["id"], augmented=False).num_rows
        self._order = EpochOrder(_num_rows(self._train), seed)

    def train(self, step: int) -> Batch:
        rows = torch.tensor([row for _, row in self._order.draws(step, self.batch_size)])
        return self._finish({name: column[rows] for name, column in self._train.items()})

    def validation(self) -> Iterator[Batch]:
        return self._in_order(self._validation, _num_rows(self._validation))

    def originals(self) -> Iterator[Batch]:
        return self._in_order(self._train, self._num_originals)

    def _in_order(self, columns: Batch, num: int) -> Iterator[Batch]:
        for start in range(0, num, self.batch_size):
            yield self._finish({name: column[start : min(start + self.batch_size, num)] for name, column in columns.items()})


def _num_rows(columns: Batch) -> int:
    return len(next(iter(columns.values())))


def require_a_batch(dataset: Dataset, batch_size: int, things: str) -> None:
    """Refuse a dataset whose training split fills no batch.

    Raises:
        UserError: with the batch size that it would fill.
    """
    rows = dataset.manifest.rows("train")
    if rows < batch_size:
        raise UserError(
            f"Dataset {dataset.name!r} has {rows} {things} to train on, fewer than a batch of {batch_size}: "
            f"add {things}, or set batch_size to {max(1, rows // 2)} or less in the model's config."
        )


def describe(dataset: Dataset, config: TrainingConfig, cache: Path, *, kind: str | None = None) -> DataSpec:
    """What a network must know of ``dataset`` for batches of ``kind`` (default: its modality's own); what is costly to find out is kept in ``cache``."""
    spec = _module(kind or dataset.modality).describe(dataset, config, cache)
    assert isinstance(spec, DataSpec)
    return spec


def prepare(dataset: Dataset, config: TrainingConfig, data_spec: DataSpec, seed: int) -> Batches:
    """The batches of ``dataset`` that ``data_spec`` was made for, held in memory."""
    batches: Batches = _module(data_spec.modality).prepare(dataset, config, data_spec, seed)
    return batches


def _module(kind: str) -> Any:
    return importlib.import_module(f"{__name__}.{kind.replace('-', '_')}")
