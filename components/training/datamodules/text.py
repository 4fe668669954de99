"""Batches of text: `tokens` int64 [B, T + 1], windows of the stream of all documents, each document behind an end-of-text mark."""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from components.atomic import write_atomically
from components.cache import mark_used
from components.data.augmenting.passages import PassageChanges
from components.data.dataset import Dataset
from components.errors import UserError, nearest
from components.models.capabilities import DataSpec
from components.models.family import TrainingConfig
from components.models.prompting import WITHHELD, control_token
from components.models.token_rows import ROW, Marks
from components.training.datamodules.text_windows import TextBatches
from components.training.datamodules.texts import example_rows, texts_of, vocabulary_texts
from components.training.datamodules.token_files import Telling, token_file

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
    words, values = config if isinstance(config, WordConfig) else None, control_values(dataset, config)
    tokenizer = kept_tokenizer(dataset, lambda: vocabulary_texts(dataset, "text"), recipe_of(config, values), cache)
    if words and tokenizer.get_vocab_size() <= len(cast(TextConfig, config).special_tokens):
        raise UserError(
            f"Dataset {dataset.name!r} has no word that stands at least {words.min_count} times in its training split: lower min_count, or add text."
        )
    counts = token_file(dataset, "train", tokenizer, augmented=True).counts(tokenizer.get_vocab_size()) if words else ()
    return DataSpec(
        modality="text", vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str(), token_counts=counts, class_names=values,
        example_texts=_examples(dataset, tokenizer, cast(TextConfig, config).context_length // 2),
    )  # fmt: skip


def _examples(dataset: Dataset, tokenizer: Tokenizer, most_tokens: int) -> tuple[str, ...]:
    """Of some documents the first line that is more than a heading; none that has what reads like a mark."""
    marks = [added.content for added in tokenizer.get_added_tokens_decoder().values()]
    texts = example_rows(dataset, "validation" if dataset.shards("validation") else "train", "text")
    lines = (next((line.strip() for line in text.splitlines() if len(line.strip()) >= _LEAST_CHARS), text) for text in texts)
    chosen = spread_examples((line for line in lines if not any(mark in line for mark in marks)), EXAMPLE_CHARS)
    offsets = [tokenizer.encode(text, add_special_tokens=False).offsets for text in chosen]
    cut = (text if len(found) <= most_tokens else text[: found[most_tokens][0]].rstrip() for text, found in zip(chosen, offsets, strict=True))
    return tuple(filter(None, cut))


def spread_examples(texts: Iterable[str], most_chars: int) -> tuple[str, ...]:
    """The beginnings of some of ``texts``, evenly spread over them, cut before a blank where there is one; none twice, and no blank one."""
    beginnings = (text if len(text) <= most_chars else text[:most_chars].rsplit(" ", 1)[0] for text in map(str.strip, texts))
    distinct = list(dict.fromkeys(filter(None, beginnings)))
    return tuple(distinct[:: max(1, math.ceil(len(distinct) / EXAMPLES))])


def prepare(dataset: Dataset, config: TrainingConfig, data_spec: DataSpec, seed: int, changes: PassageChanges | None = None) -> TextBatches:
    wanted, controlled = cast(TextConfig, config), config if isinstance(config, ControlConfig) and data_spec.class_names else None
    telling = None
    if controlled:
        tokens = {value: control_token(index) for index, value in enumerate(data_spec.class_names)}
        telling = Telling(controlled.control, tokens, WITHHELD)
    return TextBatches(
        dataset, Tokenizer.from_str(data_spec.tokenizer), batch_size=wanted.batch_size, length=wanted.context_length, seed=seed,
        telling=telling, withheld=controlled.control_dropout if controlled else 0.0, changes=changes,
    )  # fmt: skip


def kept_tokenizer(dataset: Dataset, texts: Callable[[], Iterable[str]], recipe: Recipe, cache: Path) -> Tokenizer:
    """The tokenizer that ``recipe`` makes of ``texts`` of ``dataset``; made once per data version and recipe, then kept in ``cache``."""
    file = cache / "tokenizers" / f"{dataset.manifest.sha256[:16]}-{_digest(recipe)[:16]}.json"
    if file.is_file():
        mark_used(file)
        return Tokenizer.from_file(str(file))
    tokenizer = recipe(texts())
    write_atomically(file, lambda scratch: tokenizer.save(str(scratch)))
    return tokenizer


def rows_recipe(vocab_size: int) -> Recipe:
    """Byte pairs for texts that are rows of their own."""
    return partial(train_tokenizer, vocab_size=vocab_size, marks=ROW)


def train_tokenizer(texts: Iterable[str], vocab_size: int, marks: Marks = DOCUMENT) -> Tokenizer:
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


def train_words(texts: Iterable[str], vocab_size: int, special_tokens: Sequence[str], min_count: int) -> Tokenizer:
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


def control_values(dataset: Dataset, config: TrainingConfig) -> tuple[str, ...]:
    """The values of the column that texts are controlled by, as the training split has them; none where the family asks for none.

    Raises:
        UserError: there is no such column, or it has no value or too many.
    """
    if not (isinstance(config, ControlConfig) and config.control):
        return ()
    found: set[str] = set()
    for value in texts_of(dataset, "train", _control_column(dataset, config.control)):
        found.update({value} if value else ())
        if len(found) > MOST_VALUES:
            break
    if not found or len(found) > MOST_VALUES:
        raise UserError(
            f"The column {config.control!r} of dataset {dataset.name!r} has {f'more than {MOST_VALUES:,}' if found else 'no'} values, and control takes 1 to "
            f"{MOST_VALUES:,}: choose another column, or leave control out."
        )
    values = tuple(sorted(found))
    if _BYTES + 2 + len(values) > cast(TextConfig, config).vocab_size:
        raise UserError(
            f"{len(values):,} values of {config.control!r} do not fit into the vocabulary: raise vocab_size to at least {_BYTES + 2 + len(values):,}."
        )
    return values


def _control_column(dataset: Dataset, control: str) -> str:
    kinds = dataset.manifest.columns
    texts = [name for name, kind in kinds.items() if kind in ("string", "large_string") and name not in ("id", "text", "parent_id", "split")]
    if control not in texts:
        raise UserError(f"Dataset {dataset.name!r} has no column {control!r} to control texts by; {nearest(control, texts)}")
    return control


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


def _digest(recipe: Recipe) -> str:
    """Of how a tokenizer is made, so that another recipe finds another file: what it makes of next to no text, and its settings."""
    return hashlib.sha256(f"{recipe(['a a a']).to_str()} {recipe.keywords}".encode()).hexdigest()
