"""The settings of the encoder and decoder of text."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from components.errors import UserError
from components.models.family import Family, TrainingConfig
from components.models.layers.span_counts import RATE, SPAN_LENGTH, num_hidden


class T5Config(TrainingConfig):
    """Defaults are size `tiny`: a few hundred thousand characters in about a minute on two CPU cores."""

    ARCHITECTURE = ("vocab_size", "sentinels", "num_layers", "num_heads", "width", "mlp_width", "head")
    special_tokens: ClassVar[tuple[str, ...]] = ("<|padding|>", "<|begin|>", "<|end|>")
    """What the vocabulary begins with: the marks of a row of its own, whether it is learnt from texts or from pairs of them."""

    max_steps: int = Field(540, ge=1)
    batch_size: int = Field(16, ge=1)
    """Pairs, or windows of ``context_length`` tokens, per step."""
    learning_rate: float = Field(0.02, gt=0)
    """Of Muon, for the matrices of the layers; those of queries learn slower by the root of the length of a head."""
    embedding_learning_rate: float = Field(0.01, gt=0)
    """Of AdamW, for the token vectors, the biases by distance and the norms."""
    head_learning_rate: float = Field(0.003, gt=0)
    """Of AdamW, for an output layer of its own."""
    weight_decay: float = Field(0.0, ge=0)
    """Of the matrices of the layers, decoupled and scaled by the learning rate."""
    warmup_steps: int = Field(20, ge=0)
    cooldown: float = Field(0.5, ge=0, le=1)
    """Last share of the steps, in which the learning rates fall linearly to zero."""
    gradient_clip: float = Field(1.0, ge=0)
    ema_decay: float = Field(0.95, ge=0, lt=1)
    sample_every: int = Field(135, ge=1)
    validate_every: int = Field(135, ge=1)
    checkpoint_every: int = Field(135, ge=1)
    keep: Literal["last", "best"] = "best"
    """On little text the model begins to learn it by heart: the weights of the lowest validation loss are kept."""

    vocab_size: int = Field(1024, ge=259)
    """Entries of the byte-pair vocabulary, which is trained on the training split: 256 bytes, three marks, and merges."""
    sentinels: int = Field(32, ge=1)
    """Marks of gaps, above the vocabulary: so many spans may be missing from a text at once, in training and where it is judged by the usual share."""
    context_length: int = Field(128, ge=16)
    """Of texts: tokens of a window in which spans are hidden, with the marks at both ends."""
    corruption_rate: float = Field(0.15, gt=0, le=0.5)
    """Of texts: share of the tokens that are hidden."""
    span_length: float = Field(3.0, ge=1)
    """Of texts: tokens of a hidden span, on average."""
    source_length: int = Field(96, ge=4)
    """Of pairs: tokens of a source with the marks at both ends; longer ones are cut at their end."""
    target_length: int = Field(40, ge=4)
    """Of pairs: tokens of a target with the marks at both ends; longer ones are cut at their end."""
    beams: int = Field(1, ge=1, le=16)
    """Beginnings of an answer that are kept in sight where the likeliest one is sought; 1 takes the likeliest token each time."""

    num_layers: int = Field(2, ge=1)
    """Of the encoder, and of the decoder."""
    num_heads: int = Field(4, ge=1)
    width: int = Field(128, ge=4)
    """Length of a token's vector; a multiple of ``num_heads``."""
    mlp_width: int = Field(256, ge=1)
    """Width of a layer's hidden layer, which has a gate of the same width besides."""
    head: Literal["own", "shared"] = "own"
    """The output layer has weights of its own (T5 1.1), or shares the token vectors (T5 1.0)."""
    dropout: float = Field(0.05, ge=0, lt=1)
    """Share of the values dropped behind the embedding and inside the layers."""

    @classmethod
    def architecture_of(cls, described: Mapping[str, Any]) -> dict[str, Any]:
        if described.get("model_type") != "t5" or "sentinels" not in described:
            raise UserError("it holds no T5 with the marks of this family: give a folder that `genmill export` has written.")
        return {
            "vocab_size": described["vocab_size"] - described["sentinels"], "sentinels": described["sentinels"], "num_layers": described["num_layers"],
            "num_heads": described["num_heads"], "width": described["d_model"], "mlp_width": described["d_ff"],
            "head": "shared" if described["scale_decoder_outputs"] else "own",
        }  # fmt: skip

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> "T5Config":
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is no multiple of num_heads ({self.num_heads}): change one of them")
        return self

    @model_validator(mode="after")
    def _sentinels_for_all_spans(self) -> "T5Config":
        length = self.context_length - 2  # without the marks at both ends
        trained, judged = (num_hidden(length, *how)[1] for how in ((self.corruption_rate, self.span_length), (RATE, SPAN_LENGTH)))
        if trained > self.sentinels:
            raise ValueError(f"a window has {trained} hidden spans and there are {self.sentinels} sentinels: raise sentinels, or lower corruption_rate")
        if judged > self.sentinels:
            how = f"{RATE:.0%} of the tokens in spans of {SPAN_LENGTH:g}"
            raise ValueError(f"validation hides {how}, {judged} spans in a window, and there are {self.sentinels} sentinels: raise sentinels")
        return self


FAMILY = Family(
    config=T5Config,
    model="components.models.t5.model:T5",
    modality=("text-pairs", "text"),
    starter=True,
    cost_per_step=3.5,
    primary="target_perplexity",
    goal="min",
    guards=("exact_spans", "bleu", "rouge_l"),
    gates={"target_perplexity": {"max": 150}},
    sizes={
        "small": {
            "max_steps": 8000,
            "batch_size": 64,
            "vocab_size": 4096,
            "context_length": 256,
            "source_length": 256,
            "target_length": 128,
            "num_layers": 4,
            "num_heads": 6,
            "width": 384,
            "mlp_width": 1024,
            "warmup_steps": 100,
            "ema_decay": 0.99,
            "sample_every": 500,
            "validate_every": 500,
            "checkpoint_every": 500,
        },
        "base": {
            "max_steps": 80_000,
            "batch_size": 128,
            "vocab_size": 32_000,
            "sentinels": 100,
            "context_length": 512,
            "source_length": 512,
            "target_length": 256,
            "num_layers": 12,
            "num_heads": 12,
            "width": 768,
            "mlp_width": 2048,
            "learning_rate": 0.01,
            "embedding_learning_rate": 0.002,
            "head_learning_rate": 0.001,
            "warmup_steps": 1000,
            "ema_decay": 0.999,
            "beams": 4,
            "sample_every": 2000,
            "validate_every": 2000,
            "checkpoint_every": 2000,
        },
    },
    search_space={
        "learning_rate": {"low": 5e-3, "high": 5e-2, "log": True},
        "embedding_learning_rate": {"low": 1e-3, "high": 2e-2, "log": True},
        "dropout": {"low": 0.0, "high": 0.3},
        "batch_size": {"choices": [16, 32, 64]},
    },
    loss_settings=("vocab_size", "context_length", "source_length", "target_length"),
    summary="maps text to text: says what belongs to a source, or fills gaps of any length",
    intended_use="Answers of the kind that its pairs have (summaries, translations, docstrings), or words that are missing from a text.",
    limits="Knows only its training data; an answer may read well and be wrong. It reads no more of a source than its source length.",
)
