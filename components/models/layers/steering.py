"""Steering images by a model of images and texts while they are drawn (CLIP guidance: Nichol et al. 2022, "GLIDE", section 2.4).

The model has seen finished images alone, so it looks at the image that is predicted at each step, not at the noisy one.
"""

import torch
from torch import Tensor

from components.models.capabilities import MatchesImagesAndText, Steer

REACH = 0.1
"""How far a scale of 1 moves a pixel (root mean square) of the first predicted image; less and less towards the end."""


def steer_towards(judge: MatchesImagesAndText, tokens: Tensor, scale: float) -> Steer:
    """Moves images so that ``judge`` finds them more like the text ``tokens`` [1, T], a row of its own vocabulary."""
    # Sampling may run in inference mode, whose tensors know no gradients.
    with torch.inference_mode(False), torch.no_grad():
        text = judge.embed_captions(tokens.clone())[0]

    def steer(images: Tensor, time: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            seen = images.clone().requires_grad_()
            (slope,) = torch.autograd.grad((judge.embed_images(seen.clamp(0, 1)) @ text).sum(), seen)
        size = slope.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
        return scale * REACH * time * slope / size

    return steer
