"""Differentiable augmentation: what the discriminator sees, real or drawn, is altered first (Zhao et al. 2020, "DiffAugment").

With little data the discriminator would otherwise learn the training images by heart. The gradient passes through to the generator.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def augmented(images: Tensor, kinds: Sequence[str], *, shift: float, cutout: float) -> Tensor:
    """``images`` [N, C, S, S] in [-1, 1], each altered at random from the global random state."""
    for kind in kinds:
        if kind == "colour":
            images = _recoloured(images)
        elif kind == "shift":
            images = _shifted(images, round(shift * images.shape[-1]))
        else:
            images = _cut(images, round(cutout * images.shape[-1]))
    return images


def _recoloured(images: Tensor) -> Tensor:
    """Another brightness, saturation and contrast; -1 stays the colour of a dark background."""
    images = (images + 1) * (1 + 0.4 * (_uniform(images) - 0.5)) - 1
    if images.shape[1] > 1:
        grey = images.mean(1, keepdim=True)
        images = grey + (images - grey) * (2 * _uniform(images))
    return images


def _shifted(images: Tensor, most: int) -> Tensor:
    """Moved by up to ``most`` pixels each way; what comes in repeats the border."""
    num, side = len(images), images.shape[-1]
    moves = torch.randint(-most, most + 1, (2, num, 1), device=images.device)
    rows, columns = (torch.arange(side, device=images.device) + move for move in moves)
    padded = F.pad(images, (most,) * 4, mode="replicate") if most else images
    along = torch.arange(num, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[along, (rows + most)[:, :, None], (columns + most)[:, None, :]].permute(0, 3, 1, 2)


def _cut(images: Tensor, side: int) -> Tensor:
    """A square of ``side`` pixels somewhere set to the middle of the range."""
    size = images.shape[-1]
    corner = torch.randint(1 - side, size, (2, len(images), 1), device=images.device)
    inside = [(torch.arange(size, device=images.device) >= c) & (torch.arange(size, device=images.device) < c + side) for c in corner]
    return images * ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])


def _uniform(images: Tensor) -> Tensor:
    return torch.rand(len(images), 1, 1, 1, device=images.device)
