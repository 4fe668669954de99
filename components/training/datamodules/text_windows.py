"""Batches of windows of a token stream."""

from collections.abc import Iterator

import torch
from tokenizers import Tokenizer

from components.data.dataset import Dataset, Split
from components.errors import UserError
from components.models.prompting import WITHHELD
from components.training.datamodules import Batch
from components.training.datamodules.order import EpochOrder, epoch_generator
from components.training.datamodules.token_files import Telling, TokenFile, token_file

UNTRAINED_TOKENS = 8192
"""Tokens per batch where no gradient is taken."""


class TextBatches:
    """Windows of the token streams on disk. Each epoch cuts the training stream at another phase and deals the windows in another order.

    Where texts are controlled, each document has the token of its value behind its mark, and a window that begins within a document has that token in
    place of its first one; in a share ``withheld`` of the training windows it is not told.
    """

    def __init__(
        self, dataset: Dataset, tokenizer: Tokenizer, *, batch_size: int, length: int, seed: int, telling: Telling | None = None, withheld: float = 0.0
    ) -> None:
        self.batch_size, self.length, self.seed = batch_size, length, seed
        self._dataset, self._tokenizer, self._telling, self._withheld = dataset, tokenizer, telling, withheld
        self._train = self._stream("train", augmented=True)
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
        tokens = self._train.windows([row * self.length + self._phase(epoch) for epoch, row in self._order.draws(step, self.batch_size)], self.length)
        if self._telling and self._withheld:
            dropped = torch.rand(len(tokens), generator=epoch_generator(self.seed + 2, step)) < self._withheld
            told = (tokens >= WITHHELD) & (tokens <= WITHHELD + len(self._telling.tokens))
            tokens[told & dropped[:, None]] = WITHHELD
        return {"tokens": tokens}

    def validation(self) -> Iterator[Batch]:
        return self._in_order(self._validation)

    def originals(self) -> Iterator[Batch]:
        return self._in_order(self._stream("train", augmented=False))

    def close(self) -> None:
        """Nothing runs in the background."""

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
