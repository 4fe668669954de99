"""What torchmetrics measures, on features and logits that are given."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

KID_SUBSETS = 50


class KernelDistance(NamedTuple):
    value: float
    """Mean of the subsets; may be below zero."""
    subset_spread: float
    """One standard deviation of a subset."""


def kernel_distance(a: Tensor, b: Tensor, subset_size: int, seed: int) -> KernelDistance:
    """KID (Binkowski et al. 2018): the unbiased squared MMD under the cubic kernel, of random subsets."""
    from torchmetrics.image.kid import KernelInceptionDistance

    with _quiet_metric(seed):
        metric = KernelInceptionDistance(feature=nn.Identity(), subsets=KID_SUBSETS, subset_size=subset_size)
        metric.update(a, real=True)
        metric.update(b, real=False)
        value, spread = metric.compute()
        return KernelDistance(float(value), float(spread))


def inception_score(logits: Tensor) -> float:
    """exp of the mean KL between each image's class distribution and their mean, over all of ``logits`` [N, K] at once."""
    from torchmetrics.image.inception import InceptionScore

    with _quiet_metric(0):
        metric = InceptionScore(feature=nn.Identity(), splits=1)
        metric.update(logits.double())
        return float(metric.compute()[0])


@contextlib.contextmanager
def _quiet_metric(seed: int) -> Iterator[None]:
    """Seeds torchmetrics' own random choices and silences its remarks on memory and on a spread of one split."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*will save all extracted features.*")
        warnings.filterwarnings("ignore", message=".*degrees of freedom.*")
        torch.manual_seed(seed)
        yield
