"""Folding: blocks of pixels laid into channels, so that a small network sees a large image at a bearable cost.

Shi et al. 2016, "Real-Time Single Image and Video Super-Resolution" (sub-pixel convolution) unfold so at the end of a network.
"""

import math

import torch.nn.functional as F
from torch import Tensor


def fold_factor(side: int, working_side: int) -> int:
    """The power of two by which images of ``side`` pixels are folded to come to at most ``working_side``."""
    return int(2 ** max(0, math.ceil(math.log2(side / working_side))))


def folded(images: Tensor, factor: int, multiple: int = 1) -> Tensor:
    """[N, C, S, S] to [N, C * factor^2, R, R]; the border is repeated until R is S / factor rounded up to a ``multiple``."""
    missing = -images.shape[-1] % (factor * multiple)
    padded = F.pad(images, (0, missing, 0, missing), mode="replicate") if missing else images
    return F.pixel_unshuffle(padded, factor)


def unfolded(maps: Tensor, factor: int, side: int) -> Tensor:
    """[N, C * factor^2, R, R] back to [N, C, side, side]; what `folded` added is cut off."""
    return F.pixel_shuffle(maps, factor)[:, :, :side, :side]
