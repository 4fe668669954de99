"""The settings of the contrastive image–text model."""

from typing import Literal

from pydantic import Field, model_validator

from components.models.family import Family, ImageTowerConfig


class ClipConfig(ImageTowerConfig):
    """Defaults are size `tiny`: 32x32 glyphs and their names within a minute on two CPU cores."""

    max_steps: int = 300
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_steps: int = 30
    ema_decay: float = 0.98
    sample_every: int = 150
    validate_every: int = 100
    checkpoint_every: int = 150

    loss: Literal["softmax", "sigmoid"] = "softmax"
    """`softmax`: each image finds its caption among those of the batch, and each caption its image (InfoNCE); `sigmoid`: each pair by itself."""
    temperature: float = Field(0.07, gt=0, le=1)
    """What similarities are divided by when training begins; it is learnt, and never below 0.01."""
    embedding_dim: int = Field(64, ge=2)
    """Length of the vectors that images and captions are compared by."""

    image_tower: Literal["conv", "vit"] = "conv"
    """`conv`: convolutional residual networks; `vit`: the vision transformer of transformers' CLIP."""
    text_width: int = Field(128, ge=8)
    """Width of the text tower, a causal transformer (that of transformers' CLIP)."""
    text_layers: int = Field(2, ge=1)
    text_heads: int = Field(4, ge=1)
    """Layers of the text tower, and attention heads in each."""

    @model_validator(mode="after")
    def _heads_divide_widths(self) -> "ClipConfig":
        if self.text_width % self.text_heads:
            raise ValueError(f"text_width {self.text_width} is no multiple of text_heads ({self.text_heads}): change one of them")
        if self.image_tower == "vit" and self.image_width % self.image_heads:
            raise ValueError(f"image_width {self.image_width} is no multiple of image_heads ({self.image_heads}): change one of them")
        return self


FAMILY = Family(
    config=ClipConfig,
    model="components.models.clip.model:Clip",
    modality=("image-text",),
    cost_per_step=3.0,
    primary="recall_at_1",
    goal="max",
    guards=("zero_shot_accuracy",),
    gates={"recall_at_1": {"min": 0.05}},
    sizes={
        "small": {
            "max_steps": 10_000,
            "batch_size": 256,
            "learning_rate": 1e-3,
            "weight_decay": 0.1,
            "warmup_steps": 500,
            "ema_decay": 0.999,
            "vocab_size": 4096,
            "caption_length": 48,
            "embedding_dim": 256,
            "working_side": 32,
            "image_width": 64,
            "max_image_width": 384,
            "image_layers": 2,
            "text_width": 256,
            "text_layers": 4,
            "text_heads": 8,
            "sample_every": 1000,
            "validate_every": 500,
            "checkpoint_every": 500,
        },
        "base": {
            "max_steps": 100_000,
            "batch_size": 1024,
            "learning_rate": 5e-4,
            "weight_decay": 0.2,
            "warmup_steps": 2000,
            "ema_decay": 0.9995,
            "vocab_size": 32_768,
            "caption_length": 77,
            "embedding_dim": 512,
            "image_tower": "vit",
            "image_width": 512,
            "image_layers": 12,
            "image_heads": 8,
            "patch": 8,
            "text_width": 512,
            "text_layers": 12,
            "text_heads": 8,
            "sample_every": 5000,
            "validate_every": 2500,
            "checkpoint_every": 2500,
        },
    },
    search_space={
        "learning_rate": {"low": 3e-4, "high": 5e-3, "log": True},
        "batch_size": {"choices": [64, 128, 256]},
        "embedding_dim": {"choices": [32, 64, 128]},
        "loss": {"choices": ["softmax", "sigmoid"]},
    },
    loss_settings=("loss", "batch_size"),
    summary="embeds images and captions together: retrieval both ways, classes by their names",
    intended_use="Finding images by words and words for images, and naming classes that it was not trained to name.",
    limits="Knows only what its captions say; similarities rank, they are no probabilities.",
)
