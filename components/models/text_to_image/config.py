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

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> "TextToImageConfig":
        if self.text_width % self.text_heads:
            raise ValueError(f"text_width {self.text_width} is no multiple of text_heads ({self.text_heads}): change one of them")
        return self


FAMILY = Family(
    config=TextToImageConfig,
    model="components.models.text_to_image.model:TextToImage",
    modality=("image-text",),
    cost_per_step=3.5,
    primary="fid_own",
    goal="min",
    guards=("caption_recall_own", "neighbour_ratio"),
    sizes={"small": {}, "base": {}},
    summary="draws images from captions, and draws given images anew as a caption says",
    intended_use="Drawing images like those of the training data from words, or turning a given image into what words say.",
    limits="Knows only the words of its training captions. Sampling takes many passes of the network.",
)
