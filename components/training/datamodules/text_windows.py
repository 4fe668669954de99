"""Batches of windows of a token stream."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from components.data.augmenting.passages import HIDDEN, PassageChanges, hidden_spans
from components.data.dataset import Dataset, Split
from components.data.modalities import rng_seed
from components.errors import UserError
from components.models.prompting import WITHHELD
from components.training.datamodules import Batch
from components.training.datamodules.order import EpochOrder, epoch_generator
from components.training.datamodules.token_files import ShuffledTexts, Telling, TokenFile, token_file

UNTRAINED_TOKENS = 8192
"""Tokens per batch where no gradient is taken."""


class TextBatches:
    """Windows of the token streams on disk. Each epoch cuts the training stream at another phase and deals the windows in another order.

    Where texts are controlled, each document has the token of its value behind its mark, and a window that begins within a document has that token in
    place of its first one; in a share ``withheld`` of the training windows it is not told. With ``changes`` the training stream is one of passages in
    a new order each epoch, and some tokens are hidden, others in each epoch.
    """

    def __init__(
        self, dataset: Dataset, tokenizer: Tokenizer, *, batch_size: int, length: int, seed: int, telling: Telling | None = None, withheld: float = 0.0,
        changes: PassageChanges | None = None,
    ) -> None:  # fmt: skip
        self.batch_size, self.length, self.seed = batch_size, length, seed
        self._dataset, self._tokenizer, self._telling, self._withheld = dataset, tokenizer, telling, withheld
        self._changes = changes
        self._train = token_file(dataset, "train", tokenizer, augmented=True, telling=telling, chunk_chars=changes.chunk_chars if changes else None)
        self._shuffled = lru_cache(maxsize=2)(self._of_epoch)
        self._validation = self._stream("validation", augmented=False)
        # A window less than the stream holds, so that every phase has room for as many.
        windows = (len(self._train) - 1) // length - 1
        if windows < 1:
            raise UserError(
                f"Dataset {dataset.name!r} has {len(self._train):,} tokens to train on, too few for windows of {length}: "
                f"add text, or set context_length below {max(2, len(self._train) // 2)}."
            )
        self._order = EpochOrder(windows, seed)

    def train(self, step: int) -> Batch:
        draws = self._order.draws(step, self.batch_size)
        tokens = torch.cat([self._drawn(epoch, [row for _, row in group]) for epoch, group in groupby(draws, key=itemgetter(0))])
        if self._telling and self._withheld:
            dropped = torch.rand(len(tokens), generator=epoch_generator(self.seed + 2, step)) < self._withheld
            told = (tokens >= WITHHELD) & (tokens <= WITHHELD + len(self._telling.tokens))
            tokens[told & dropped[:, None]] = WITHHELD
        if self._changes and self._changes.mask:
            self._hide(tokens, self._changes, draws)
        return {"tokens": tokens}

    def validation(self) -> Iterator[Batch]:
        return self._in_order(self._validation)

    def originals(self) -> Iterator[Batch]:
        return self._in_order(self._stream("train", augmented=False))

    def close(self) -> None:
        """Nothing runs in the background."""

    def _drawn(self, epoch: int, rows: Sequence[int]) -> Tensor:
        """The windows ``rows`` of an epoch."""
        phase = self._phase(epoch)
        stream = self._shuffled(epoch) if self._changes and self._changes.shuffle else self._train
        return stream.windows((row * self.length + phase for row in rows), self.length)

    def _of_epoch(self, epoch: int) -> ShuffledTexts:
        assert self._changes is not None
        return ShuffledTexts(self._train, torch.Generator().manual_seed(rng_seed(self._changes.seed, self.seed, epoch, "order") >> 1))

    def _hide(self, tokens: Tensor, changes: PassageChanges, draws: Sequence[tuple[int, int]]) -> None:
        """Put the sign of what is hidden in place of some tokens; marks stay."""
        sign = self._tokenizer.encode(HIDDEN, add_special_tokens=False).ids[0]
        seeds = (rng_seed(changes.seed, self.seed, *draw) for draw in draws)
        hidden = torch.from_numpy(np.stack([hidden_spans(tokens.size(1), changes, seed) for seed in seeds]))
        marks = torch.tensor(sorted(self._tokenizer.get_added_tokens_decoder()))
        tokens[hidden & ~torch.isin(tokens, marks)] = sign

    def _stream(self, split: Split, *, augmented: bool) -> TokenFile:
        return token_file(self._dataset, split, self._tokenizer, augmented=augmented, telling=self._telling)

    def _phase(self, epoch: int) -> int:
        return int(torch.randint(self.length, (), generator=epoch_generator(self.seed + 1, epoch)))

    def _in_order(self, stream: TokenFile) -> Iterator[Batch]:
        """Windows that follow one another; the last tokens that fill no window are left out."""
        length = min(self.length, len(stream) - 1)
        if length < 1:
            return
        starts, at_once = range(0, len(stream) - length, length), max(1, UNTRAINED_TOKENS // length)
        for first in range(0, len(starts), at_once):
            yield {"tokens": stream.windows(starts[first : first + at_once], length)}
