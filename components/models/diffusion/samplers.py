"""From noise to image in steps; each method works on every path."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from components.models.diffusion.paths import Parts, Path

Denoise = Callable[[Tensor, Tensor], Parts]
"""The parts of ``x`` [N, ...] at time ``t`` (a scalar tensor), as the network sees them."""
SAMPLERS = ("euler", "heun", "ddim", "ddpm")


def integrate(
    denoise: Denoise, path: Path, x: Tensor, *, start: float, steps: int, method: str, generator: torch.Generator, see: Callable[[Tensor], None] | None = None
) -> Tensor:
    """``x`` [N, ...] at time ``start`` brought to time 0 in ``steps`` even steps; ``see`` gets every state on the way.

    `euler` and `heun` solve the probability-flow equation (Karras et al. 2022, algorithm 1); `ddim` and, with fresh noise, `ddpm` go
    by the predicted image (Song et al. 2021, equation 12).
    """
    times = torch.linspace(start, 0.0, steps + 1, dtype=torch.float64).to(x)
    for now, later in itertools.pairwise(times):
        if method in ("euler", "heun"):
            x = _solve(denoise, path, x, now, later, second_order=method == "heun")
        else:
            x = _by_parts(denoise(x, now), path, now, later, generator if method == "ddpm" else None)
        if see is not None:
            see(x)
    return x


def _solve(denoise: Denoise, path: Path, x: Tensor, now: Tensor, later: Tensor, *, second_order: bool) -> Tensor:
    slope = _slope(denoise, path, x, now)
    there = x + (later - now) * slope
    if not second_order or later == 0:
        return there
    return x + (later - now) * (slope + _slope(denoise, path, there, later)) / 2


def _slope(denoise: Denoise, path: Path, x: Tensor, t: Tensor) -> Tensor:
    parts = denoise(x, t)
    return path.alpha_slope(t) * parts.image + path.sigma_slope(t) * parts.noise


def _by_parts(parts: Parts, path: Path, now: Tensor, later: Tensor, generator: torch.Generator | None) -> Tensor:
    alpha, sigma = path.alpha(later), path.sigma(later)
    if generator is None or later == 0:
        return alpha * parts.image + sigma * parts.noise
    # The variance of x(later) given x(now) and the image: what is left of sigma(later) stays in the direction of the old noise.
    kept = (path.alpha(now) * sigma) / (alpha * path.sigma(now))
    fresh = sigma * (1 - kept.square()).clamp(min=0).sqrt()
    new = torch.randn(parts.image.shape, generator=generator).to(parts.image)
    return alpha * parts.image + (sigma.square() - fresh.square()).clamp(min=0).sqrt() * parts.noise + fresh * new
