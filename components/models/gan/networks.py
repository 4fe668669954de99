"""Generator and discriminator: residual networks without normalisation, which would tie the images of a batch together."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.models.layers.conv import Pyramid, zeroed
from components.models.layers.folding import folded, unfolded

SLOPE = 0.2
"""Of the leaky rectifier below zero."""
REACH = 1.25
"""Largest value that a generator can give, where images end at 1."""


@dataclass(frozen=True)
class ImageForm:
    """What images look like, and how they are folded for the networks."""

    channels: int
    side: int
    factor: int
    """Blocks of this many pixels a side are one place of the networks' maps."""
    stem_width: int
    """Channels of the maps of whole pixels, before folding and after unfolding."""

    @property
    def folded_side(self) -> int:
        return math.ceil(self.side / self.factor)


class Generator(nn.Module):
    """Noise [N, latent_dim] and labels [N] (None without classes) to images [N, C, S, S] in [-1, 1]."""

    def __init__(self, latent_dim: int, num_classes: int, form: ImageForm, pyramid: Pyramid) -> None:
        super().__init__()
        self.form = form
        widths, sizes = pyramid.widths, pyramid.sizes
        self.classes = nn.Embedding(num_classes, latent_dim) if num_classes else None
        self.smallest = (widths[-1], sizes[-1], sizes[-1])
        self.entry = nn.Linear(latent_dim * (2 if num_classes else 1), widths[-1] * sizes[-1] ** 2)
        layers: list[nn.Module] = []
        for level in reversed(range(len(widths))):
            layers += [PlainBlock(widths[level]) for _ in range(pyramid.blocks)]
            if level > 0:
                layers += [nn.Upsample(size=(sizes[level - 1],) * 2, mode="bilinear"), nn.Conv2d(widths[level], widths[level - 1], 1)]
        self.body = nn.Sequential(*layers, nn.LeakyReLU(SLOPE), nn.Conv2d(widths[0], form.stem_width * form.factor**2, 3, padding=1))
        # This last convolution sees whole pixels: blocks that were each drawn by channels of their own would show their borders.
        self.exit = nn.Sequential(nn.LeakyReLU(SLOPE), nn.Conv2d(form.stem_width, form.channels, 3, padding=1), Within())

    def forward(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        if self.classes is not None:
            assert labels is not None, "a conditional generator needs labels"
            noise = torch.cat([noise, self.classes(labels)], dim=1)
        maps: Tensor = self.body(self.entry(noise).unflatten(1, self.smallest))
        images: Tensor = self.exit(unfolded(maps, self.form.factor, self.form.side))
        return images


class Within(nn.Module):
    """Bends values softly into [-REACH, REACH]: a tanh that ends at the darkest grey could not be moved from a black background again."""

    def forward(self, x: Tensor) -> Tensor:
        return REACH * torch.tanh(x / REACH)


class Discriminator(nn.Module):
    """Images [N, C, S, S] in [-1, 1] and labels to scores [N]: how real, and how much of its class; zero when it is new.

    Labels by projection: Miyato and Koyama 2018, "cGANs with Projection Discriminator".
    """

    def __init__(self, num_classes: int, form: ImageForm, pyramid: Pyramid) -> None:
        super().__init__()
        self.factor = form.factor
        widths, sizes = pyramid.widths, pyramid.sizes
        self.entry = nn.Sequential(nn.Conv2d(form.channels, form.stem_width, 3, padding=1), nn.LeakyReLU(SLOPE))
        layers: list[nn.Module] = [nn.Conv2d(form.stem_width * form.factor**2, widths[0], 3, padding=1)]
        for level in range(len(widths)):
            layers += [PlainBlock(widths[level]) for _ in range(pyramid.blocks)]
            if level + 1 < len(widths):
                layers += [nn.Conv2d(widths[level], widths[level + 1], 1), nn.AdaptiveAvgPool2d(sizes[level + 1])]
        self.body = nn.Sequential(*layers, nn.LeakyReLU(SLOPE), nn.Flatten())
        self.to_features = nn.Linear(widths[-1] * sizes[-1] ** 2, widths[-1])
        self.head = zeroed(nn.Linear(widths[-1], 1))
        self.classes = nn.Embedding(num_classes, widths[-1]) if num_classes else None
        if self.classes is not None:
            nn.init.zeros_(self.classes.weight)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        features = F.leaky_relu(self.to_features(self.body(folded(self.entry(images), self.factor))), SLOPE)
        scores: Tensor = self.head(features).squeeze(1)
        if self.classes is not None:
            assert labels is not None, "a conditional discriminator needs labels"
            scores = scores + (features * self.classes(labels)).sum(1)
        return scores


class PlainBlock(nn.Module):
    """Residual block without normalisation, [N, C, H, W] -> the same; the identity when it is new."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = zeroed(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(F.leaky_relu(self.conv1(F.leaky_relu(x, SLOPE)), SLOPE))
        return x + out
