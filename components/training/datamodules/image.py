"""Batches of images: `image` float32 [B, C, H, W] in [0, 1], and `label` int64 [B] where the dataset has labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from components.data.augmenting.pictures import PictureChanges, altered
from components.data.dataset import Dataset
from components.data.pixels import decode_images, labels_of
from components.errors import UserError
from components.models.capabilities import DataSpec
from components.models.family import ImageTrainingConfig, TrainingConfig
from components.training.datamodules import Batch, require_a_batch
from components.training.datamodules.reading import Columns
from components.training.datamodules.rows import RowBatches

if TYPE_CHECKING:
    import pyarrow as pa

LEAST_SIDE = 8
"""Pixels; the networks halve an image at least once."""


def describe(dataset: Dataset, config: TrainingConfig, cache: Path) -> DataSpec:
    """Channels come from the first image, for cleaning has given all of them one form; so does the size where the config names none."""
    shards = dataset.shards("train", augmented=False)
    if not shards:
        raise UserError(f"Dataset {dataset.name!r} has no images to train on: look at `genmill data show {dataset.name}`, then mend its source or its split.")
    channels, side = decode_images(dataset.read(shards[0], ["image"], 0, 1), _size(config)).shape[1:3]
    if side < LEAST_SIDE:
        raise UserError(f"The images of {dataset.name!r} are {side} pixels wide, models need at least {LEAST_SIDE}: set image_size in the model's config.")
    return DataSpec(modality="image", channels=channels, image_size=side, class_names=dataset.class_names)


def prepare(dataset: Dataset, config: TrainingConfig, data_spec: DataSpec, seed: int, changes: PictureChanges | None = None) -> RowBatches:
    require_a_batch(dataset, config.batch_size, "images")
    return RowBatches(
        dataset, ImageReader.of(data_spec), batch_size=config.batch_size, seed=seed, buffer_mib=config.buffer_mib,
        alteration=PictureAlteration(changes) if changes else None,
    )  # fmt: skip


def _size(config: TrainingConfig) -> int | None:
    return config.image_size if isinstance(config, ImageTrainingConfig) else None


@dataclass(frozen=True)
class ImageReader:
    """Images as bytes [N, C, S, S], and their labels where the dataset has them."""

    size: int
    labelled: bool

    @classmethod
    def of(cls, data_spec: DataSpec) -> "ImageReader":
        return cls(data_spec.image_size, bool(data_spec.class_names))

    @property
    def columns(self) -> list[str]:
        return ["image", *(["label"] if self.labelled else [])]

    def read(self, table: "pa.Table") -> Columns:
        tensors = {"image": torch.from_numpy(decode_images(table, self.size))}
        if self.labelled:
            tensors["label"] = torch.from_numpy(labels_of(table))
        return Columns(tensors)

    def finish(self, batch: Batch) -> Batch:
        """The batch with its images in [0, 1]."""
        return {**batch, "image": batch["image"].float() / 255}


@dataclass(frozen=True)
class PictureAlteration:
    """Images altered after they were brought to the model's size."""

    changes: PictureChanges

    @property
    def seed(self) -> int:
        return self.changes.seed

    def altered(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        images = torch.empty_like(batch["image"])
        for image, old, seed in zip(images, batch["image"].numpy(), seeds, strict=True):
            pixels = altered(old[0] if len(old) == 1 else old.transpose(1, 2, 0), self.changes, seed)
            image.copy_(torch.from_numpy(pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)))
        return {**batch, "image": images}
