"""Volume rendering: where rays cross the scene, samples along them, and their colours weighed into one.

Max 1995, "Optical Models for Direct Volume Rendering"; Mildenhall et al. 2020, "NeRF", sections 4 and 5.2; the contraction of unbounded scenes is that of
Barron et al. 2022, "Mip-NeRF 360", section 3. Distances and positions are in units of the scene's radius, with its centre at the origin.
"""

import torch
from torch import Tensor

INSIDE = 0.5
"""Share of the samples that an unbounded scene has within its cube's reach; the others are spread over the rest in equal steps of 1 / distance."""


def crossing(origins: Tensor, directions: Tensor, near: float) -> tuple[Tensor, Tensor]:
    """Distances [N] at which rays enter (at least ``near``) and leave the cube [-1, 1]^3; both are the same where they miss it."""
    inverse = 1 / torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    one, two = (-1 - origins) * inverse, (1 - origins) * inverse
    enter = torch.minimum(one, two).amax(1).clamp(min=near)
    return enter, torch.maximum(torch.maximum(one, two).amin(1), enter)


def spread(shares: Tensor, enter: Tensor, leave: Tensor, far: float | None) -> Tensor:
    """Shares [N, S] in [0, 1] of the way along rays as distances [N, S].

    Bounded: even steps from ``enter`` [N] to ``leave`` [N]. Unbounded (``far`` given): even steps up to ``leave``, then even steps of 1 / distance.
    """
    enter, leave = enter[:, None], leave[:, None]
    if far is None:
        return enter + shares * (leave - enter)
    inner = enter + (shares / INSIDE) * (leave - enter)
    outer = 1 / (1 / leave + ((shares - INSIDE) / (1 - INSIDE)).clamp(min=0) * (1 / far - 1 / leave))
    return torch.where(shares < INSIDE, inner, outer)


def contracted(points: Tensor) -> Tensor:
    """All of space [..., 3] brought into the cube [-1, 1]^3: the unit cube fills its inner half, what is farther out the rest."""
    size = points.abs().amax(-1, keepdim=True).clamp(min=1e-9)
    return torch.where(size > 1, (2 - 1 / size) * points / size, points) / 2


def edges(num_rays: int, num: int, like: Tensor) -> Tensor:
    """Shares [N, num + 1] of the ends of ``num`` even steps."""
    return torch.linspace(0, 1, num + 1, device=like.device, dtype=like.dtype).expand(num_rays, -1)


def within(bounds: Tensor, *, jitter: bool) -> Tensor:
    """A place [N, S] in each step of ``bounds`` [N, S + 1]: its middle, or with ``jitter`` anywhere in it (stratified sampling)."""
    lower, upper = bounds[:, :-1], bounds[:, 1:]
    share = torch.rand_like(lower) if jitter else 0.5
    return lower + share * (upper - lower)


def weights_of(density: Tensor, lengths: Tensor) -> Tensor:
    """The share [N, S] that each step has in its ray's colour, from densities [N, S] and the steps' lengths [N, S]; they add up to at most 1."""
    thickness = density * lengths
    before = torch.cumsum(thickness, dim=1) - thickness
    return torch.exp(-before) * -torch.expm1(-thickness)


def resampled(bounds: Tensor, weights: Tensor, num: int, *, jitter: bool) -> Tensor:
    """``num`` sorted places [N, num] drawn from the histogram of ``weights`` [N, S] over the steps ``bounds`` [N, S + 1]."""
    histogram = weights + 1e-5
    reached = torch.cumsum(histogram / histogram.sum(1, keepdim=True), dim=1)
    reached = torch.cat([torch.zeros_like(reached[:, :1]), reached], dim=1)
    wanted = within(edges(len(weights), num, weights), jitter=jitter).contiguous()
    above = torch.searchsorted(reached, wanted, right=True).clamp(1, weights.shape[1])
    low, high = reached.gather(1, above - 1), reached.gather(1, above)
    start, end = bounds.gather(1, above - 1), bounds.gather(1, above)
    return start + ((wanted - low) / (high - low).clamp(min=1e-9)).clamp(0, 1) * (end - start)
