"""The settings of the variational autoencoder."""

from typing import Literal

from pydantic import Field, model_validator

from components.models.family import Family, WatchedTrainingConfig


class VaeConfig(WatchedTrainingConfig):
    """Defaults are size `tiny`: 8x8 digits within a minute on two CPU cores."""

    max_steps: int = 1200
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup_steps: int = 100
    ema_decay: float = 0.995

    backbone: Literal["own", "autoencoder-kl"] = "own"
    """`own`: convolutional residual networks round one latent vector; `autoencoder-kl`: the one of diffusers, whose latent is a map."""
    latent_dim: int = Field(16, ge=1)
    """Length of the latent vector of backbone `own`."""
    latent_channels: int = Field(4, ge=1)
    """Channels of the latent map of backbone `autoencoder-kl`; its sides are at most 8."""
    working_side: int = Field(8, ge=4)
    """Backbone `own` folds larger images, blocks of pixels into channels, to at most this many pixels a side: both networks work on that."""
    width: int = Field(32, ge=8)
    """Channels at full resolution; doubled at each halving."""
    max_width: int = Field(128, ge=8)
    """Channels are never more than this."""
    blocks: int = Field(1, ge=1)
    """Residual blocks per resolution, in the encoder and again in the decoder."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the channels' values dropped inside each residual block while training."""

    levels: int = Field(256, ge=2, le=256)
    """Grey levels per channel that the likelihood counts; pixels are rounded to them. Bits per dimension of
    different levels do not compare."""
    mixtures: int = Field(1, ge=1)
    """Logistics per pixel and channel: 1 gives the smoothest pictures, more give the better likelihood."""
    kl_warmup_steps: int = Field(300, ge=0)
    """Steps over which the weight of the KL term grows from 0 to ``kl_weight``."""
    kl_weight: float = Field(1.0, gt=0)
    """Weight of the KL term after the warm-up; 1 is the bound on the likelihood."""
    free_nats: float = Field(0.0, ge=0)
    """KL per latent unit (batch mean, nats) below which a unit costs nothing: keeps units from dying early."""

    prior_components: int = Field(3, ge=1)
    """Gaussians that the prior fitted after training has, for each class where there are labels, else ten times as many."""
    prior_draws: int = Field(8, ge=1)
    """Latents drawn from the posterior of each training image to fit the prior."""
    draw_pixels: bool = False
    """Whether samples are drawn from the pixels' distribution (with its noise) rather than being its mean."""
    importance_samples: int = Field(32, ge=1)
    """Latents per image in the importance-weighted bound of bits per dimension; more tighten it."""

    @model_validator(mode="after")
    def _fits_the_backbone(self) -> "VaeConfig":
        if self.backbone == "autoencoder-kl" and self.dropout > 0:
            raise ValueError("dropout is a setting of backbone own: leave it out with autoencoder-kl")
        return self


FAMILY = Family(
    config=VaeConfig,
    model="components.models.vae.model:Vae",
    modality=("image", "image-text"),
    batches="image",
    cost_per_step=1.0,
    primary="fid_own",
    goal="min",
    guards=("bits_per_dim", "active_units"),
    gates={"fid_own": {"max": 100}, "active_units": {"min": 1}},
    sizes={
        "small": {
            "max_steps": 12_000,
            "batch_size": 128,
            "learning_rate": 1e-3,
            "warmup_steps": 500,
            "ema_decay": 0.999,
            "latent_dim": 64,
            "working_side": 32,
            "width": 48,
            "max_width": 256,
            "blocks": 2,
            "kl_warmup_steps": 3000,
            "sample_every": 1000,
            "validate_every": 1000,
            "checkpoint_every": 1000,
        },
        "base": {
            "max_steps": 100_000,
            "batch_size": 256,
            "learning_rate": 5e-4,
            "warmup_steps": 2000,
            "ema_decay": 0.9995,
            "backbone": "autoencoder-kl",
            "latent_channels": 4,
            "width": 128,
            "max_width": 512,
            "blocks": 2,
            "kl_warmup_steps": 20_000,
            "sample_every": 5000,
            "validate_every": 5000,
            "checkpoint_every": 5000,
        },
    },
    search_space={
        "learning_rate": {"low": 5e-4, "high": 5e-3, "log": True},
        "latent_dim": {"choices": [8, 16, 32]},
        "width": {"choices": [24, 32, 48]},
        "kl_weight": {"low": 0.3, "high": 1.0},
        "prior_components": {"choices": [1, 2, 4]},
    },
    loss_settings=("levels", "image_size"),
    summary="samples, reconstructs and embeds images; bounds their likelihood",
    intended_use="Drawing small images like those of the training data, embedding them, and telling how likely an image is.",
    limits="Samples are smoother than real images (they are the decoder's mean); a single latent vector suits images up to 64x64.",
)
