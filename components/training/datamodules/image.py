"""Batches of images: `image` float32 [B, C, H, W] in [0, 1], and `label` int64 [B] where the dataset has labels."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from components.data.dataset import Dataset
from components.errors import UserError
from components.models.capabilities import DataSpec
from components.models.family import TrainingConfig
from components.training.datamodules import Batch, EpochOrder


def describe(dataset: Dataset, config: TrainingConfig, cache: Path) -> DataSpec:
    """Channels and size come from the first image; cleaning has given all of them one form."""
    first = dataset.table("train", columns=["image"], augmented=False).slice(0, 1)
    if not first.num_rows:
        raise UserError(f"Dataset {dataset.name!r} has no images to train on: look at `genmill data show {dataset.name}`, then mend its source or its split.")
    _, channels, height, width = _decode(first["image"].to_pylist()).shape
    assert height == width, f"images of {dataset.name} are not square"
    return DataSpec(modality="image", channels=channels, image_size=height, class_names=dataset.class_names)


def prepare(dataset: Dataset, config: TrainingConfig, data_spec: DataSpec, seed: int) -> "ImageBatches":
    return ImageBatches(dataset, config.batch_size, bool(data_spec.class_names), seed)


class ImageBatches:
    """All images as bytes in memory; a batch is scaled to [0, 1] when it is drawn."""

    def __init__(self, dataset: Dataset, batch_size: int, labelled: bool, seed: int) -> None:
        self.batch_size = batch_size
        self._train = _load(dataset, "train", labelled, augmented=True)
        self._validation = _load(dataset, "validation", labelled, augmented=False)
        self._num_originals = dataset.table("train", columns=["id"], augmented=False).num_rows
        self._order = EpochOrder(len(self._train["image"]), seed)

    def train(self, step: int) -> Batch:
        rows = torch.tensor([row for _, row in self._order.draws(step, self.batch_size)])
        return _scaled({name: column[rows] for name, column in self._train.items()})

    def validation(self) -> Iterator[Batch]:
        return _in_order(self._validation, len(self._validation["image"]), self.batch_size)

    def originals(self) -> Iterator[Batch]:
        return _in_order(self._train, self._num_originals, self.batch_size)


def _load(dataset: Dataset, split: str, labelled: bool, augmented: bool) -> Batch:
    table = dataset.table(split, columns=["image", *(["label"] if labelled else [])], augmented=augmented)  # type: ignore[arg-type]
    columns = {"image": _decode(table["image"].to_pylist())}
    if labelled:
        columns["label"] = torch.tensor(table["label"].to_pylist(), dtype=torch.int64)
    return columns


def _decode(cells: list[dict[str, bytes]]) -> Tensor:
    """uint8 [N, C, H, W]."""
    images = []
    for cell in cells:
        with Image.open(io.BytesIO(cell["bytes"])) as image:
            pixels = np.array(image)
        images.append(torch.from_numpy(pixels if pixels.ndim == 3 else pixels[:, :, None]))
    return torch.stack(images).permute(0, 3, 1, 2).contiguous() if images else torch.empty(0, 1, 1, 1, dtype=torch.uint8)


def _scaled(batch: Batch) -> Batch:
    return {**batch, "image": batch["image"].float() / 255}


def _in_order(columns: Batch, num: int, batch_size: int) -> Iterator[Batch]:
    for start in range(0, num, batch_size):
        yield _scaled({name: column[start : min(start + batch_size, num)] for name, column in columns.items()})
