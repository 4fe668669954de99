"""Whether a model repeats its training images: how near samples come to them, beside how near real unseen images do."""

from typing import NamedTuple

import torch
from torch import Tensor

_CHUNK = 512


class Nearest(NamedTuple):
    distance: Tensor
    """Euclidean distance over all pixels in [0, 1], [N]."""
    place: Tensor
    """Index of that training image, [N]."""


def nearest_training(images: Tensor, train: Tensor) -> Nearest:
    """The training image nearest to each of ``images`` [N, C, S, S]; ``train`` is [M, C, S, S]."""
    known = train.flatten(1)
    found = [torch.cdist(chunk.flatten(1), known).min(1) for chunk in images.split(_CHUNK)]
    return Nearest(torch.cat([one.values for one in found]), torch.cat([one.indices for one in found]))


def neighbour_ratio(samples: Tensor, test: Tensor, train: Tensor) -> float:
    """Median distance from a sample to its nearest training image, over that from a test image to its own.

    About 1 for fresh images; well below 1 where the model copies (Meehan et al. 2020 compare the same two distances).
    """
    return float(nearest_training(samples, train).distance.median() / nearest_training(test, train).distance.median())
