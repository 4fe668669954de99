"""The settings of the masked language model."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from components.models.family import Family, TrainingConfig


class BertConfig(TrainingConfig):
    """Defaults are size `tiny`: a few hundred thousand characters of prose in about a minute on two CPU cores."""

    special_tokens: ClassVar[tuple[str, ...]] = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")
    """What the vocabulary begins with; `components.models.layers.masking` knows their places."""

    max_steps: int = Field(520, ge=1)
    batch_size: int = Field(16, ge=1)
    """Windows of ``context_length`` tokens per step."""
    learning_rate: float = Field(0.02, gt=0)
    """Of Muon, for the matrices of the layers."""
    embedding_learning_rate: float = Field(0.003, gt=0)
    """Of AdamW, for all other weights: the token vectors, which the output layer shares, the prediction head, and the norms."""
    weight_decay: float = Field(0.0, ge=0)
    """Of the matrices of the layers, decoupled and scaled by the learning rate."""
    warmup_steps: int = Field(20, ge=0)
    cooldown: float = Field(0.5, ge=0, le=1)
    """Last share of the steps, in which the learning rates fall linearly to zero."""
    gradient_clip: float = Field(1.0, ge=0)
    ema_decay: float = Field(0.95, ge=0, lt=1)
    sample_every: int = Field(130, ge=1)
    validate_every: int = Field(130, ge=1)
    checkpoint_every: int = Field(130, ge=1)
    keep: Literal["last", "best"] = "best"
    """On little text the model begins to learn it by heart: the weights of the lowest validation loss are kept."""

    backbone: Literal["modernbert", "bert"] = "modernbert"
    """`modernbert` (Warner et al. 2024) has rotary positions, gated layers and local attention in two of three layers; `bert` is Devlin et al. 2019."""
    mask_rate: float = Field(0.3, gt=0, lt=1)
    """Share of the tokens that are predicted; 0.3 learns more from a text than the 0.15 of 2019 (Wettig et al. 2023)."""
    masking: Literal["mask", "mixed"] = "mask"
    """`mask` puts [MASK] in place of each predicted token; `mixed` does so for 80 % of them, puts a random token in place of 10 % and leaves 10 %."""
    vocab_size: int = Field(1024, ge=260)
    """Entries of the byte-pair vocabulary, which is trained on the training split: 256 bytes, four special tokens, and merges."""
    context_length: int = Field(128, ge=16)
    """Tokens that the model reads at once, the marks at both ends included."""
    num_layers: int = Field(4, ge=1)
    num_heads: int = Field(2, ge=1)
    width: int = Field(128, ge=4)
    """Length of a token's vector; a multiple of twice ``num_heads``, because rotary positions turn pairs."""
    mlp_width: int = Field(256, ge=1)
    """Width of a layer's hidden layer; `modernbert` has a gate of the same width besides."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the values dropped behind the embedding and inside the layers."""

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> "BertConfig":
        if self.width % (2 * self.num_heads):
            raise ValueError(f"width {self.width} is no multiple of twice num_heads ({self.num_heads}): change one of them")
        return self


FAMILY = Family(
    config=BertConfig,
    model="components.models.bert.model:Bert",
    modality=("text",),
    cost_per_step=2.5,
    primary="masked_perplexity",
    goal="min",
    guards=("masked_accuracy", "probe_accuracy"),
    gates={"masked_perplexity": {"max": 150}, "masked_accuracy": {"min": 0.1}},
    sizes={
        "small": {
            "max_steps": 6000,
            "batch_size": 32,
            "context_length": 256,
            "vocab_size": 4096,
            "num_layers": 6,
            "num_heads": 6,
            "width": 384,
            "mlp_width": 768,
            "warmup_steps": 100,
            "ema_decay": 0.99,
            "sample_every": 500,
            "validate_every": 500,
            "checkpoint_every": 500,
        },
        "base": {
            "max_steps": 60_000,
            "batch_size": 64,
            "context_length": 1024,
            "vocab_size": 16_384,
            "num_layers": 22,
            "num_heads": 12,
            "width": 768,
            "mlp_width": 1152,
            "learning_rate": 0.01,
            "embedding_learning_rate": 0.001,
            "warmup_steps": 1000,
            "ema_decay": 0.999,
            "sample_every": 2000,
            "validate_every": 2000,
            "checkpoint_every": 2000,
        },
    },
    search_space={
        "learning_rate": {"low": 5e-3, "high": 5e-2, "log": True},
        "embedding_learning_rate": {"low": 5e-4, "high": 1e-2, "log": True},
        "mask_rate": {"low": 0.15, "high": 0.5},
        "dropout": {"low": 0.0, "high": 0.3},
    },
    loss_settings=("vocab_size", "context_length", "mask_rate"),
    summary="fills masked words and embeds text",
    intended_use="Telling which words fit into a gap, and vectors of texts like those of the training data, for search and for small classifiers.",
    limits="It fills each gap by itself, one token of the vocabulary at a time, and knows only its training text. It does not continue text.",
)
