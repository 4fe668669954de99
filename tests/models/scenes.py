"""A scene and rays through it that a field of a few thousand weights learns in seconds."""

import torch
from torch import Tensor

from components.cameras import Lens, Orbit
from components.models.capabilities import DataSpec, SceneSpec

LENS = Lens(fl_x=12.0, fl_y=12.0, cx=6.0, cy=5.0, width=12, height=10)
SCENE = SceneSpec(
    centre=(0.0, 0.0, 0.0), radius=1.0, near=1.0, far=5.0, background=(1.0, 1.0, 1.0), unbounded=False, lens=LENS,
    orbit=Orbit((0.0, 0.0, 0.0), 3.0, 30.0, (0.0, 0.0, 1.0)),
)  # fmt: skip
VIEWS = DataSpec("views", channels=3, scene=SCENE)
SMALL_NERF = {
    "resolution": 16, "coarsest": 8, "levels": 2, "features": 4, "log2_table": 10, "width": 16, "depth": 2, "position_octaves": 3, "direction_octaves": 1,
    "samples": 16, "fine_samples": 8, "occupancy": 8,
}  # fmt: skip


def rays(num: int) -> dict[str, Tensor]:
    """Rays from all sides through the middle of the scene; those that come near it are red, the others the white of the background."""
    generator = torch.Generator().manual_seed(1)
    origins = torch.nn.functional.normalize(torch.randn(num, 3, generator=generator), dim=1) * 3
    aims = torch.rand(num, 3, generator=generator) * 1.6 - 0.8
    directions = torch.nn.functional.normalize(aims - origins, dim=1)
    missed = torch.linalg.vector_norm(origins - (origins * directions).sum(1, keepdim=True) * directions, dim=1) > 0.4
    return {"origins": origins, "directions": directions, "rgb": torch.where(missed[:, None], 1.0, torch.tensor([0.9, 0.1, 0.1]))}
