"""The settings of the radiance field."""

from typing import Literal

from pydantic import Field, model_validator

from components.models.family import Family, ViewsTrainingConfig


class NerfConfig(ViewsTrainingConfig):
    """Defaults are size `tiny`: a scene of 80x80 photos within a minute on two CPU cores."""

    max_steps: int = 1000
    batch_size: int = 1024
    """Rays per step, drawn from all training photos."""
    learning_rate: float = 5e-3
    """Of the networks."""
    warmup_steps: int = 30
    gradient_clip: float = 0.0
    ema_decay: float = 0.95
    sample_every: int = 500
    validate_every: int = 500
    checkpoint_every: int = 500

    field: Literal["planes", "hash", "mlp"] = "planes"
    """`planes`: feature planes and a small network (K-Planes, tri-planes). `hash`: a multi-resolution hash grid (instant-ngp).
    `mlp`: the classic network on encoded positions, coarse and fine (Mildenhall et al. 2020)."""
    grid_learning_rate: float = Field(7e-2, gt=0)
    """Of the planes or the hash table."""
    cooldown: float = Field(0.02, ge=0, le=1)
    """Share of the learning rate that the cosine ends at."""

    resolution: int = Field(128, ge=4)
    """Cells across the scene at the finest level of the planes or the hash grid."""
    coarsest: int = Field(32, ge=2)
    """Cells across the scene at the coarsest level."""
    levels: int = Field(3, ge=1)
    """Resolutions between the two, in equal ratios."""
    features: int = Field(8, ge=1)
    """Values per cell and level."""
    log2_table: int = Field(19, ge=4, le=24)
    """Logarithm of the hash table's length per level; levels with fewer cells than that do not collide."""
    tv_weight: float = Field(5e-4, ge=0)
    """Weight of the total variation of the planes (the mean squared difference of neighbouring cells)."""

    width: int = Field(64, ge=8)
    """Width of the network behind planes and hash grid; of the classic network it is this too (256 in the paper)."""
    depth: int = Field(1, ge=1)
    """Hidden layers of the density and the colour network behind planes and hash grid; of the classic network layers in all (8 in the paper)."""
    position_octaves: int = Field(10, ge=0)
    """Octaves of the classic network's encoding of positions."""
    direction_octaves: int = Field(4, ge=0)
    """Octaves of the classic network's encoding of directions."""

    samples: int = Field(64, ge=2)
    """Places along a ray that may be looked at; behind the occupancy grid most of them are skipped. The coarse ones of the classic network."""
    fine_samples: int = Field(128, ge=1)
    """Places along a ray that the classic network looks at besides, drawn where the coarse one found matter."""
    points_per_step: int = Field(12_000, ge=100)
    """Places looked at per step, at most: while little is known to be empty, a step takes fewer rays."""
    occupancy: int = Field(64, ge=4)
    """Cells across the scene of the grid that knows where there is matter."""
    occupancy_every: int = Field(16, ge=1)
    """Steps between two looks at that grid."""
    occupancy_from: int = Field(32, ge=0)
    """The step from which the grid counts."""

    @model_validator(mode="after")
    def _levels_grow(self) -> "NerfConfig":
        if self.coarsest > self.resolution:
            raise ValueError(f"coarsest is {self.coarsest} and resolution {self.resolution}: the finest level cannot have fewer cells than the coarsest")
        return self


FAMILY = Family(
    config=NerfConfig,
    model="components.models.nerf.model:Nerf",
    modality=("views",),
    starter=True,
    cost_per_step=2.0,
    primary="psnr",
    goal="max",
    guards=("ssim",),
    gates={"psnr": {"min": 18}, "ssim": {"min": 0.5}},
    sizes={
        "small": {
            "max_steps": 10_000,
            "batch_size": 4096,
            "warmup_steps": 200,
            "ema_decay": 0.995,
            "resolution": 256,
            "levels": 4,
            "features": 16,
            "width": 96,
            "samples": 256,
            "points_per_step": 100_000,
            "occupancy": 96,
            "sample_every": 1000,
            "validate_every": 1000,
            "checkpoint_every": 1000,
        },
        "base": {
            "max_steps": 30_000,
            "batch_size": 8192,
            "warmup_steps": 500,
            "ema_decay": 0.999,
            "field": "hash",
            "grid_learning_rate": 1e-2,
            "coarsest": 16,
            "resolution": 2048,
            "levels": 16,
            "features": 2,
            "tv_weight": 0.0,
            "samples": 512,
            "points_per_step": 1_000_000,
            "occupancy": 128,
            "sample_every": 2500,
            "validate_every": 2500,
            "checkpoint_every": 2500,
        },
    },
    search_space={
        "learning_rate": {"low": 1e-3, "high": 3e-2, "log": True},
        "grid_learning_rate": {"low": 5e-3, "high": 1e-1, "log": True},
        "tv_weight": {"low": 1e-4, "high": 1e-1, "log": True},
        "features": {"choices": [4, 8, 16]},
        "resolution": {"choices": [96, 128, 192]},
    },
    loss_settings=("background",),
    summary="renders one scene from any side, learnt from posed photos",
    intended_use="New views, depth and orbits of the one scene that its photos show, from places like those where they were taken.",
    limits="It knows one scene, as it stood still and was lit. Sides that no photo shows are made up, and poses that are a little wrong blur it.",
)
