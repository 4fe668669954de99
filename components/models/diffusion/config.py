"""The settings of diffusion, and those that it shares with all that draws from noise in steps."""

from typing import Literal

from pydantic import Field, model_validator

from components.models.family import Family, ImageTrainingConfig, WatchedTrainingConfig


class GaussianDiffusionConfig(ImageTrainingConfig):
    """What every family has that draws images from noise in steps."""

    objective: Literal["flow", "ddpm"] = "flow"
    """`flow`: straight paths from image to noise, the velocity is learnt; `ddpm`: the cosine schedule, it learns the noise."""
    predicts: Literal["image", "velocity"] = "image"
    """What the network says under `flow`; either way the loss is the error of the velocity. `image` copes with folded pixels."""
    time_mean: float = 0.0
    """Of the logit of the training times under `flow`; above 0 trains more on the noisy end."""
    time_spread: float = Field(1.0, gt=0)
    """Standard deviation of that logit."""
    guidance: float = Field(1.5, ge=0)
    """Scale of classifier-free guidance; 1 is none, more gives clearer and less varied images."""
    sampler: Literal["euler", "heun", "ddim", "ddpm"] = "heun"
    """`heun` and `euler` solve the flow; `ddim` steps by the predicted image; `ddpm` adds fresh noise at each step."""
    sampling_steps: int = Field(8, ge=1, le=1000)
    """Steps of the sampler; `heun` asks the network twice in each but the last."""

    working_side: int = Field(8, ge=4)
    """Larger images are folded, blocks of pixels into channels, to at most this many pixels a side before the U-Net sees them."""
    widths: tuple[int, ...] = (32, 64)
    """Channels of the U-Net at each of its halved sizes."""
    blocks: int = Field(1, ge=1)
    """Residual blocks per size on the way down; one more on the way up."""
    attention_side: int = Field(4, ge=0)
    """Self-attention at maps of this side or less."""
    head_width: int = Field(32, ge=4)
    """Channels per attention head."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the channels' values dropped inside each residual block while training; keeps small datasets from being memorised."""

    latent_factor: Literal[1, 2, 4, 8] = 1
    """1 works on pixels. Above, an autoencoder of this reduction is trained first, and diffusion works in its latents; for images of 64
    pixels and more."""
    latent_channels: int = Field(4, ge=1)
    """Channels of a latent."""
    autoencoder_steps: int = Field(0, ge=0)
    """The first steps, which train the autoencoder where there is one; the others train the diffusion."""
    autoencoder_width: int = Field(32, ge=8)
    """Channels of the autoencoder at full resolution; doubled at each halving, up to four times."""
    autoencoder_kl_weight: float = Field(1e-4, ge=0)
    """Weight of the KL term of the autoencoder, per pixel: small, it only keeps the latents tidy."""

    @model_validator(mode="after")
    def _widths_fit(self) -> "GaussianDiffusionConfig":
        if not self.widths or any(width % 8 for width in self.widths):
            raise ValueError(f"widths must be multiples of 8, e.g. [32, 64], not {list(self.widths)}")
        return self

    @model_validator(mode="after")
    def _phases_fit(self) -> "GaussianDiffusionConfig":
        if self.latent_factor > 1 and not 0 < self.autoencoder_steps < self.max_steps:
            raise ValueError(
                f"latent_factor {self.latent_factor} needs autoencoder_steps between 1 and max_steps ({self.max_steps}), not {self.autoencoder_steps}"
            )
        return self


class DiffusionConfig(WatchedTrainingConfig, GaussianDiffusionConfig):
    """Defaults are size `tiny`: 8x8 digits within a minute on two CPU cores."""

    max_steps: int = 560
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup_steps: int = 50
    ema_decay: float = 0.99
    sample_every: int = 280
    validate_every: int = 140
    checkpoint_every: int = 280

    conditional: bool = True
    """Whether samples are drawn by class where the dataset has labels."""
    label_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the labels hidden while training, which classifier-free guidance needs."""


FAMILY = Family(
    config=DiffusionConfig,
    model="components.models.diffusion.model:Diffusion",
    modality=("image", "image-text"),
    starter=True,
    batches="image",
    cost_per_step=2.5,
    primary="fid_own",
    goal="min",
    guards=("neighbour_ratio", "recall_own", "coverage_own"),
    gates={"fid_own": {"max": 100}, "recall_own": {"min": 0.1}, "neighbour_ratio": {"min": 0.85}},
    sizes={
        "small": {
            "max_steps": 20_000,
            "batch_size": 128,
            "learning_rate": 5e-4,
            "warmup_steps": 500,
            "ema_decay": 0.999,
            "working_side": 32,
            "widths": (64, 128, 128),
            "blocks": 2,
            "attention_side": 8,
            "head_width": 64,
            "sampling_steps": 20,
            "autoencoder_steps": 5000,
            "autoencoder_width": 64,
            "sample_every": 2000,
            "validate_every": 1000,
            "checkpoint_every": 1000,
        },
        "base": {
            "max_steps": 200_000,
            "batch_size": 256,
            "learning_rate": 2e-4,
            "warmup_steps": 2000,
            "ema_decay": 0.9999,
            "working_side": 128,
            "widths": (128, 256, 256, 256),
            "blocks": 2,
            "attention_side": 16,
            "head_width": 64,
            "sampling_steps": 25,
            "autoencoder_steps": 50_000,
            "autoencoder_width": 128,
            "sample_every": 10_000,
            "validate_every": 5000,
            "checkpoint_every": 5000,
        },
    },
    search_space={
        "learning_rate": {"low": 3e-4, "high": 5e-3, "log": True},
        "batch_size": {"choices": [32, 64, 128]},
        "dropout": {"low": 0.0, "high": 0.3},
        "guidance": {"low": 1.0, "high": 3.0},
        "time_mean": {"low": -0.5, "high": 0.5},
    },
    loss_settings=(
        "objective",
        "predicts",
        "time_mean",
        "time_spread",
        "image_size",
        "latent_factor",
        "latent_channels",
        "autoencoder_steps",
        "autoencoder_kl_weight",
    ),
    summary="draws images from noise, by class, and draws given images anew",
    intended_use="Drawing varied images like those of the training data, of a wanted class, or starting from an image that is given.",
    limits="Small datasets are memorised when it is trained long: mind the neighbour ratio. Sampling takes many passes of the network.",
)
