"""Images of three classes that a network of a few thousand weights learns in seconds."""

import torch
from torch import Tensor

from components.models.capabilities import DataSpec

GREY = DataSpec("image", channels=1, image_size=8, class_names=("a", "b", "c"))


def stripes(num: int, data: DataSpec = GREY) -> tuple[Tensor, Tensor]:
    """Images with a bright stripe where their class has it, and a little noise, at 17 levels; their labels."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(num) % 3
    images = torch.rand(num, data.channels, data.image_size, data.image_size, generator=generator) * 0.2
    for index, label in enumerate(labels):
        images[index, :, :, int(label) * 2 : int(label) * 2 + 2] += 0.8
    return (images * 16).round() / 16, labels


def class_seen(images: Tensor) -> Tensor:
    """The class whose stripe is brightest, [N]."""
    return images.mean((1, 2)).unflatten(1, (4, 2)).mean(2).argmax(1)
