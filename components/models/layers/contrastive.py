"""What models share that learn images and captions by telling partners from strangers."""

import torch.nn.functional as F
from torch import Tensor

LARGEST_SCALE = 100.0
"""Of the similarities (Radford et al. 2021, section 2.5)."""


def clamped_scale(log_scale: Tensor) -> Tensor:
    """What similarities are multiplied by before they are compared."""
    return log_scale.exp().clamp(max=LARGEST_SCALE)


def same_rows(tokens: Tensor) -> Tensor:
    """Which of the rows of tokens [N, T] read the same, bool [N, N]: such captions fit each other's images as well."""
    return (tokens[:, None] == tokens[None]).all(dim=2)


def partners_alike(same: Tensor) -> Tensor:
    """What is wanted of each row [N, N]: all of its partners, one as likely as the other."""
    return same.float() / same.sum(dim=1, keepdim=True)


def contrastive_loss(logits: Tensor, captions: Tensor, images: Tensor) -> Tensor:
    """InfoNCE both ways of ``logits`` [N, N] (images by captions): the caption that each image should find, and the image that each caption should."""
    return (F.cross_entropy(logits, captions) + F.cross_entropy(logits.T, images)) / 2
