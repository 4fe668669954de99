"""The Gaussian paths from an image to noise, and what the network learns on them.

On every path x(t) = alpha(t) image + sigma(t) noise, from the image at t = 0 to noise at t = 1. A path turns what the network says
into the image and the noise that it means, so that every sampler works on every path.
"""

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Parts(NamedTuple):
    """What a noisy image is made of, as far as the network can tell; both of its shape."""

    image: Tensor
    noise: Tensor


class Path(Protocol):
    latest: float
    """Time that sampling starts from."""

    def alpha(self, t: Tensor) -> Tensor: ...

    def sigma(self, t: Tensor) -> Tensor: ...

    def alpha_slope(self, t: Tensor) -> Tensor: ...

    def sigma_slope(self, t: Tensor) -> Tensor: ...

    def draw_times(self, num: int, device: torch.device) -> Tensor:
        """Training times [num] from the global random state."""
        ...

    def target(self, image: Tensor, noise: Tensor) -> Tensor:
        """What the network should say."""
        ...

    def weight(self, t: Tensor) -> Tensor:
        """Of the squared error at time ``t``."""
        ...

    def parts(self, x: Tensor, said: Tensor, t: Tensor) -> Parts: ...


class Flow:
    """Straight lines, and the loss is the error of their velocity (Lipman et al. 2023; times as in Esser et al. 2024, section 3.1).

    The network says the velocity, or the image that it follows from: an image lies on a thin sheet of all that pixels can be, and a
    network with few channels per block of pixels cannot carry all the noise through (Li and He 2025, "Back to Basics").
    """

    latest = 1.0
    earliest = 0.05
    """Below this time the error of the velocity that an image means is not weighed up further."""

    def __init__(self, time_mean: float, time_spread: float, *, says_image: bool) -> None:
        self.time_mean, self.time_spread, self.says_image = time_mean, time_spread, says_image

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def alpha_slope(self, t: Tensor) -> Tensor:
        return -torch.ones_like(t)

    def sigma_slope(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def draw_times(self, num: int, device: torch.device) -> Tensor:
        return torch.sigmoid(self.time_mean + self.time_spread * torch.randn(num, device=device))

    def target(self, image: Tensor, noise: Tensor) -> Tensor:
        return image if self.says_image else noise - image

    def weight(self, t: Tensor) -> Tensor:
        return 1 / t.clamp(min=self.earliest).square() if self.says_image else torch.ones_like(t)

    def parts(self, x: Tensor, said: Tensor, t: Tensor) -> Parts:
        if self.says_image:
            return Parts(said, (x - (1 - t) * said) / t.clamp(min=self.earliest))
        return Parts(x - t * said, x + (1 - t) * said)


class Cosine:
    """The variance-preserving cosine schedule, and the network learns the noise (Ho et al. 2020; Nichol and Dhariwal 2021, section 3.2)."""

    latest = 0.995
    """At 1 nothing of the image is left, and an image cannot be told from the noise."""

    def alpha(self, t: Tensor) -> Tensor:
        return torch.cos(t * math.pi / 2)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(t * math.pi / 2)

    def alpha_slope(self, t: Tensor) -> Tensor:
        return -math.pi / 2 * torch.sin(t * math.pi / 2)

    def sigma_slope(self, t: Tensor) -> Tensor:
        return math.pi / 2 * torch.cos(t * math.pi / 2)

    def draw_times(self, num: int, device: torch.device) -> Tensor:
        return torch.rand(num, device=device) * self.latest

    def target(self, image: Tensor, noise: Tensor) -> Tensor:
        return noise

    def weight(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def parts(self, x: Tensor, said: Tensor, t: Tensor) -> Parts:
        return Parts((x - self.sigma(t) * said) / self.alpha(t), said)
