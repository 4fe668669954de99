"""Batches of text: `tokens` int64 [B, T + 1], windows of the stream of all documents, each document behind an end-of-text mark."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor

from components.data.dataset import Dataset, Split
from components.errors import UserError
from components.models.capabilities import DataSpec
from components.models.family import TrainingConfig
from components.models.token_rows import ROW, Marks, token_rows
from components.training.datamodules import Batch, EpochOrder, epoch_generator
from components.training.progress import say

END_OF_TEXT = "<|endoftext|>"
"""What the tokenizer of a causal model puts before every text, as token 0."""
DOCUMENT = Marks((END_OF_TEXT,), f"{END_OF_TEXT} $A")
Recipe = partial[Tokenizer]
"""Makes a tokenizer of texts; its settings are its keywords."""
UNTRAINED_TOKENS = 8192
"""Tokens per batch where no gradient is taken."""


class TextConfig(Protocol):
    """What a family that reads text has in its config."""

    batch_size: int
    vocab_size: int
    context_length: int
    special_tokens: tuple[str, ...]
    """The first entries of the vocabulary, in order."""


@runtime_checkable
class WordConfig(Protocol):
    """What a family has in its config besides whose vocabulary is of whole words."""

    min_count: int


def describe(dataset: Dataset, config: TrainingConfig, cache: Path) -> DataSpec:
    """The vocabulary of the training split.

    Raises:
        UserError: no word stands often enough in the training split.
    """
    words = config if isinstance(config, WordConfig) else None
    tokenizer = kept_tokenizer(dataset, lambda: documents(dataset, "train", augmented=False), recipe_of(config), cache)
    if words and tokenizer.get_vocab_size() <= len(cast(TextConfig, config).special_tokens):
        raise UserError(
            f"Dataset {dataset.name!r} has no word that stands at least {words.min_count} times in its training split: lower min_count, or add text."
        )
    counts = _counts(tokenizer, documents(dataset, "train", augmented=True)) if words else ()
    return DataSpec(modality="text", vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str(), token_counts=counts)


def prepare(dataset: Dataset, config: TrainingConfig, data_spec: DataSpec, seed: int) -> "TextBatches":
    return TextBatches(dataset, cast(TextConfig, config), data_spec, seed)


def kept_tokenizer(dataset: Dataset, texts: Callable[[], list[str]], recipe: Recipe, cache: Path) -> Tokenizer:
    """The tokenizer that ``recipe`` makes of ``texts`` of ``dataset``; made once per data version and recipe, then kept in ``cache``."""
    file = cache / "tokenizers" / f"{dataset.manifest.sha256[:16]}-{_digest(recipe)[:16]}.json"
    if file.is_file():
        return Tokenizer.from_file(str(file))
    tokenizer = recipe(texts())
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(".tmp")
    tokenizer.save(str(scratch))
    scratch.replace(file)
    return tokenizer


def rows_recipe(vocab_size: int) -> Recipe:
    """Byte pairs for texts that are rows of their own."""
    return partial(train_tokenizer, vocab_size=vocab_size, marks=ROW)


def train_tokenizer(texts: list[str], vocab_size: int, marks: Marks = DOCUMENT) -> Tokenizer:
    """Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019): every UTF-8 text comes back as it was. Tokens 0, 1, … are the marks."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # A mask takes the blank before it along, as the words that may stand there have it in them.
    names = [AddedToken(name, lstrip=name == "[MASK]", special=True) for name in marks.names]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=names, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=marks.template, special_tokens=[(name, token) for token, name in enumerate(marks.names)])
    return tokenizer


def train_words(texts: list[str], vocab_size: int, special_tokens: Sequence[str], min_count: int) -> Tokenizer:
    """Whole words in lower case, runs of letters, digits and underscores; what lies between them is dropped, and so is what stands too seldom.

    The first of ``special_tokens`` stands before every text, the second one in place of an unknown word.
    """
    mark, unknown = special_tokens
    tokenizer = Tokenizer(models.WordLevel(unk_token=unknown))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+"), behavior="removed", invert=True)
    trainer = trainers.WordLevelTrainer(vocab_size=vocab_size, min_frequency=min_count, special_tokens=list(special_tokens), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{mark} $A", special_tokens=[(mark, 0)])
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


def recipe_of(config: TrainingConfig) -> Recipe:
    """How the family's tokenizer is made: of whole words, or of byte pairs."""
    wanted = cast(TextConfig, config)
    if isinstance(config, WordConfig):
        return partial(train_words, vocab_size=wanted.vocab_size, special_tokens=wanted.special_tokens, min_count=config.min_count)
    return partial(train_tokenizer, vocab_size=wanted.vocab_size, marks=marks_of(wanted.special_tokens))


def marks_of(names: tuple[str, ...]) -> Marks:
    """[CLS] and [SEP] stand round every text where they are among ``names``, else the first one stands before it."""
    return Marks(names, "[CLS] $A [SEP]" if {"[CLS]", "[SEP]"} <= set(names) else f"{names[0]} $A")


def _counts(tokenizer: Tokenizer, texts: list[str]) -> tuple[int, ...]:
    return tuple(torch.bincount(_stream(tokenizer, texts), minlength=tokenizer.get_vocab_size()).tolist())


def _digest(recipe: Recipe) -> str:
    """Of how a tokenizer is made, so that another recipe finds another file: what it makes of next to no text, and its settings."""
    return hashlib.sha256(f"{recipe(['a a a']).to_str()} {recipe.keywords}".encode()).hexdigest()
