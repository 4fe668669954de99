"""How well samples cover the real images, and how many of them look real: counts of neighbours in feature space.

Precision and recall: Kynkaanniemi et al. 2019, "Improved Precision and Recall Metric"; density and coverage: Naeem et al. 2020,
"Reliable Fidelity and Diversity Metrics". A mean or a distance hides a model that draws few kinds of images; recall and coverage do not.
Distances are made in tiles, so that memory grows with N and not with its square.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

RECALL_NEIGHBOURS = 3
COVERAGE_NEIGHBOURS = 5
TILE = 2048
"""Rows, and columns, of the distances that are held at once (16 MiB)."""


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


@dataclass(frozen=True)
class Neighbourhoods:
    """Real images with how far the neighbourhood of each reaches; measured once for all draws."""

    points: Tensor
    """Features [N, D], about ``centre``: products of small numbers lose least."""
    centre: Tensor
    radii_3: Tensor
    """Squared distance of each to its 3rd nearest other one, [N]."""
    radii_5: Tensor
    """The same to its 5th."""


def neighbourhoods(features: Tensor, centre: Tensor | None = None, tile: int = TILE) -> Neighbourhoods:
    """Those of ``features`` [N, D]; ``centre`` [D] is their mean where it is not given."""
    assert len(features) > COVERAGE_NEIGHBOURS, "too few images for neighbourhoods"
    at = features.mean(0) if centre is None else centre
    points = features.float() - at
    nearest = torch.cat([_nearest_others(points, start, tile) for start in range(0, len(points), tile)])
    return Neighbourhoods(points, at, nearest[:, RECALL_NEIGHBOURS - 1], nearest[:, COVERAGE_NEIGHBOURS - 1])


def compare_manifolds(real: Tensor | Neighbourhoods, fake: Tensor, tile: int = TILE) -> Manifold:
    """Both [N, D]; a neighbourhood reaches to the 3rd (precision, recall) or 5th (density, coverage) nearest of the same kind."""
    known = neighbourhoods(real, tile=tile) if isinstance(real, Tensor) else real
    drawn = neighbourhoods(fake, known.centre, tile)
    precise, inside = torch.zeros(len(drawn.points), dtype=torch.bool), torch.zeros(len(drawn.points), dtype=torch.long)
    recalled, covered = torch.zeros(len(known.points), dtype=torch.bool), torch.zeros(len(known.points), dtype=torch.bool)
    for rows, columns, distance in _tiles(known.points, drawn.points, tile):
        precise[columns] |= (distance <= known.radii_3[rows, None]).any(0)
        recalled[rows] |= (distance <= drawn.radii_3[columns]).any(1)
        within = distance <= known.radii_5[rows, None]
        inside[columns] += within.sum(0)
        covered[rows] |= within.any(1)
    return Manifold(
        precision=float(precise.double().mean()),
        recall=float(recalled.double().mean()),
        density=float(inside.double().mean()) / COVERAGE_NEIGHBOURS,
        coverage=float(covered.double().mean()),
    )


def _tiles(a: Tensor, b: Tensor, tile: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Squared distances between ``a`` and ``b``, a rectangle at a time, with its rows and columns."""
    for row in range(0, len(a), tile):
        for column in range(0, len(b), tile):
            rows, columns = slice(row, row + tile), slice(column, column + tile)
            yield rows, columns, squared_distances(a[rows], b[columns])


def _nearest_others(points: Tensor, start: int, tile: int) -> Tensor:
    """Squared distances [n, 5] of the rows from ``start`` on to their nearest other points, ascending."""
    rows = points[start : start + tile]
    nearest = torch.full((len(rows), COVERAGE_NEIGHBOURS), torch.inf)
    for column in range(0, len(points), tile):
        distance = squared_distances(rows, points[column : column + tile])
        if column == start:
            distance.fill_diagonal_(torch.inf)  # itself
        nearest = torch.cat([nearest, distance], dim=1).topk(COVERAGE_NEIGHBOURS, largest=False).values
    return nearest


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """[N, M] between rows of ``a`` [N, D] and ``b`` [M, D], by one matrix product."""
    lengths = a.square().sum(1, keepdim=True) + b.square().sum(1)
    return torch.addmm(lengths, a, b.T, alpha=-2).clamp_(min=0)
