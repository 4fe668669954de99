"""The settings of the language model."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from components.errors import UserError
from components.models.family import Family, TrainingConfig


class GptConfig(TrainingConfig):
    """Defaults are size `tiny`: a few hundred thousand characters of prose in about a minute on two CPU cores."""

    ARCHITECTURE = ("backbone", "vocab_size", "num_layers", "num_heads", "width", "mlp_ratio", "logit_softcap", "rope_base")
    special_tokens: ClassVar[tuple[str, ...]] = ("<|endoftext|>",)
    """What the vocabulary begins with."""

    max_steps: int = Field(560, ge=1)
    batch_size: int = Field(16, ge=1)
    """Windows of ``context_length`` tokens per step."""
    learning_rate: float = Field(0.02, gt=0)
    """Of Muon, for the matrices of the blocks."""
    embedding_learning_rate: float = Field(0.01, gt=0)
    """Of AdamW, for the token embedding."""
    head_learning_rate: float = Field(0.004, gt=0)
    """Of AdamW, for the output layer."""
    weight_decay: float = Field(0.0, ge=0)
    """Of the matrices of the blocks, decoupled and scaled by the learning rate."""
    warmup_steps: int = Field(20, ge=0)
    cooldown: float = Field(0.5, ge=0, le=1)
    """Last share of the steps, in which the learning rates fall linearly to zero."""
    gradient_clip: float = Field(1.0, ge=0)
    ema_decay: float = Field(0.95, ge=0, lt=1)
    sample_every: int = Field(140, ge=1)
    validate_every: int = Field(140, ge=1)
    checkpoint_every: int = Field(140, ge=1)

    keep: Literal["last", "best"] = "best"
    """On little text the model begins to learn it by heart: the weights of the lowest validation loss are kept."""

    backbone: Literal["own", "llama"] = "own"
    """`llama`: the network of transformers' LlamaForCausalLM, whose weights `genmill export` writes for other tools; it knows no soft cap, and
    its dropout is that of the attention."""
    vocab_size: int = Field(1024, ge=257)
    """Entries of the byte-pair vocabulary, which is trained on the training split: 256 bytes, the end-of-text mark, and merges."""
    context_length: int = Field(128, ge=2)
    """Tokens that the model can look back on."""
    response_length: int = Field(32, ge=2)
    """Of text pairs, the tokens of a response with its end mark, at most; the prompt has what is left of the context, and is cut at its end."""
    control: str = ""
    """Column of the dataset, such as `label` or `title`, whose value the model is told before each text as a token of its own, so that it can be asked for one
    (`label`). Empty tells it none; of text pairs there is none to tell."""
    control_dropout: float = Field(0.1, ge=0, le=1)
    """Share of the windows in training whose value is withheld, so that the model does without as well."""
    num_layers: int = Field(4, ge=1)
    num_heads: int = Field(4, ge=1)
    width: int = Field(128, ge=4)
    """Length of a token's vector; a multiple of twice ``num_heads``, because rotary positions turn pairs."""
    mlp_ratio: int = Field(4, ge=1)
    """Width of a block's hidden layer as a multiple of ``width``."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the values dropped behind the embedding, behind each block's two branches, and before the output layer."""
    logit_softcap: float = Field(15.0, ge=0)
    """Logits are squeezed smoothly into plus and minus this; 0 turns it off."""
    rope_base: float = Field(10_000.0, gt=1)
    """Longest wavelength of the rotary positions, in tokens over 2 pi."""

    @property
    def prompt_length(self) -> int:
        """Tokens of a prompt at most, between its two marks."""
        return self.context_length - self.response_length - 1

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> "GptConfig":
        if self.width % (2 * self.num_heads):
            raise ValueError(f"width {self.width} is no multiple of twice num_heads ({self.num_heads}): change one of them")
        return self

    @model_validator(mode="after")
    def _llama_has_no_soft_cap(self) -> "GptConfig":
        if self.backbone == "llama" and self.logit_softcap:
            raise ValueError("the backbone llama has no soft cap of the logits: set logit_softcap to 0")
        return self

    @classmethod
    def architecture_of(cls, described: Mapping[str, Any]) -> dict[str, Any]:
        if described.get("model_type") != "llama":
            raise UserError(f"it holds a model of the type {described.get('model_type')!r}: give a folder of the type llama, such as `genmill export` writes.")
        width = described["hidden_size"]
        return {
            "backbone": "llama", "vocab_size": described["vocab_size"], "num_layers": described["num_hidden_layers"],
            "num_heads": described["num_attention_heads"], "width": width, "mlp_ratio": described["intermediate_size"] / width, "logit_softcap": 0,
            "rope_base": (described.get("rope_parameters") or described)["rope_theta"],
        }  # fmt: skip


FAMILY = Family(
    config=GptConfig,
    model="components.models.gpt.model:Gpt",
    modality=("text", "text-pairs"),
    starter=True,
    batches={"text-pairs": "responses"},
    cost_per_step=4.0,
    primary="bits_per_byte",
    goal="min",
    guards=("copy_rate",),
    gates={"bits_per_byte": {"max": 3}},
    sizes={
        "small": {
            "max_steps": 4000,
            "batch_size": 32,
            "context_length": 256,
            "response_length": 64,
            "vocab_size": 4096,
            "num_layers": 6,
            "num_heads": 6,
            "width": 384,
            "dropout": 0.1,
            "warmup_steps": 100,
            "ema_decay": 0.99,
            "sample_every": 500,
            "validate_every": 500,
            "checkpoint_every": 500,
        },
        "base": {
            "max_steps": 40_000,
            "batch_size": 64,
            "context_length": 1024,
            "response_length": 256,
            "vocab_size": 16_384,
            "num_layers": 12,
            "num_heads": 12,
            "width": 768,
            "dropout": 0.1,
            "learning_rate": 0.01,
            "warmup_steps": 500,
            "ema_decay": 0.999,
            "sample_every": 2000,
            "validate_every": 2000,
            "checkpoint_every": 2000,
        },
    },
    search_space={
        "learning_rate": {"low": 5e-3, "high": 5e-2, "log": True},
        "embedding_learning_rate": {"low": 3e-3, "high": 5e-2, "log": True},
        "dropout": {"low": 0.0, "high": 0.3},
        "weight_decay": {"low": 0.0, "high": 2.0},
    },
    loss_settings=("vocab_size", "context_length", "response_length", "control"),
    summary="scores and continues text or code, or answers prompts",
    intended_use="Continuing text like that of the training data, or answering prompts like its pairs, and telling how likely a text is.",
    limits="Knows only its training text: no facts, no instructions but those of its pairs. It looks back no further than its context length.",
)
