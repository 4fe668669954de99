"""How well samples cover the real images, and how many of them look real: counts of neighbours in feature space.

Precision and recall: Kynkaanniemi et al. 2019, "Improved Precision and Recall Metric"; density and coverage: Naeem et al. 2020,
"Reliable Fidelity and Diversity Metrics". A mean or a distance hides a model that draws few kinds of images; recall and coverage do not.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

RECALL_NEIGHBOURS = 3
COVERAGE_NEIGHBOURS = 5
_CHUNK = 1024


@dataclass(frozen=True)
class Manifold:
    """Shares in [0, 1], except density, which may exceed 1."""

    precision: float
    """Share of the samples that lie among real images."""
    recall: float
    """Share of the real images that lie among samples."""
    density: float
    """How many real images' neighbourhoods a sample lies in, over how many it would be for real ones."""
    coverage: float
    """Share of the real images that have a sample in their neighbourhood."""


def compare_manifolds(real: Tensor, fake: Tensor) -> Manifold:
    """Both [N, D]; a neighbourhood reaches to the 3rd (precision, recall) or 5th (density, coverage) nearest of the same kind."""
    assert min(len(real), len(fake)) > COVERAGE_NEIGHBOURS, "too few images for neighbourhoods"
    real_3, real_5 = _radii(real)
    fake_3, _ = _radii(fake)
    precise = torch.zeros(len(fake), dtype=torch.bool)
    inside = torch.zeros(len(fake))
    recalled, covered = torch.zeros(len(real), dtype=torch.bool), torch.zeros(len(real), dtype=torch.bool)
    for start in range(0, len(real), _CHUNK):
        rows = slice(start, start + _CHUNK)
        distance = torch.cdist(real[rows], fake)
        precise |= (distance <= real_3[rows, None]).any(0)
        recalled[rows] = (distance <= fake_3).any(1)
        within = distance <= real_5[rows, None]
        inside += within.sum(0)
        covered[rows] = within.any(1)
    return Manifold(
        precision=float(precise.float().mean()),
        recall=float(recalled.float().mean()),
        density=float(inside.mean()) / COVERAGE_NEIGHBOURS,
        coverage=float(covered.float().mean()),
    )


def _radii(points: Tensor) -> tuple[Tensor, Tensor]:
    """Each point's distance to its 3rd and its 5th nearest other point, both [N]."""
    nearest = torch.cat([torch.cdist(chunk, points).topk(COVERAGE_NEIGHBOURS + 1, largest=False).values for chunk in points.split(_CHUNK)])
    return nearest[:, RECALL_NEIGHBOURS], nearest[:, COVERAGE_NEIGHBOURS]  # the nearest of all is the point itself
