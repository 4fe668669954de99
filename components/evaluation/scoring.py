"""What every figure of one evaluation of images shares, and how many images it takes."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from components.data.dataset import Dataset
from components.errors import UserError
from components.evaluation.config import EvaluationConfig
from components.evaluation.features import FEATURES
from components.evaluation.protocol import Figure, Identity, Recorded
from components.models.capabilities import DataSpec
from components.models.family import Goal

LEAST_IMAGES = FEATURES + 2
"""With fewer, the covariance of the features has no full rank and a Fréchet distance means nothing."""
MOST_SCORED = 2_000
"""Test images that likelihood and reconstruction are measured on, and samples whose nearest training image is sought, at most."""


class Judge(Protocol):
    """What looks at images for a figure."""

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True)
class Scoring:
    """What every figure of one evaluation shares."""

    dataset: Dataset
    config: EvaluationConfig
    cache: Path
    code: str
    data_spec: DataSpec

    @property
    def size(self) -> int:
        """The side in pixels of what the model makes; real images are brought to it."""
        return self.data_spec.image_size

    @property
    def shape(self) -> str:
        return f"{self.data_spec.channels}x{self.size}x{self.size}"

    def figure(self, name: str, value: float, goal: Goal, num: int, *, preprocessing: str, extractor: Judge | None = None, **more: Any) -> Figure:
        """A figure of the test split with its whole protocol."""
        identity = Identity(
            metric=name,
            num_samples=num,
            reference_sha256=self.dataset.manifest.sha256,
            split="test",
            preprocessing=preprocessing,
            extractor=extractor.name if extractor else "",
            extractor_sha256=extractor.sha256 if extractor else "",
        )
        recorded = Recorded(seed=self.config.seed, code=self.code)
        return Figure(name=name, value=value, goal=goal, identity=identity, **{"recorded": recorded, **more})


def require_enough_images(dataset: Dataset) -> None:
    """Refuse a dataset on which no distance between distributions can be measured; costs no decoding, so ask before training.

    Raises:
        UserError: naming the least number of images.
    """
    for split in ("train", "test"):
        rows = dataset.manifest.rows(split)
        if rows < LEAST_IMAGES:
            raise UserError(
                f"The {split} split of {dataset.name!r} has {rows} images and fid_own needs at least {LEAST_IMAGES}: "
                f"add rows, or give {split} a larger part in datasets.{dataset.name}.split."
            )


def shuffled(num: int, seed: int) -> Tensor:
    return torch.randperm(num, generator=torch.Generator().manual_seed(seed))


def standard_error(values: Tensor) -> float | None:
    """Of the mean of ``values``; None of a single one."""
    return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else None
