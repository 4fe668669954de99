"""The settings of text-to-image."""

from pydantic import Field, model_validator

from components.models.diffusion.config import GaussianDiffusionConfig
from components.models.family import Family, ImageTextTrainingConfig


class TextToImageConfig(ImageTextTrainingConfig, GaussianDiffusionConfig):
    """Defaults are size `tiny`: 32x32 glyphs by their names within a minute on two CPU cores."""

    max_steps: int = 400
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    warmup_steps: int = 50
    ema_decay: float = 0.99
    sample_every: int = 200
    validate_every: int = 200
    checkpoint_every: int = 200

    time_mean: float = 0.4
    widths: tuple[int, ...] = (64, 96)
    dropout: float = Field(0.0, ge=0, lt=1)
    guidance: float = Field(3.0, ge=0)
    caption_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the captions hidden while training, which classifier-free guidance needs."""
    vocab_size: int = Field(2048, ge=259)
    """As of other families with captions; here most words of a caption should be a token each, whose meaning is soon learnt."""
    caption_length: int = Field(24, ge=3)
    attention_side: int = Field(0, ge=0)
    """Attention to the caption at maps of this side or less, and always at the smallest."""
    sketch_side: int = Field(32, ge=1)
    """Pixels a side of the mean image that is guessed from the caption alone and shown to the U-Net; of larger codes it is a coarse one."""
    sketch_weight: float = Field(10.0, ge=0)
    """Of its squared error in the loss."""
    drawn_rows: int | None = Field(32, ge=1)
    """Rows of a batch that the U-Net learns on, by far the dearest part; sketches are learnt on all. Null takes all."""
    text_width: int = Field(128, ge=8)
    """Width of the text encoder, a transformer that sees the whole caption at once."""
    text_layers: int = Field(1, ge=1)
    text_heads: int = Field(4, ge=1)
    """Layers of the text encoder, and attention heads in each."""

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> "TextToImageConfig":
        if self.text_width % self.text_heads:
            raise ValueError(f"text_width {self.text_width} is no multiple of text_heads ({self.text_heads}): change one of them")
        return self


FAMILY = Family(
    config=TextToImageConfig,
    model="components.models.text_to_image.model:TextToImage",
    modality=("image-text",),
    starter=True,
    cost_per_step=3.5,
    primary="fid_own",
    goal="min",
    guards=("caption_recall_own", "neighbour_ratio"),
    gates={"fid_own": {"max": 100}, "caption_recall_own": {"min": 0.05}, "neighbour_ratio": {"min": 0.85}},
    sizes={
        "small": {
            "max_steps": 4000,
            "learning_rate": 2e-3,
            "warmup_steps": 200,
            "ema_decay": 0.999,
            "widths": (96, 128),
            "drawn_rows": 48,
            "caption_length": 48,
            "vocab_size": 4096,
            "text_width": 192,
            "text_layers": 2,
            "sampling_steps": 12,
            "sample_every": 1000,
            "validate_every": 500,
            "checkpoint_every": 500,
        },
        "base": {
            "max_steps": 200_000,
            "batch_size": 256,
            "learning_rate": 2e-4,
            "warmup_steps": 2000,
            "ema_decay": 0.9999,
            "vocab_size": 32_768,
            "caption_length": 77,
            "working_side": 64,
            "widths": (128, 256, 512, 512),
            "blocks": 2,
            "attention_side": 32,
            "head_width": 64,
            "drawn_rows": None,
            "text_width": 512,
            "text_layers": 8,
            "text_heads": 8,
            "sampling_steps": 25,
            "latent_factor": 4,
            "autoencoder_steps": 50_000,
            "autoencoder_width": 128,
            "sample_every": 10_000,
            "validate_every": 5000,
            "checkpoint_every": 5000,
        },
    },
    search_space={
        "learning_rate": {"low": 5e-4, "high": 5e-3, "log": True},
        "guidance": {"low": 1.0, "high": 6.0},
        "sketch_weight": {"low": 1.0, "high": 30.0, "log": True},
        "text_layers": {"choices": [1, 2, 4]},
    },
    loss_settings=(
        "objective",
        "predicts",
        "time_mean",
        "time_spread",
        "sketch_side",
        "sketch_weight",
        "image_size",
        "latent_factor",
        "latent_channels",
        "autoencoder_steps",
    ),
    summary="draws images from captions, and draws given images anew as a caption says",
    intended_use="Drawing images like those of the training data from words, or turning a given image into what words say.",
    limits="Knows only the words of its training captions. Sampling takes many passes of the network.",
)
