"""Skip-gram with negative sampling and subsampling of frequent words (Mikolov et al. 2013, "Distributed Representations of Words and Phrases").

All pairs of a step share their noise words: one matrix product instead of a draw per pair, with the same expected loss.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn.functional import softplus

from components.models.capabilities import DataSpec
from components.models.layers.optimisation import adamw, warm_linear
from components.models.layers.vectors import combine, nearest
from components.models.word2vec.config import Word2VecConfig

Batch = dict[str, Tensor]


class Pairs(NamedTuple):
    """Words and what stands near them in one batch."""

    centres: Tensor
    """[P] words."""
    contexts: Tensor
    """[P] the word near each of them."""


class Word2Vec(pl.LightningModule):
    """A vector per word as it predicts, and another one as it is predicted; the first ones are the result."""

    noise: Tensor
    """[V] probabilities of the noise words."""
    keep: Tensor
    """[V] probability that a word is not left out of a step; 0 for marks and unknown words."""

    def __init__(self, config: Word2VecConfig, data: DataSpec) -> None:
        super().__init__()
        assert len(data.token_counts) == data.vocab_size, "the data does not say how often each word stands in it"
        self.config, self.data = config, data
        counts = torch.tensor(data.token_counts, dtype=torch.float64)
        counts[: len(config.special_tokens)] = 0
        shares = counts / counts.sum().clamp(min=1)
        powered = torch.where(counts > 0, counts.pow(config.noise_power), 0.0)
        self.register_buffer("noise", (powered / powered.sum().clamp(min=1)).float())
        self.register_buffer("keep", torch.where(counts > 0, (config.subsample / shares).sqrt().clamp(max=1), 0.0).float())
        self.words = nn.Embedding(data.vocab_size, config.width)
        self.contexts = nn.Embedding(data.vocab_size, config.width)
        # As in the authors' code: every score is 0 at first, and the loss that of guessing.
        nn.init.uniform_(self.words.weight, -0.5 / config.width, 0.5 / config.width)
        nn.init.zeros_(self.contexts.weight)

    def forward(self, words: Tensor) -> Tensor:
        """The vectors [..., D] of ``words`` [...]."""
        vectors: Tensor = self.words(words)
        return vectors

    # -- training ------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        loss = self._loss(self._pairs(batch["tokens"]))
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self.log("validation/loss", self._loss(self._pairs(batch["tokens"])), prog_bar=True, batch_size=len(batch["tokens"]))

    def _pairs(self, tokens: Tensor) -> Pairs:
        """The pairs of windows [N, T]: frequent words are thinned out first, so that a window reaches over the gaps they leave."""
        kept = torch.rand(tokens.shape, device=tokens.device) < self.keep[tokens]
        order = (~kept).long().argsort(dim=1, stable=True)
        tokens, kept = tokens.gather(1, order), kept.gather(1, order)
        reach = torch.randint(1, self.config.window + 1, tokens.shape, device=tokens.device)
        centres, contexts = [], []
        for offset in range(1, min(self.config.window, tokens.size(1) - 1) + 1):
            left, right, there = tokens[:, :-offset], tokens[:, offset:], kept[:, offset:]  # what is kept stands in front
            forward, backward = there & (reach[:, :-offset] >= offset), there & (reach[:, offset:] >= offset)
            centres += [left[forward], right[backward]]
            contexts += [right[forward], left[backward]]
        return Pairs(torch.cat(centres), torch.cat(contexts))

    def _loss(self, pairs: Pairs) -> Tensor:
        """Mean over the pairs, in nats: telling the true word, and as many noise words as ``negatives``, from one another."""
        noise = self.contexts(torch.multinomial(self.noise, self.config.shared_noise, replacement=True))
        # Words that stand in several pairs meet the noise once, weighed by their number of pairs.
        distinct, counts = pairs.centres.unique(return_counts=True)
        true = softplus(-(self.words(pairs.centres) * self.contexts(pairs.contexts)).sum(-1)).sum()
        false = (softplus(self.words(distinct) @ noise.mT).mean(dim=1) * counts).sum() * self.config.negatives
        return (true + false) / max(1, len(pairs.centres))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        config = self.config
        return adamw(self, config, lambda step: warm_linear(step, config.warmup_steps, config.max_steps, config.cooldown))

    # -- capabilities --------------------------------------------------------------------------------------------

    def token_vectors(self) -> Tensor:
        return self.words.weight.detach()

    @torch.no_grad()
    def related_words(self, plus: Sequence[int], minus: Sequence[int], num: int) -> list[tuple[int, float]]:
        vectors = self.token_vectors()
        left_out = [*range(len(self.config.special_tokens)), *plus, *minus]
        return nearest(vectors, combine(vectors, plus, minus), num, left_out)

    @torch.no_grad()
    def context_log_probabilities(self, words: Tensor) -> Tensor:
        """At its optimum a score is the log of how much likelier a word is here than in the noise, less a constant (Levy and Goldberg 2014, section 3.1)."""
        scores = self.words(words) @ self.contexts.weight.mT
        known = self.noise > 0
        prior = torch.where(known, self.noise.clamp(min=1e-30).log() - self.keep.clamp(min=1e-30).log(), -torch.inf)
        return (scores + prior).log_softmax(dim=-1)
