"""Points cut into regions by k-means."""

import torch
from torch import Tensor

MOST_FITTED = 5_000
"""Points that the centres are fitted to, at most."""


def cells_of(points: Tensor, num: int) -> Tensor:
    """The centres [K, D] of ``num`` regions of ``points`` [N, D], the same every time; fewer where fewer points differ."""
    from sklearn.cluster import KMeans

    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:MOST_FITTED]
    chosen = points[order].float()
    different = len(chosen.unique(dim=0))
    found = KMeans(min(num, different), n_init=1, max_iter=50, random_state=0).fit(chosen.numpy())
    return torch.from_numpy(found.cluster_centers_).float()
