"""The settings of the generative adversarial network."""

from typing import Literal

from pydantic import Field

from components.models.family import Family, WatchedTrainingConfig


class GanConfig(WatchedTrainingConfig):
    """Defaults are size `tiny`: 8x8 digits within a minute on two CPU cores."""

    max_steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup_steps: int = 20
    gradient_clip: float = 0.0
    ema_decay: float = 0.995
    sample_every: int = 250
    validate_every: int = 250
    checkpoint_every: int = 250
    watch_every: int = 250

    discriminator_rate: float = Field(1.0, gt=0)
    """Learning rate of the discriminator as a multiple of `learning_rate`, which is the generator's."""
    conditional: bool = True
    """Whether samples are drawn by class where the dataset has labels."""
    latent_dim: int = Field(64, ge=1)
    """Length of the noise vector that an image is made from."""
    working_side: int = Field(8, ge=4)
    """Larger images are folded, blocks of pixels into channels, to at most this many pixels a side: both networks work on that."""
    stem_width: int = Field(8, ge=1)
    """Channels of the one layer in each network that sees whole pixels, before folding and after unfolding."""
    width: int = Field(32, ge=8)
    """Channels at full resolution; doubled at each halving."""
    max_width: int = Field(128, ge=8)
    """Channels are never more than this."""
    blocks: int = Field(1, ge=1)
    """Residual blocks per resolution, in the generator and again in the discriminator."""

    penalty: float = Field(5.0, ge=0)
    """Weight of the zero-centred gradient penalties R1 (on real images) and R2 (on drawn ones) when training begins, for images of 64
    values; it grows with the number of values, over which the same slope is spread."""
    final_penalty: float = Field(1.0, ge=0)
    """That weight at the end; it falls geometrically. Large ones keep the game steady, small ones give the detail."""
    augment: tuple[Literal["shift", "cutout", "colour"], ...] = ("shift",)
    """What is done, differentiably and in the same way, to real and drawn images before the discriminator sees them."""
    shift: float = Field(0.125, ge=0, le=1)
    """Largest shift in each direction, as a share of the side."""
    cutout: float = Field(0.3, ge=0, le=1)
    """Side of the square that is cut out, as a share of the image's."""


FAMILY = Family(
    config=GanConfig,
    model="components.models.gan.model:Gan",
    modality=("image", "image-text"),
    batches="image",
    cost_per_step=2.5,
    primary="fid_own",
    goal="min",
    guards=("recall_own", "coverage_own", "neighbour_ratio"),
    gates={"fid_own": {"max": 100}, "recall_own": {"min": 0.1}},
    sizes={
        "small": {
            "max_steps": 20_000,
            "batch_size": 128,
            "learning_rate": 3e-4,
            "warmup_steps": 200,
            "ema_decay": 0.999,
            "working_side": 32,
            "stem_width": 16,
            "width": 48,
            "max_width": 256,
            "blocks": 2,
            "augment": ("shift", "colour"),
            "sample_every": 2000,
            "watch_every": 1000,
            "validate_every": 1000,
            "checkpoint_every": 1000,
        },
        "base": {
            "max_steps": 200_000,
            "batch_size": 256,
            "learning_rate": 2e-4,
            "warmup_steps": 1000,
            "ema_decay": 0.9995,
            "latent_dim": 128,
            "working_side": 128,
            "stem_width": 32,
            "width": 96,
            "max_width": 512,
            "blocks": 2,
            "penalty": 10.0,
            "augment": ("shift", "cutout", "colour"),
            "sample_every": 10_000,
            "watch_every": 5000,
            "validate_every": 5000,
            "checkpoint_every": 5000,
        },
    },
    search_space={
        "learning_rate": {"low": 2e-4, "high": 3e-3, "log": True},
        "batch_size": {"choices": [32, 64, 128]},
        "penalty": {"low": 1.0, "high": 50.0, "log": True},
        "final_penalty": {"low": 0.1, "high": 5.0, "log": True},
    },
    summary="draws sharp images in one pass, by class",
    intended_use="Drawing many sharp images like those of the training data quickly, e.g. as synthetic data.",
    limits="It may leave out kinds of images (mode collapse): mind recall and coverage. It gives no likelihood and embeds nothing.",
)
