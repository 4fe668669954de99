"""The settings of the captioner."""

from typing import Literal

from pydantic import Field, model_validator

from components.models.family import Family, ImageTowerConfig


class CaptionerConfig(ImageTowerConfig):
    """Defaults are size `tiny`: 32x32 glyphs and their names within a minute on two CPU cores."""

    max_steps: int = Field(620, ge=1)
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(0.04, gt=0)
    """Of Muon, for the matrices and kernels inside encoder and decoder."""
    embedding_learning_rate: float = Field(0.006, gt=0)
    """Of AdamW, for tokens, positions, scales and biases."""
    weight_decay: float = Field(0.0, ge=0)
    """Of what Muon moves, decoupled and scaled by the learning rate."""
    warmup_steps: int = Field(20, ge=0)
    cooldown: float = Field(0.7, ge=0, le=1)
    """Last share of the steps, in which the learning rates fall linearly to zero."""
    ema_decay: float = Field(0.98, ge=0, lt=1)
    sample_every: int = Field(310, ge=1)
    validate_every: int = Field(310, ge=1)
    checkpoint_every: int = Field(310, ge=1)
    vocab_size: int = Field(1024, ge=259)
    caption_length: int = Field(32, ge=3)

    image_tower: Literal["conv", "vit"] = "conv"
    """`conv`: the places of the smallest map of a convolutional residual network; `vit`: the patches of transformers' CLIP vision model."""
    text_width: int = Field(128, ge=8)
    """Width of the decoder, a causal transformer that looks at the image in every layer (transformers' GPT-2 with cross-attention)."""
    text_layers: int = Field(1, ge=1)
    text_heads: int = Field(4, ge=1)
    """Layers of the decoder, and attention heads in each."""

    @model_validator(mode="after")
    def _heads_divide_widths(self) -> "CaptionerConfig":
        if self.text_width % self.text_heads:
            raise ValueError(f"text_width {self.text_width} is no multiple of text_heads ({self.text_heads}): change one of them")
        if self.image_tower == "vit" and self.image_width % self.image_heads:
            raise ValueError(f"image_width {self.image_width} is no multiple of image_heads ({self.image_heads}): change one of them")
        return self


FAMILY = Family(
    config=CaptionerConfig,
    model="components.models.captioner.model:Captioner",
    modality=("image-text",),
    cost_per_step=3.0,
    primary="caption_perplexity",
    goal="min",
    guards=("cider",),
    gates={"caption_perplexity": {"max": 20}, "cider": {"min": 0.5}},
    sizes={
        "small": {
            "max_steps": 10_000,
            "batch_size": 128,
            "learning_rate": 0.02,
            "embedding_learning_rate": 0.003,
            "warmup_steps": 200,
            "ema_decay": 0.999,
            "vocab_size": 4096,
            "caption_length": 48,
            "working_side": 32,
            "image_width": 64,
            "max_image_width": 384,
            "image_layers": 2,
            "text_width": 256,
            "text_layers": 4,
            "text_heads": 8,
            "dropout": 0.1,
            "sample_every": 1000,
            "validate_every": 500,
            "checkpoint_every": 500,
        },
        "base": {
            "max_steps": 100_000,
            "batch_size": 512,
            "learning_rate": 0.01,
            "embedding_learning_rate": 0.001,
            "warmup_steps": 2000,
            "ema_decay": 0.9995,
            "vocab_size": 32_768,
            "caption_length": 77,
            "image_tower": "vit",
            "image_width": 512,
            "image_layers": 12,
            "image_heads": 8,
            "patch": 8,
            "text_width": 512,
            "text_layers": 8,
            "text_heads": 8,
            "dropout": 0.1,
            "sample_every": 5000,
            "validate_every": 2500,
            "checkpoint_every": 2500,
        },
    },
    search_space={
        "learning_rate": {"low": 1e-2, "high": 1e-1, "log": True},
        "embedding_learning_rate": {"low": 1e-3, "high": 2e-2, "log": True},
        "batch_size": {"choices": [32, 64, 128]},
        "dropout": {"low": 0.0, "high": 0.2},
    },
    loss_settings=("vocab_size", "caption_length"),
    summary="says in words what an image shows",
    intended_use="Captions for images like those of the training data, and telling how likely a caption is for an image.",
    limits="Has the words and the knowledge of its training captions alone, and names something for any image, also where it is wrong.",
)
