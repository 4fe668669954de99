"""Batches of images: `image` float32 [B, C, H, W] in [0, 1], and `label` int64 [B] where the dataset has labels."""

from collections.abc import Iterator
from pathlib import Path

import torch

from components.data.dataset import Dataset, Split
from components.data.pixels import decode_images, labels_of
from components.errors import UserError
from components.models.capabilities import DataSpec
from components.models.family import ImageTrainingConfig, TrainingConfig
from components.training.datamodules import Batch, EpochOrder

LEAST_SIDE = 8
"""Pixels; the networks halve an image at least once."""


def describe(dataset: Dataset, config: TrainingConfig, cache: Path) -> DataSpec:
    """Channels come from the first image, for cleaning has given all of them one form; so does the size where the config names none."""
    first = dataset.table("train", columns=["image"], augmented=False).slice(0, 1)
    if not first.num_rows:
        raise UserError(f"Dataset {dataset.name!r} has no images to train on: look at `genmill data show {dataset.name}`, then mend its source or its split.")
    channels, side = decode_images(first, _size(config)).shape[1:3]
    if side < LEAST_SIDE:
        raise UserError(f"The images of {dataset.name!r} are {side} pixels wide, models need at least {LEAST_SIDE}: set image_size in the model's config.")
    return DataSpec(modality="image", channels=channels, image_size=side, class_names=dataset.class_names)


def prepare(dataset: Dataset, config: TrainingConfig, data_spec: DataSpec, seed: int) -> "ImageBatches":
    rows = dataset.manifest.rows("train")
    if rows < config.batch_size:
        raise UserError(
            f"Dataset {dataset.name!r} has {rows} images to train on, fewer than a batch of {config.batch_size}: "
            f"add images, or set batch_size to {max(1, rows // 2)} or less in the model's config."
        )
    return ImageBatches(dataset, config.batch_size, data_spec, seed)


def _size(config: TrainingConfig) -> int | None:
    return config.image_size if isinstance(config, ImageTrainingConfig) else None


class ImageBatches:
    """All images as bytes in memory; a batch is scaled to [0, 1] when it is drawn."""

    def __init__(self, dataset: Dataset, batch_size: int, data_spec: DataSpec, seed: int) -> None:
        self.batch_size = batch_size
        self._train = _load(dataset, "train", data_spec, augmented=True)
        self._validation = _load(dataset, "validation", data_spec, augmented=False)
        self._num_originals = dataset.table("train", columns=["id"], augmented=False).num_rows
        self._order = EpochOrder(len(self._train["image"]), seed)

    def train(self, step: int) -> Batch:
        rows = torch.tensor([row for _, row in self._order.draws(step, self.batch_size)])
        return _scaled({name: column[rows] for name, column in self._train.items()})

    def validation(self) -> Iterator[Batch]:
        return _in_order(self._validation, len(self._validation["image"]), self.batch_size)

    def originals(self) -> Iterator[Batch]:
        return _in_order(self._train, self._num_originals, self.batch_size)


def _load(dataset: Dataset, split: Split, data_spec: DataSpec, augmented: bool) -> Batch:
    labelled = bool(data_spec.class_names)
    table = dataset.table(split, columns=["image", *(["label"] if labelled else [])], augmented=augmented)
    columns = {"image": torch.from_numpy(decode_images(table, data_spec.image_size))}
    if labelled:
        columns["label"] = torch.from_numpy(labels_of(table))
    return columns


def _scaled(batch: Batch) -> Batch:
    return {**batch, "image": batch["image"].float() / 255}


def _in_order(columns: Batch, num: int, batch_size: int) -> Iterator[Batch]:
    for start in range(0, num, batch_size):
        yield _scaled({name: column[start : min(start + batch_size, num)] for name, column in columns.items()})
