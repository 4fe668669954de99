"""The settings of the word vectors."""

from typing import ClassVar

from pydantic import Field

from components.models.family import Family, TrainingConfig


class Word2VecConfig(TrainingConfig):
    """Defaults are size `tiny`: a few hundred thousand characters of prose in seconds on one CPU core."""

    special_tokens: ClassVar[tuple[str, ...]] = ("<|endoftext|>", "[UNK]")
    """What the vocabulary begins with; neither is ever predicted, nor predicts."""

    max_steps: int = Field(1200, ge=1)
    batch_size: int = Field(16, ge=1)
    """Windows of ``context_length`` words per step."""
    learning_rate: float = Field(0.01, gt=0)
    weight_decay: float = Field(0.4, ge=0)
    """Decoupled, scaled by the learning rate. On little text a word has few neighbours, which vectors learn by heart without it."""
    warmup_steps: int = Field(20, ge=0)
    cooldown: float = Field(1.0, ge=0, le=1)
    """Last share of the steps, in which the learning rate falls linearly to zero."""
    gradient_clip: float = Field(0.0, ge=0)
    ema_decay: float = Field(0.98, ge=0, lt=1)
    sample_every: int = Field(300, ge=1)
    validate_every: int = Field(300, ge=1)
    checkpoint_every: int = Field(300, ge=1)

    vocab_size: int = Field(20_000, ge=3)
    """Words that are known at most, the most frequent ones."""
    min_count: int = Field(3, ge=1)
    """How often a word must stand in the training split to be known."""
    context_length: int = Field(256, ge=2)
    """Words of the text that a step reads at once; pairs do not reach over its ends."""
    window: int = Field(5, ge=1)
    """Words on either side that a word should predict, at most: each place draws its reach anew between 1 and this."""
    negatives: int = Field(10, ge=1)
    """Noise words per pair that the model should tell from the true one."""
    noise_power: float = Field(0.75, ge=0, le=1)
    """Noise words are drawn by their frequency to this power."""
    shared_noise: int = Field(256, ge=1)
    """Noise words that a step draws for all its pairs together; they are weighed as ``negatives`` of them."""
    subsample: float = Field(1e-3, gt=0)
    """A word of frequency f is left out of a step with probability 1 - sqrt(subsample / f), so that frequent words do not fill all windows."""
    width: int = Field(96, ge=1)
    """Length of a word's vector."""


FAMILY = Family(
    config=Word2VecConfig,
    model="components.models.word2vec.model:Word2Vec",
    modality=("text",),
    cost_per_step=0.3,
    primary="context_perplexity",
    goal="min",
    guards=("context_recall_10",),
    gates={"context_recall_10": {"min": 0.1}},
    sizes={
        "small": {
            "max_steps": 20_000,
            "batch_size": 64,
            "min_count": 5,
            "weight_decay": 0.1,
            "vocab_size": 50_000,
            "width": 200,
            "sample_every": 5000,
            "validate_every": 5000,
            "checkpoint_every": 5000,
        },
        "base": {
            "max_steps": 400_000,
            "batch_size": 256,
            "min_count": 5,
            "weight_decay": 0.0,
            "vocab_size": 400_000,
            "width": 300,
            "subsample": 1e-4,
            "shared_noise": 1024,
            "ema_decay": 0.999,
            "sample_every": 50_000,
            "validate_every": 50_000,
            "checkpoint_every": 50_000,
        },
    },
    search_space={
        "learning_rate": {"low": 5e-4, "high": 2e-2, "log": True},
        "window": {"low": 2, "high": 10},
        "negatives": {"low": 5, "high": 20},
        "subsample": {"low": 1e-4, "high": 1e-2, "log": True},
    },
    loss_settings=("vocab_size", "min_count", "context_length", "window", "negatives", "noise_power", "subsample"),
    summary="gives each word a vector and names its neighbours",
    intended_use="Looking for words that are used alike, and first layers of other models of the same text.",
    limits="One vector per written word, whatever its sense; words that the training text has seldom are unknown, and rare ones have poor neighbours.",
)
