"""Batches of text: `tokens` int64 [B, T + 1], windows of the stream of all documents, each document behind an end-of-text mark."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, cast

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor

from components.data.dataset import Dataset, Split
from components.errors import UserError
from components.models.capabilities import DataSpec
from components.models.family import TrainingConfig
from components.models.token_rows import Marks, token_rows
from components.training.datamodules import Batch, EpochOrder, epoch_generator
from components.training.progress import say

END_OF_TEXT = "<|endoftext|>"
"""Token 0, which the tokenizer puts before every text."""
DOCUMENT = Marks((END_OF_TEXT,), f"{END_OF_TEXT} $A")
UNTRAINED_TOKENS = 8192
"""Tokens per batch where no gradient is taken."""


class TextConfig(Protocol):
    """What a family that reads text has in its config."""

    batch_size: int
    vocab_size: int
    context_length: int


def describe(dataset: Dataset, config: TrainingConfig, cache: Path) -> DataSpec:
    """The byte-pair vocabulary of the training split."""
    wanted = cast(TextConfig, config).vocab_size
    tokenizer = kept_tokenizer(dataset, lambda: documents(dataset, "train", augmented=False), wanted, cache)
    return DataSpec(modality="text", vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str())


def prepare(dataset: Dataset, config: TrainingConfig, data_spec: DataSpec, seed: int) -> "TextBatches":
    return TextBatches(dataset, cast(TextConfig, config), data_spec, seed)


def kept_tokenizer(dataset: Dataset, texts: Callable[[], list[str]], vocab_size: int, cache: Path, marks: Marks = DOCUMENT) -> Tokenizer:
    """The tokenizer of ``texts`` of ``dataset``; trained once per data version, size and recipe, then kept in ``cache``."""
    file = cache / "tokenizers" / f"{dataset.manifest.sha256[:16]}-{vocab_size}-{_recipe(marks)[:8]}.json"
    if file.is_file():
        return Tokenizer.from_file(str(file))
    tokenizer = train_tokenizer(texts(), vocab_size, marks)
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(".tmp")
    tokenizer.save(str(scratch))
    scratch.replace(file)
    return tokenizer


def train_tokenizer(texts: list[str], vocab_size: int, marks: Marks = DOCUMENT) -> Tokenizer:
    """Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019): every UTF-8 text comes back as it was. Tokens 0, 1, … are the marks."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(marks.names), initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=marks.template, special_tokens=[(name, token) for token, name in enumerate(marks.names)])
    return tokenizer


def documents(dataset: Dataset, split: Split, augmented: bool) -> list[str]:
    return cast(list[str], dataset.table(split, columns=["text"], augmented=augmented)["text"].to_pylist())


def encode_split(data_spec: DataSpec, texts: list[str], length: int, what: str, setting: str) -> Tensor:
    """``texts`` as int32 [N, length] (half the memory); says how many were cut, for which ``setting`` is to be raised."""
    rows = token_rows(data_spec.tokenizer, texts, length)
    if rows.num_cut:
        say(f"{rows.num_cut:,} of {len(texts):,} {what} have more than {length} tokens and are cut: raise {setting} to keep them whole.")
    return rows.tokens.int()


class TextBatches:
    """The token streams in memory. Each epoch cuts the training stream at another phase and deals the windows in another order."""

    def __init__(self, dataset: Dataset, config: TextConfig, data_spec: DataSpec, seed: int) -> None:
        self.batch_size, self.length, self.seed = config.batch_size, config.context_length, seed
        tokenizer = Tokenizer.from_str(data_spec.tokenizer)
        self._train = _stream(tokenizer, documents(dataset, "train", augmented=True))
        self._originals = _stream(tokenizer, documents(dataset, "train", augmented=False))
        self._validation = _stream(tokenizer, documents(dataset, "validation", augmented=False))
        # A window less than the stream holds, so that every phase has room for as many.
        windows = (len(self._train) - 1) // self.length - 1
        if windows < 1:
            raise UserError(
                f"Dataset {dataset.name!r} has {len(self._train):,} tokens to train on, too few for windows of {self.length}: "
                f"add text, or set context_length below {max(2, len(self._train) // 2)}."
            )
        self._order = EpochOrder(windows, seed)

    def train(self, step: int) -> Batch:
        starts = [row * self.length + self._phase(epoch) for epoch, row in self._order.draws(step, self.batch_size)]
        return {"tokens": self._train[torch.tensor(starts)[:, None] + torch.arange(self.length + 1)]}

    def validation(self) -> Iterator[Batch]:
        return self._in_order(self._validation)

    def originals(self) -> Iterator[Batch]:
        return self._in_order(self._originals)

    def _phase(self, epoch: int) -> int:
        return int(torch.randint(self.length, (), generator=epoch_generator(self.seed + 1, epoch)))

    def _in_order(self, stream: Tensor) -> Iterator[Batch]:
        """Windows that follow one another; the last tokens that fill no window are left out."""
        length = min(self.length, len(stream) - 1)
        if length < 1:
            return
        starts = torch.arange(0, len(stream) - length, length)
        for chunk in starts.split(max(1, UNTRAINED_TOKENS // length)):
            yield {"tokens": stream[chunk[:, None] + torch.arange(length + 1)]}


def _stream(tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """int64 [all tokens]; each text begins with the end-of-text mark."""
    encoded = tokenizer.encode_batch(texts)
    return torch.tensor([token for encoding in encoded for token in encoding.ids], dtype=torch.int64)


def _recipe(marks: Marks) -> str:
    """Digest of how a tokenizer is made, so that another recipe finds another file."""
    return hashlib.sha256(train_tokenizer([END_OF_TEXT], 256 + len(marks.names), marks).to_str().encode()).hexdigest()
