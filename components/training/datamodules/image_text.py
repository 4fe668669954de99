"""Batches of captioned images: `image` and `label` as in `image.py`; of the captions `tokens` int64 [B, T] and `mask` bool [B, T], False behind their ends.

Where the family asks questions: `answers` int64 [B, Q], the place of each question's answer in `Question.answers`, -1 where it has none of them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from tokenizers import Tokenizer
from torch import Tensor

from components.data.augmenting.wording import CaptionedChanges, filled
from components.data.dataset import Dataset, Split
from components.data.modalities import rng_seed
from components.errors import UserError
from components.models.capabilities import DataSpec, Question
from components.models.family import ImageTextTrainingConfig, TrainingConfig
from components.models.questions import ANSWERING, answer_places, answers_in
from components.models.token_rows import ROW, mask_of, plain_reader, token_rows
from components.training.datamodules import Batch, image, require_a_batch
from components.training.datamodules.encoding import encoded
from components.training.datamodules.image import ImageReader, PictureAlteration
from components.training.datamodules.reading import Columns
from components.training.datamodules.rows import RowBatches
from components.training.datamodules.text import Recipe, kept_tokenizer, rows_recipe, train_tokenizer
from components.training.datamodules.texts import example_rows, texts_of, vocabulary_texts
from components.training.progress import say

if TYPE_CHECKING:
    import pyarrow as pa


@runtime_checkable
class QuestionConfig(Protocol):
    """What a family has in its config besides that asks questions about images."""

    questions: Mapping[str, str]
    """By question what answers it: `label`, or a regular expression with one group that is searched in the caption."""
    most_answers: int
    """Of a question, at most."""


EXAMPLES = 12
"""Captions that pictures of training are drawn for."""
_SHOWN: tuple[Split, ...] = ("validation", "train")
"""Where those are looked for."""


def describe(dataset: Dataset, config: TrainingConfig, cache: Path) -> DataSpec:
    """What images and captions of the training split say; added images have the captions of their originals."""
    assert isinstance(config, ImageTextTrainingConfig)
    images = image.describe(dataset, config, cache)
    questions = _questions(dataset, config) if isinstance(config, QuestionConfig) else ()
    recipe = _recipe(config.vocab_size, tuple(question.text for question in questions))
    tokenizer = kept_tokenizer(dataset, lambda: vocabulary_texts(dataset, "caption"), recipe, cache)
    _require_room(tokenizer, questions, config.caption_length)
    characters = "".join(sorted(_characters(texts_of(dataset, "train", "caption"))))
    return replace(
        images, modality="image-text", vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str(), questions=questions,
        example_captions=_examples(dataset, tokenizer, config.caption_length, characters), characters=characters,
    )  # fmt: skip


def prepare(dataset: Dataset, config: TrainingConfig, data_spec: DataSpec, seed: int, changes: CaptionedChanges | None = None) -> RowBatches:
    assert isinstance(config, ImageTextTrainingConfig)
    require_a_batch(dataset, config.batch_size, "images")
    reader = CaptionedReader(ImageReader.of(data_spec), data_spec, config.caption_length, changes.templates if changes else ())
    return RowBatches(
        dataset, reader, batch_size=config.batch_size, seed=seed, buffer_mib=config.buffer_mib, alteration=CaptionedAlteration(changes) if changes else None
    )


def _characters(texts: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for text in texts:
        found.update(text)
    return found


def _examples(dataset: Dataset, tokenizer: Tokenizer, length: int, characters: str) -> tuple[str, ...]:
    """The first different captions that nothing is trained on and that a user may ask for too: short enough, in ``characters`` alone.

    Of the training split where there are no such; where all are too long, the beginning of one.
    """
    reader, known = plain_reader(tokenizer.to_str()), set(characters)

    def fits(text: str) -> bool:
        return set(text) <= known and len(reader.encode(text).ids) <= length

    for split in _SHOWN:
        found = tuple(islice(_distinct(filter(fits, example_rows(dataset, split, "caption"))), EXAMPLES))
        if found:
            return found
    beginning = next(texts_of(dataset, "train", "caption"))
    while not fits(beginning):
        beginning = beginning[: 3 * len(beginning) // 4].rstrip()
    return (beginning,)


def _distinct(texts: Iterable[str]) -> Iterator[str]:
    """Each once; what it gave is held."""
    seen: set[str] = set()
    for text in texts:
        if text not in seen:
            seen.add(text)
            yield text


def _questions(dataset: Dataset, config: QuestionConfig) -> tuple[Question, ...]:
    """The questions that the training split has two answers or more to."""
    questions = []
    for text, source in config.questions.items():
        found = chain.from_iterable(answers_in(table, dataset.class_names, source) for table in dataset.tables("train", list(ANSWERING), augmented=False))
        counts = Counter(answer for answer in found if answer is not None)
        ranked = sorted(counts, key=lambda answer: (-counts[answer], answer))[: config.most_answers]
        if len(ranked) > 1:
            questions.append(Question(text, source, tuple(ranked)))
        else:
            say(f"The question {text!r} is left out: {source!r} finds {len(ranked)} different answers in {dataset.name!r}, two are needed.")
    return tuple(questions)


def _recipe(vocab_size: int, questions: tuple[str, ...]) -> Recipe:
    return partial(_train_with_questions, vocab_size=vocab_size, questions=questions) if questions else rows_recipe(vocab_size)


def _train_with_questions(texts: Iterable[str], vocab_size: int, questions: tuple[str, ...]) -> Tokenizer:
    """A question is read as often as a caption, so its words count as often."""
    return train_tokenizer(_with_questions(texts, questions), vocab_size=vocab_size, marks=ROW)


def _with_questions(texts: Iterable[str], questions: tuple[str, ...]) -> Iterator[str]:
    num = 0
    for num, text in enumerate(texts, start=1):  # noqa: B007 - the last number is how many there were
        yield text
    for asked in repeat(questions, max(1, num // len(questions))):
        yield from asked


def _require_room(tokenizer: Tokenizer, questions: tuple[Question, ...], length: int) -> None:
    for question in questions:
        if token_rows(tokenizer.to_str(), [question.text], length).num_cut:
            raise UserError(f"The question {question.text!r} has more than {length} tokens: shorten it, or raise caption_length in the model's config.")


@dataclass(frozen=True)
class CaptionedReader:
    """Images with the tokens of their captions, int32 [N, T] (half the memory), and the places of the answers where there are questions."""

    images: ImageReader
    data_spec: DataSpec
    length: int
    templates: tuple[str, ...] = ()
    """What captions may be reworded to: then `reworded` has the tokens of each rewording, int32 [N, templates, T]."""

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys((*self.images.columns, "caption", *(ANSWERING if self.data_spec.questions or self.templates else ()))))

    def read(self, table: "pa.Table") -> Columns:
        tokens, told = encoded(self.data_spec, table["caption"].to_pylist(), self.length, "captions", "caption_length")
        tensors = {**self.images.read(table).tensors, "tokens": tokens}
        if self.data_spec.questions:
            names = self.data_spec.class_names
            found = [answer_places(question, answers_in(table, names, question.source)) for question in self.data_spec.questions]
            tensors["answers"] = torch.stack(found, dim=1)
        if self.templates:
            tensors["reworded"], told_of_rewordings = self._reworded(table)
            told = {**told, **told_of_rewordings}
        return Columns(tensors, told)

    def _reworded(self, table: "pa.Table") -> tuple[Tensor, Mapping[str, int]]:
        rows, names = table.select(list(ANSWERING)).to_pylist(), self.data_spec.class_names
        tokens: list[Tensor] = []
        told: dict[str, int] = {}
        for template in self.templates:
            texts = [filled(template, row["caption"], row["label"], names) for row in rows]
            found, cut = encoded(self.data_spec, texts, self.length, f"captions as {template!r}", "caption_length")
            tokens.append(found)
            told.update(cut)
        return torch.stack(tokens, dim=1), told

    def finish(self, batch: Batch) -> Batch:
        tokens = batch["tokens"].long()
        shown = {name: column for name, column in self.images.finish(batch).items() if name != "reworded"}
        return {**shown, "tokens": tokens, "mask": mask_of(tokens)}


@dataclass(frozen=True)
class CaptionedAlteration:
    """Altered images, each with one of the rewordings of its caption."""

    changes: CaptionedChanges

    @property
    def seed(self) -> int:
        return self.changes.seed

    def altered(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        altered = PictureAlteration(self.changes).altered(batch, seeds)
        if not self.changes.templates:
            return altered
        chosen = torch.tensor([rng_seed(seed, "template") % len(self.changes.templates) for seed in seeds])
        return {**altered, "tokens": batch["reworded"][torch.arange(len(seeds)), chosen]}
