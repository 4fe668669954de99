"""The settings of the joint image–text encoder."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from components.models.family import Family, ImageTowerConfig


def _answering(source: str) -> str:
    if source != "label":
        try:
            groups = re.compile(source).groups
        except re.error as error:
            raise ValueError(f"{source!r} is no pattern ({error}): write `label`, or a regular expression with one group") from None
        if groups != 1:
            raise ValueError(f"{source!r} has {groups} groups: write `label`, or a regular expression with one group, which is the answer")
    return source


AnswerSource = Annotated[str, AfterValidator(_answering)]


class FusionConfig(ImageTowerConfig):
    """Defaults are size `tiny`: 32x32 glyphs and their names within a minute on two CPU cores."""

    max_steps: int = 250
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_steps: int = 30
    ema_decay: float = 0.98
    sample_every: int = 125
    validate_every: int = 125
    checkpoint_every: int = 125

    shape: Literal["align", "single-stream", "two-stream"] = "align"
    """`align`: image and text are understood by themselves and aligned, then the words look at the image (ALBEF); `single-stream`: both in one
    transformer (ViLT), without vectors of their own; `two-stream`: a transformer of each, and both look at the other (ViLBERT)."""
    width: int = Field(128, ge=8)
    """Width of the transformers."""
    heads: int = Field(4, ge=1)
    text_layers: int = Field(1, ge=0)
    """Layers in which words read each other before they see the image; a single stream has none."""
    fusion_layers: int = Field(2, ge=1)
    """Layers in which words see the image."""
    embedding_dim: int = Field(64, ge=2)
    """Length of the vectors that images and captions are compared by."""

    image_tower: Literal["conv", "patches"] = "conv"
    """`conv`: convolutional residual networks, of whose last map each place is a state; `patches`: linear patches, and a transformer."""
    patch: int = Field(8, ge=1)
    """Of tower `patches`, whose layers a single stream leaves to its own."""

    temperature: float = Field(0.07, gt=0, le=1)
    """What similarities are divided by when training begins; it is learnt, and never below 0.01."""
    contrastive_weight: float = Field(1.0, ge=0)
    """Of finding each other's partner in the batch; a single stream has no vectors to do so by."""
    matching_weight: float = Field(1.0, ge=0)
    """Of telling a pair from an image or caption that was put in its place."""
    masked_weight: float = Field(0.5, ge=0)
    """Of filling masked words with the image in view."""
    answer_weight: float = Field(0.5, ge=0)
    """Of answering questions about the image."""
    fused_rows: int = Field(32, ge=1)
    """Pairs of a batch that matching, masked words and questions are learnt from; their wrong partners are drawn from the whole batch."""
    hardness: float = Field(0.5, ge=0)
    """Wrong partners are drawn by the softmax of likeness times this: 0 draws all alike, 1 as often as the vectors take them for the right one."""
    align_steps: int = Field(50, ge=0)
    """Steps at the beginning that only align, where the shape has vectors: fusing is dear, and wrong partners are no good before."""
    mask_rate: float = Field(0.25, gt=0, lt=1)
    """Share of a caption's tokens that are hidden."""

    distil_weight: float = Field(0.0, ge=0, le=1)
    """Share of the targets, of contrast and of masked words, that a slowly moving copy of the model gives (momentum distillation); 0 keeps no copy."""
    distil_decay: float = Field(0.99, ge=0, lt=1)
    """Decay per step of that copy's moving average."""
    distil_warmup_steps: int = Field(50, ge=1)
    """Steps over which the copy's share grows to `distil_weight`."""

    questions: dict[Annotated[str, Field(min_length=1)], AnswerSource] = {}
    """What may be asked of an image, and what answers it: `label`, or a regular expression with one group that is searched in the caption."""
    most_answers: int = Field(3129, ge=2)
    """Answers of a question at most, the most frequent ones."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "FusionConfig":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads ({self.heads}): change one of them")
        return self


FAMILY = Family(
    config=FusionConfig,
    model="components.models.fusion.model:Fusion",
    modality=("image-text",),
    cost_per_step=5.0,
    primary="recall_at_1",
    goal="max",
    guards=("matching_accuracy", "masked_word_accuracy"),
    gates={"recall_at_1": {"min": 0.05}, "matching_accuracy": {"min": 0.5}},
    sizes={
        "small": {
            "max_steps": 10_000,
            "batch_size": 256,
            "learning_rate": 7e-4,
            "warmup_steps": 500,
            "ema_decay": 0.999,
            "vocab_size": 4096,
            "caption_length": 48,
            "width": 256,
            "heads": 8,
            "text_layers": 3,
            "fusion_layers": 3,
            "embedding_dim": 128,
            "working_side": 32,
            "image_width": 64,
            "max_image_width": 256,
            "image_layers": 2,
            "fused_rows": 128,
            "align_steps": 1000,
            "distil_weight": 0.4,
            "distil_decay": 0.995,
            "distil_warmup_steps": 1000,
            "sample_every": 1000,
            "validate_every": 500,
            "checkpoint_every": 500,
        },
        "base": {
            "max_steps": 100_000,
            "batch_size": 512,
            "learning_rate": 1e-4,
            "warmup_steps": 2000,
            "ema_decay": 0.9995,
            "vocab_size": 32_768,
            "caption_length": 64,
            "width": 768,
            "heads": 12,
            "text_layers": 6,
            "fusion_layers": 6,
            "embedding_dim": 256,
            "image_tower": "patches",
            "image_layers": 12,
            "patch": 16,
            "mask_rate": 0.15,
            "fused_rows": 512,
            "distil_weight": 0.4,
            "distil_decay": 0.995,
            "distil_warmup_steps": 10_000,
            "sample_every": 5000,
            "validate_every": 2500,
            "checkpoint_every": 2500,
        },
    },
    search_space={
        "learning_rate": {"low": 3e-4, "high": 5e-3, "log": True},
        "shape": {"choices": ["align", "single-stream", "two-stream"]},
        "fusion_layers": {"choices": [1, 2, 3]},
        "masked_weight": {"low": 0.1, "high": 1.0},
        "distil_weight": {"choices": [0.0, 0.4]},
    },
    loss_settings=(
        "shape",
        "batch_size",
        "contrastive_weight",
        "matching_weight",
        "masked_weight",
        "answer_weight",
        "mask_rate",
        "distil_weight",
        "hardness",
        "temperature",
        "questions",
    ),
    summary="encodes image and text together: tells pairs from strangers, answers questions about images, fills gaps in captions",
    intended_use="Ranking and judging images against texts, and answering the questions that it was trained with.",
    limits="Knows only its own questions and the answers of its training split; a matching probability is against a wrong partner that is much alike.",
)
