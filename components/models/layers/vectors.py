"""Vectors of words compared by their cosine."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize


def combine(vectors: Tensor, plus: Sequence[int], minus: Sequence[int]) -> Tensor:
    """The sum of the unit vectors of ``plus`` less those of ``minus``, [D], from ``vectors`` [V, D].

    Mikolov et al. 2013, "Linguistic Regularities in Continuous Space Word Representations", section 4.
    """
    units = normalize(vectors.float(), dim=-1)
    return units[list(plus)].sum(0) - units[list(minus)].sum(0)


def nearest(vectors: Tensor, query: Tensor, num: int, left_out: Sequence[int] = ()) -> list[tuple[int, float]]:
    """The ``num`` entries of ``vectors`` [V, D] whose cosine with ``query`` [D] is highest, and that cosine."""
    cosines = normalize(vectors.float(), dim=-1) @ normalize(query.float(), dim=-1)
    cosines[list(left_out)] = -torch.inf
    best = cosines.sort(descending=True, stable=True)
    found = zip(best.indices[:num].tolist(), best.values[:num].tolist(), strict=True)
    return [(index, cosine) for index, cosine in found if cosine > -torch.inf]
