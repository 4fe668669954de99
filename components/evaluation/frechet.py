"""The Fréchet distance between two Gaussians fitted to features (Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule"),
and the distance that endlessly many samples would have (Chong & Forsyth 2020, "Effectively Unbiased FID and Inception Score and where to find them").
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

INFINITY_PARTS = 4
"""The line that leads to endlessly many samples goes through the distances of all samples, of halves, of thirds and of quarters."""


@dataclass(frozen=True)
class Moments:
    """Mean [D] and covariance [D, D] of features, in float64."""

    mean: Tensor
    covariance: Tensor

    @cached_property
    def factor(self) -> Tensor:
        """F with F F' = ``covariance``: Cholesky's, or by eigenvectors where a feature is constant or N <= D."""
        factor, failed = torch.linalg.cholesky_ex(self.covariance)
        if not failed:
            return factor
        eigenvalues, vectors = torch.linalg.eigh(self.covariance)
        return vectors * eigenvalues.clamp(min=0).sqrt()


def moments(features: Tensor) -> Moments:
    """The moments of ``features`` [N, D], N >= 2."""
    assert features.ndim == 2, f"features are [N, D], not {tuple(features.shape)}"
    assert len(features) >= 2, "a covariance needs two rows"
    points = features.double()
    return Moments(points.mean(0), torch.atleast_2d(torch.cov(points.T)))


def frechet_distance(a: Moments, b: Moments) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^1/2), never negative.

    The trace of the root is the sum of the roots of the eigenvalues of F' B F with A = F F': a symmetric problem, faster and
    more exact than a matrix square root of A B.
    """
    eigenvalues = torch.linalg.eigvalsh(a.factor.T @ b.covariance @ a.factor)
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * _root_sum(eigenvalues)
    return max(0.0, float(distance))


def least_for_infinity(dim: int) -> int:
    """Samples that `frechet_at_infinity` needs: a smaller part has no covariance of full rank, and its distance lies on no line."""
    return INFINITY_PARTS * (dim + 2)


def frechet_at_infinity(features: Tensor, reference: Moments) -> float:
    """Where the distance of ``features`` [N, D] to ``reference`` goes as N grows; may be a little below zero.

    The bias of the distance is linear in 1/N, so the line through distances at several N meets 1/N = 0 there. Each N is N/k of the rows, as the mean
    over the k parts that these make, so that every row counts at every N and the points are evenly spaced in 1/N. The rows are mixed first: draws
    stand by class, and a part of them would lack some.
    """
    assert len(features) >= least_for_infinity(features.shape[1]), "too few samples for a line"
    points = features.double()[torch.randperm(len(features), generator=torch.Generator().manual_seed(0))]
    turned = points @ reference.factor  # with it F' B F is the covariance of rows, and no D x D product is needed for each part
    inverse, distances = [], []
    for parts in range(1, INFINITY_PARTS + 1):
        size = len(points) // parts
        pieces = [slice(start * size, (start + 1) * size) for start in range(parts)]
        distances.append(sum(_distance_of_rows(points[piece], turned[piece], reference) for piece in pieces) / parts)
        inverse.append(1 / size)
    x, y = torch.tensor(inverse, dtype=torch.float64), torch.tensor(distances, dtype=torch.float64)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return float(y.mean() - slope * x.mean())


def _distance_of_rows(points: Tensor, turned: Tensor, reference: Moments) -> float:
    """`frechet_distance` of ``points`` [n, D], given ``turned``, their product with the reference's factor."""
    mean = points.mean(0)
    trace = (points - mean).square().sum() / (len(points) - 1)
    eigenvalues = torch.linalg.eigvalsh(torch.atleast_2d(torch.cov(turned.T)))
    return float((mean - reference.mean).square().sum() + trace + reference.covariance.trace() - 2 * _root_sum(eigenvalues))


def _root_sum(eigenvalues: Tensor) -> Tensor:
    return eigenvalues.clamp(min=0).sqrt().sum()
