"""Convolutional residual blocks and the pyramid of sizes that encoders and decoders of images share."""

import math
from dataclasses import dataclass
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


@dataclass(frozen=True)
class Pyramid:
    """The shape of an encoder or decoder: image side, channels and blocks at each of its halved sizes."""

    image_size: int
    width: int
    """Channels at full resolution; doubled at each halving."""
    max_width: int
    blocks: int
    """Residual blocks per size."""
    dropout: float = 0.0

    @property
    def sizes(self) -> tuple[int, ...]:
        return halved_sizes(self.image_size)

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(min(self.width * 2**level, self.max_width) for level in range(len(self.sizes)))

    def blocks_at(self, level: int) -> list[nn.Module]:
        return [ResBlock(self.widths[level], self.dropout) for _ in range(self.blocks)]


def halved_sizes(image_size: int, smallest: int = 4) -> tuple[int, ...]:
    """The side lengths from ``image_size`` down to at most ``smallest``, each half of the one before, rounded up."""
    sizes = [image_size]
    while sizes[-1] > smallest:
        sizes.append(math.ceil(sizes[-1] / 2))
    return tuple(sizes)


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with at most 8 groups; the number of groups divides ``channels``."""
    return nn.GroupNorm(math.gcd(8, channels), channels)


class ResBlock(nn.Module):
    """Pre-activation residual block, [N, C, H, W] -> [N, C, H, W]; the identity when it is new (zero-initialised exit).

    He et al. 2016, "Identity Mappings in Deep Residual Networks".
    """

    def __init__(self, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1, self.conv1 = group_norm(channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2, self.conv2 = group_norm(channels), zeroed(nn.Conv2d(channels, channels, 3, padding=1))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return x + h


class Downsample(nn.Module):
    """Halves height and width (rounded up) with a strided convolution."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class Upsample(nn.Module):
    """Grows to ``size`` by nearest neighbour, then a convolution: no checkerboard as transposed convolutions leave."""

    def __init__(self, channels_in: int, channels_out: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, size=(self.size, self.size), mode="nearest"))
        return out


class ConvEncoder(nn.Module):
    """Images [N, C, S, S] in [0, 1] to features [N, features] by residual blocks at each of the halved sizes."""

    def __init__(self, channels: int, pyramid: Pyramid) -> None:
        super().__init__()
        widths = pyramid.widths
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, padding=1)]
        for level in range(len(widths)):
            layers += pyramid.blocks_at(level)
            if level + 1 < len(widths):
                layers.append(Downsample(widths[level], widths[level + 1]))
        self.body = nn.Sequential(*layers, group_norm(widths[-1]), nn.SiLU(), nn.Flatten())
        self.features = widths[-1] * pyramid.sizes[-1] ** 2

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.body(images * 2 - 1)
        return out

    def places(self, images: Tensor) -> Tensor:
        """The same features place by place, [N, P, widths[-1]], row by row of the smallest size."""
        maps: Tensor = self.body[:-1](images * 2 - 1)
        return maps.flatten(2).mT


class ConvDecoder(nn.Module):
    """Vectors [N, D] to maps [N, channels, S, S]: the mirror of `ConvEncoder`; its output is zero when it is new."""

    def __init__(self, latent_dim: int, channels: int, pyramid: Pyramid) -> None:
        super().__init__()
        widths, sizes = pyramid.widths, pyramid.sizes
        self.smallest = (widths[-1], sizes[-1], sizes[-1])
        self.entry = nn.Linear(latent_dim, widths[-1] * sizes[-1] ** 2)
        layers: list[nn.Module] = []
        for level in reversed(range(len(widths))):
            layers += pyramid.blocks_at(level)
            if level > 0:
                layers.append(Upsample(widths[level], widths[level - 1], sizes[level - 1]))
        head = zeroed(nn.Conv2d(widths[0], channels, 3, padding=1))
        self.body = nn.Sequential(*layers, group_norm(widths[0]), nn.SiLU(), head)

    def forward(self, latents: Tensor) -> Tensor:
        out: Tensor = self.body(self.entry(latents).unflatten(1, self.smallest))
        return out


def zeroed(layer: Layer) -> Layer:
    """``layer`` with weight and bias zero, so that its output is."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
