"""Batches of text: `tokens` int64 [B, T + 1], windows of the stream of all documents, each document behind an end-of-text mark."""

import hashlib
import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor

from components.data.dataset import Dataset, Split
from components.errors import UserError, nearest
from components.models.capabilities import DataSpec
from components.models.family import TrainingConfig
from components.models.prompting import WITHHELD, control_token
from components.models.token_rows import ROW, Marks, encodings, token_rows
from components.training.datamodules import Batch, EpochOrder, epoch_generator
from components.training.progress import say

END_OF_TEXT = "<|endoftext|>"
"""What the tokenizer of a causal model puts before every text, as token 0."""
DOCUMENT = Marks((END_OF_TEXT,), f"{END_OF_TEXT} $A")
Recipe = partial[Tokenizer]
"""Makes a tokenizer of texts; its settings are its keywords."""
MOST_VALUES = 1000
"""By which texts can be controlled."""
_BYTES = 256
EXAMPLES = 4
EXAMPLE_CHARS = 100
"""Of a passage that is kept as an example, at most."""
_LEAST_CHARS = 16
"""Shorter lines are headings and the like."""
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
class ControlConfig(Protocol):
    """What a family has in its config besides whose texts may be controlled by a value."""

    control: str
    control_dropout: float


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
    recipe = recipe_of(config, control_values(dataset, config))
    tokenizer = kept_tokenizer(dataset, lambda: documents(dataset, "train", augmented=False), recipe, cache)
    if words and tokenizer.get_vocab_size() <= len(cast(TextConfig, config).special_tokens):
        raise UserError(
            f"Dataset {dataset.name!r} has no word that stands at least {words.min_count} times in its training split: lower min_count, or add text."
        )
    counts = _counts(tokenizer, documents(dataset, "train", augmented=True)) if words else ()
    return DataSpec(
        modality="text", vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str(), token_counts=counts, class_names=control_values(dataset, config),
        example_texts=_examples(dataset, tokenizer, cast(TextConfig, config).context_length // 2),
    )  # fmt: skip


def _examples(dataset: Dataset, tokenizer: Tokenizer, most_tokens: int) -> tuple[str, ...]:
    """Of some documents the first line that is more than a heading; none that has what reads like a mark."""
    marks = [added.content for added in tokenizer.get_added_tokens_decoder().values()]
    texts = documents(dataset, "validation", augmented=False) or documents(dataset, "train", augmented=False)
    lines = [next((line.strip() for line in text.splitlines() if len(line.strip()) >= _LEAST_CHARS), text) for text in texts]
    chosen = spread_examples([line for line in lines if not any(mark in line for mark in marks)], EXAMPLE_CHARS)
    offsets = [tokenizer.encode(text, add_special_tokens=False).offsets for text in chosen]
    cut = (text if len(found) <= most_tokens else text[: found[most_tokens][0]].rstrip() for text, found in zip(chosen, offsets, strict=True))
    return tuple(filter(None, cut))


def spread_examples(texts: Sequence[str], most_chars: int) -> tuple[str, ...]:
    """The beginnings of some of ``texts``, evenly spread over them, cut before a blank where there is one; none twice, and no blank one."""
    beginnings = (text if len(text) <= most_chars else text[:most_chars].rsplit(" ", 1)[0] for text in map(str.strip, texts))
    distinct = list(dict.fromkeys(filter(None, beginnings)))
    return tuple(distinct[:: max(1, math.ceil(len(distinct) / EXAMPLES))])


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


def control_values(dataset: Dataset, config: TrainingConfig) -> tuple[str, ...]:
    """The values of the column that texts are controlled by, as the training split has them; none where the family asks for none.

    Raises:
        UserError: there is no such column, or it has no value or too many.
    """
    if not (isinstance(config, ControlConfig) and config.control):
        return ()
    values = tuple(sorted({value for value in _control_column(dataset, "train", config.control) if value}))
    if not values or len(values) > MOST_VALUES:
        raise UserError(
            f"The column {config.control!r} of dataset {dataset.name!r} has {len(values):,} values, and control takes 1 to {MOST_VALUES:,}: "
            "choose another column, or leave control out."
        )
    if _BYTES + 2 + len(values) > cast(TextConfig, config).vocab_size:
        raise UserError(
            f"{len(values):,} values of {config.control!r} do not fit into the vocabulary: raise vocab_size to at least {_BYTES + 2 + len(values):,}."
        )
    return values


def control_tokens(dataset: Dataset, split: Split, control: str, values: tuple[str, ...], augmented: bool) -> list[int]:
    """Of each document the token of its value; one that the training split does not have is not told."""
    known = {value: control_token(index) for index, value in enumerate(values)}
    return [known.get(value or "", WITHHELD) for value in _control_column(dataset, split, control, augmented)]


def _control_column(dataset: Dataset, split: Split, control: str, augmented: bool = False) -> list[str | None]:
    table = dataset.table(split, augmented=augmented)
    texts = [field.name for field in table.schema if str(field.type) in ("string", "large_string") and field.name not in ("id", "text", "parent_id", "split")]
    if control not in texts:
        raise UserError(f"Dataset {dataset.name!r} has no column {control!r} to control texts by; {nearest(control, texts)}")
    return cast(list[str | None], table[control].to_pylist())


class TextBatches:
    """The token streams in memory. Each epoch cuts the training stream at another phase and deals the windows in another order.

    Where texts are controlled, each document has the token of its value behind its mark, and a window that begins within a document has that token in
    place of its first one.
    """

    def __init__(self, dataset: Dataset, config: TextConfig, data_spec: DataSpec, seed: int) -> None:
        self.batch_size, self.length, self.seed = config.batch_size, config.context_length, seed
        tokenizer = Tokenizer.from_str(data_spec.tokenizer)
        controlled = config if isinstance(config, ControlConfig) and data_spec.class_names else None
        self._withheld, self._last_control = controlled.control_dropout if controlled else 0.0, WITHHELD + len(data_spec.class_names)

        def streamed(split: Split, augmented: bool) -> _Stream:
            texts = documents(dataset, split, augmented)
            told = control_tokens(dataset, split, controlled.control, data_spec.class_names, augmented) if controlled else None
            return _Stream.of(tokenizer, texts, told)

        self._train, self._originals, self._validation = streamed("train", True), streamed("train", False), streamed("validation", False)
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
        tokens = self._train.windows(torch.tensor(starts), self.length)
        if self._withheld:
            dropped = torch.rand(len(tokens), generator=epoch_generator(self.seed + 2, step)) < self._withheld
            told = (tokens >= WITHHELD) & (tokens <= self._last_control)
            tokens[told & dropped[:, None]] = WITHHELD
        return {"tokens": tokens}

    def validation(self) -> Iterator[Batch]:
        return self._in_order(self._validation)

    def originals(self) -> Iterator[Batch]:
        return self._in_order(self._originals)

    def _phase(self, epoch: int) -> int:
        return int(torch.randint(self.length, (), generator=epoch_generator(self.seed + 1, epoch)))

    def _in_order(self, stream: "_Stream") -> Iterator[Batch]:
        """Windows that follow one another; the last tokens that fill no window are left out."""
        length = min(self.length, len(stream) - 1)
        if length < 1:
            return
        starts = torch.arange(0, len(stream) - length, length)
        for chunk in starts.split(max(1, UNTRAINED_TOKENS // length)):
            yield {"tokens": stream.windows(chunk, length)}


class _Stream(NamedTuple):
    tokens: Tensor
    """int64 [all tokens]; each text begins with the end-of-text mark."""
    leads: Tensor | None
    """Of each place the token that says by what the document there is controlled."""

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def of(cls, tokenizer: Tokenizer, texts: list[str], told: Sequence[int] | None) -> "_Stream":
        if told is None:
            return cls(_stream(tokenizer, texts), None)
        tokens, lengths = array("q"), array("q")
        for encoding, lead in zip(encodings(tokenizer, texts), told, strict=True):
            mark, *text = encoding.ids
            tokens.extend((mark, lead, *text))
            lengths.append(len(text) + 2)
        return cls(_as_tensor(tokens), torch.repeat_interleave(torch.tensor(told, dtype=torch.int64), _as_tensor(lengths)))

    def windows(self, starts: Tensor, length: int) -> Tensor:
        """[N, length + 1]"""
        found = self.tokens[starts[:, None] + torch.arange(length + 1)]
        if self.leads is not None:
            found[:, 0] = torch.where(found[:, 0] == 0, 0, self.leads[starts])
        return found


def _stream(tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """int64 [all tokens]; each text begins with the end-of-text mark."""
    tokens = array("q")
    for encoding in encodings(tokenizer, texts):
        tokens.extend(encoding.ids)
    return _as_tensor(tokens)


def _as_tensor(numbers: "array[int]") -> Tensor:
    """int64; an array takes eight bytes for a number, where a list takes up to five times as many."""
    return torch.from_numpy(np.array(numbers))


def recipe_of(config: TrainingConfig, values: tuple[str, ...] = ()) -> Recipe:
    """How the family's tokenizer is made: of whole words, or of byte pairs, with a mark for each of the values that texts are controlled by."""
    wanted = cast(TextConfig, config)
    if isinstance(config, WordConfig):
        return partial(train_words, vocab_size=wanted.vocab_size, special_tokens=wanted.special_tokens, min_count=config.min_count)
    return partial(train_tokenizer, vocab_size=wanted.vocab_size, marks=marks_of((*wanted.special_tokens, *_control_marks(config, values))))


def _control_marks(config: TrainingConfig, values: tuple[str, ...]) -> tuple[str, ...]:
    return ("<|any|>", *(f"<|{cast(ControlConfig, config).control}: {value}|>" for value in values)) if values else ()


def marks_of(names: tuple[str, ...]) -> Marks:
    """[CLS] and [SEP] stand round every text where they are among ``names``, the marks of a row where it has those, else the first one stands before it."""
    if names == ROW.names:
        return ROW
    return Marks(names, "[CLS] $A [SEP]" if {"[CLS]", "[SEP]"} <= set(names) else f"{names[0]} $A")


def _counts(tokenizer: Tokenizer, texts: list[str]) -> tuple[int, ...]:
    return tuple(torch.bincount(_stream(tokenizer, texts), minlength=tokenizer.get_vocab_size()).tolist())


def _digest(recipe: Recipe) -> str:
    """Of how a tokenizer is made, so that another recipe finds another file: what it makes of next to no text, and its settings."""
    return hashlib.sha256(f"{recipe(['a a a']).to_str()} {recipe.keywords}".encode()).hexdigest()
