"""The Fréchet distance between two Gaussians fitted to features (Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule")."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Mean [D] and covariance [D, D] of features, in float64."""

    mean: Tensor
    covariance: Tensor


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
    factor = _factor(a.covariance)
    eigenvalues = torch.linalg.eigvalsh(factor.T @ b.covariance @ factor)
    root_trace = eigenvalues.clamp(min=0).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * root_trace
    return max(0.0, float(distance))


def _factor(covariance: Tensor) -> Tensor:
    """F with F F' = ``covariance``: Cholesky's, or by eigenvectors where a feature is constant or N <= D."""
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if not failed:
        return factor
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    return vectors * eigenvalues.clamp(min=0).sqrt()
