"""Whether a model repeats its training images: how near samples come to them, beside how near real unseen images do."""

from typing import NamedTuple

import torch
from torch import Tensor

from components.evaluation.features import as_images

_CHUNK = 2048


class Nearest(NamedTuple):
    distance: Tensor
    """Euclidean distance over all pixels in [0, 1], [N]."""
    place: Tensor
    """Index of that training image, [N]."""


def nearest_training(images: Tensor, train: Tensor) -> Nearest:
    """The training image nearest to each of ``images`` [N, C, S, S] in [0, 1]; ``train`` [M, C, S, S] is bytes, of which few are scaled at a time."""
    sought = images.flatten(1)
    nearest = Nearest(torch.full((len(sought),), torch.inf), torch.zeros(len(sought), dtype=torch.long))
    for start in range(0, len(train), _CHUNK):
        distance, place = torch.cdist(sought, as_images(train[start : start + _CHUNK]).flatten(1)).min(1)
        nearer = distance < nearest.distance
        nearest = Nearest(torch.where(nearer, distance, nearest.distance), torch.where(nearer, place + start, nearest.place))
    return nearest


def neighbour_ratio(samples: Tensor, test: Tensor, train: Tensor) -> float:
    """Median distance from a sample to its nearest training image, over that from a test image to its own.

    About 1 for fresh images; well below 1 where the model copies (Meehan et al. 2020 compare the same two distances).
    """
    return float(nearest_training(samples, train).distance.median() / nearest_training(test, train).distance.median())
