"""Batches for training, by kind: `image-text` is the module `image_text.py` beside this file, and what a dataset of that modality gives.

A family may train on another kind (`Family.batches`): one that needs no captions takes `image` from a dataset of images and captions.
A module of a kind has ``describe(dataset, config, cache) -> DataSpec`` and ``prepare(dataset, config, data_spec, seed, changes) -> Batches``, where
``changes`` is the modality's ``AugmentConfig`` if training rows are altered when they are drawn, else None. None of them holds
a split that is large: rows are read in windows (`rows.py`), text lies in a file of tokens (`token_files.py`), and what is described of a split is
taken from a stream of its shards.
"""

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
from torch import Tensor

from components.data.dataset import Dataset
from components.data.modalities import find_modality
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

    def close(self) -> None:
        """End what runs in the background; no more batches are drawn."""
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


def prepare(dataset: Dataset, config: TrainingConfig, data_spec: DataSpec, seed: int, augment: Mapping[str, Any] | None = None) -> Batches:
    """The batches of ``dataset`` that ``data_spec`` was made for; what they hold in memory has a bound, whatever the dataset's size.

    ``augment`` is how training rows are altered when they are drawn, see `RunSpec`.
    """
    changes = find_modality(dataset.modality).AugmentConfig.model_validate(augment) if augment else None
    batches: Batches = _module(data_spec.modality).prepare(dataset, config, data_spec, seed, changes)
    return batches


def before_after(dataset: Dataset, augment: Mapping[str, Any]) -> bytes | str:
    """A PNG or a text of some training rows and of what ``augment`` makes of them when they are drawn."""
    modality, shard = find_modality(dataset.modality), dataset.shards("train", augmented=False)[0]
    shown = modality.before_after(dataset.read(shard, list(dataset.manifest.columns)), modality.AugmentConfig.model_validate(augment), dataset.class_names)
    assert shown is not None, "it alters rows"
    return shown


def _module(kind: str) -> Any:
    return importlib.import_module(f"{__name__}.{kind.replace('-', '_')}")
