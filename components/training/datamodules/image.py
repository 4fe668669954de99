"""Batches of images: `image` float32 [B, C, H, W] in [0, 1], and `label` int64 [B] where the dataset has labels."""

from functools import partial
from pathlib import Path

import torch

from components.data.dataset import Dataset, Split
from components.data.pixels import decode_images, labels_of
from components.errors import UserError
from components.models.capabilities import DataSpec
from components.models.family import ImageTrainingConfig, TrainingConfig
from components.training.datamodules import Batch, RowBatches, require_a_batch

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


def prepare(dataset: Dataset, config: TrainingConfig, data_spec: DataSpec, seed: int) -> RowBatches:
    require_a_batch(dataset, config.batch_size, "images")
    return RowBatches(dataset, batch_size=config.batch_size, seed=seed, load=partial(load_images, dataset, data_spec), finish=scaled)


def _size(config: TrainingConfig) -> int | None:
    return config.image_size if isinstance(config, ImageTrainingConfig) else None


def load_images(dataset: Dataset, data_spec: DataSpec, split: Split, augmented: bool) -> Batch:
    """All images of ``split`` as bytes [N, C, S, S], and their labels where the dataset has them."""
    labelled = bool(data_spec.class_names)
    table = dataset.table(split, columns=["image", *(["label"] if labelled else [])], augmented=augmented)
    columns = {"image": torch.from_numpy(decode_images(table, data_spec.image_size))}
    if labelled:
        columns["label"] = torch.from_numpy(labels_of(table))
    return columns


def scaled(batch: Batch) -> Batch:
    """The batch with its images in [0, 1]."""
    return {**batch, "image": batch["image"].float() / 255}
