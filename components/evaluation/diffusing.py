"""Pictures of a diffusion at work: images on their way to noise, and draws on their way from it."""

import torch
from torch import Tensor

from components.evaluation.pictures import grid_png
from components.models.capabilities import DataSpec, HeedsLabels, ShowsDiffusion

FRAMES = 11
MOST_ROWS = 10


def diffusion_pictures(model: ShowsDiffusion, images: Tensor, data_spec: DataSpec, *, seed: int) -> dict[str, bytes]:
    """`forward_diffusion` of ``images`` [N, C, S, S] in [0, 1], and `reverse_diffusion` of a draw of each class; time runs to the right."""
    forward = model.forward_strip(images[:MOST_ROWS], frames=FRAMES, seed=seed)
    classes = data_spec.class_names[:MOST_ROWS] if isinstance(model, HeedsLabels) and model.conditional else ()
    labels = torch.arange(len(classes)) if classes else None
    reverse = model.reverse_strip(len(classes) or MOST_ROWS, frames=FRAMES, seed=seed, labels=labels)
    return {
        "forward_diffusion": grid_png(forward.flatten(0, 1), forward.shape[1]),
        "reverse_diffusion": grid_png(reverse.flatten(0, 1), reverse.shape[1], row_captions=classes),
    }
