"""Whether a model repeats its training images: how near samples come to them, beside how near real unseen images do."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from components.evaluation.cells import cells_of
from components.evaluation.features import as_images

IN_A_CELL = 20
"""Samples, and test images, without which a cell's ranks say nothing."""
IMAGES_PER_CELL = 60
"""Test images for each cell that the training images are cut into: as many whatever N is, for the statistic of a cell grows with the root of what it holds."""
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


def neighbour_ratio(samples: Nearest, test: Nearest) -> float:
    """Median distance from a sample to its nearest training image, over that from a test image to its own.

    About 1 for fresh images; well below 1 where the model copies.
    """
    return float(samples.distance.median() / test.distance.median())


def closest_record_ratio(samples: Nearest, test: Nearest) -> float:
    """The 5th percentile of the distances from samples to their nearest training images, over that of test images: the nearest few, not the usual one."""
    return float(samples.distance.double().quantile(0.05) / test.distance.double().quantile(0.05).clamp(min=1e-12))


class Cells:
    """Regions of the training images, by k-means of their pixels, in each of which samples are compared with test images of the same kind."""

    def __init__(self, train: Tensor, num_test: int) -> None:
        self.centres = cells_of(train.flatten(1), max(1, num_test // IMAGES_PER_CELL))
        """[K, C*S*S] in [0, 255]."""

    def place(self, images: Tensor) -> Tensor:
        """The cell of each of ``images`` [N, C, S, S] in [0, 1], [N]."""
        return torch.cat([torch.cdist(255 * chunk.flatten(1), self.centres).argmin(1) for chunk in images.split(_CHUNK)])


def data_copying(samples: Tensor, test: Tensor, sample_cells: Tensor, test_cells: Tensor) -> float | None:
    """C_T of Meehan et al. 2020, "A Non-Parametric Test to Detect Data-Copying in Generative Models": how much nearer to training images samples come.

    For distances to the nearest training image [N], [M] and the cells in which they were measured: the z-score of Mann and Whitney's U of samples
    against test images in each cell, averaged with the cell's share of the test images. About 0 where they are alike, far below 0 where samples are
    copies, above 0 where they are further off.
    None where no cell holds `IN_A_CELL` of both.
    """
    total, weight = 0.0, 0
    for cell in test_cells.unique().tolist():
        ours, theirs = samples[sample_cells == cell], test[test_cells == cell]
        if min(len(ours), len(theirs)) >= IN_A_CELL:
            total += len(theirs) * rank_z_score(ours, theirs)
            weight += len(theirs)
    return total / weight if weight else None


def rank_z_score(a: Tensor, b: Tensor) -> float:
    """Mann and Whitney's U as a z-score: below 0 where values of ``a`` are smaller than those of ``b``; equal ones count half."""
    ordered = b.sort().values
    below, up_to = torch.searchsorted(ordered, a), torch.searchsorted(ordered, a, right=True)
    n, m = len(a), len(b)
    u = float((below + up_to).double().sum()) / 2
    return (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
