"""Batches of captioned images: `image` and `label` as in `image.py`; of the captions `tokens` int64 [B, T] and `mask` bool [B, T], False behind their ends.

Where the family asks questions: `answers` int64 [B, Q], the place of each question's answer in `Question.answers`, -1 where it has none of them.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import torch
from tokenizers import Tokenizer

from components.data.dataset import Dataset, Split
from components.errors import UserError
from components.models.capabilities import DataSpec, Question
from components.models.family import ImageTextTrainingConfig, TrainingConfig
from components.models.questions import answer_places, answers_of
from components.models.token_rows import ROW, mask_of, plain_reader, token_rows
from components.training.datamodules import Batch, RowBatches, image, require_a_batch
from components.training.datamodules.text import Recipe, encode_split, kept_tokenizer, rows_recipe, train_tokenizer
from components.training.progress import say


@runtime_checkable
class QuestionConfig(Protocol):
    """What a family has in its config besides that asks questions about images."""

    questions: Mapping[str, str]
    """By question what answers it: `label`, or a regular expression with one group that is searched in the caption."""
    most_answers: int
    """Of a question, at most."""


EXAMPLES = 12
"""Captions that pictures of training are drawn for."""


def describe(dataset: Dataset, config: TrainingConfig, cache: Path) -> DataSpec:
    """What images and captions of the training split say; added images have the captions of their originals."""
    assert isinstance(config, ImageTextTrainingConfig)
    images = image.describe(dataset, config, cache)
    questions = _questions(dataset, config) if isinstance(config, QuestionConfig) else ()
    recipe = _recipe(config.vocab_size, tuple(question.text for question in questions))
    texts = captions(dataset, "train", augmented=False)
    tokenizer = kept_tokenizer(dataset, lambda: texts, recipe, cache)
    _require_room(tokenizer, questions, config.caption_length)
    characters = "".join(sorted(set().union(*texts)))
    return replace(
        images, modality="image-text", vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str(), questions=questions,
        example_captions=_examples(dataset, tokenizer, config.caption_length, characters), characters=characters,
    )  # fmt: skip


def prepare(dataset: Dataset, config: TrainingConfig, data_spec: DataSpec, seed: int) -> RowBatches:
    assert isinstance(config, ImageTextTrainingConfig)
    require_a_batch(dataset, config.batch_size, "images")
    load = partial(_load, dataset, data_spec, config.caption_length)
    return RowBatches(dataset, batch_size=config.batch_size, seed=seed, load=load, finish=_finished)


def _examples(dataset: Dataset, tokenizer: Tokenizer, length: int, characters: str) -> tuple[str, ...]:
    """The first different captions that nothing is trained on and that a user may ask for too: short enough, in ``characters`` alone.

    Of the training split where there are no such; where all are too long, the beginning of one.
    """
    reader, known = plain_reader(tokenizer.to_str()), set(characters)

    def fits(text: str) -> bool:
        return set(text) <= known and len(reader.encode(text).ids) <= length

    for split in ("validation", "train"):
        found = tuple(islice(filter(fits, dict.fromkeys(captions(dataset, split, augmented=False))), EXAMPLES))
        if found:
            return found
    beginning = captions(dataset, "train", augmented=False)[0]
    while not fits(beginning):
        beginning = beginning[: 3 * len(beginning) // 4].rstrip()
    return (beginning,)


def captions(dataset: Dataset, split: Split, augmented: bool) -> list[str]:
    return cast(list[str], dataset.table(split, columns=["caption"], augmented=augmented)["caption"].to_pylist())


def _questions(dataset: Dataset, config: QuestionConfig) -> tuple[Question, ...]:
    """The questions that the training split has two answers or more to."""
    questions = []
    for text, source in config.questions.items():
        counts = Counter(answer for answer in answers_of(dataset, "train", source) if answer is not None)
        ranked = sorted(counts, key=lambda answer: (-counts[answer], answer))[: config.most_answers]
        if len(ranked) > 1:
            questions.append(Question(text, source, tuple(ranked)))
        else:
            say(f"The question {text!r} is left out: {source!r} finds {len(ranked)} different answers in {dataset.name!r}, two are needed.")
    return tuple(questions)


def _recipe(vocab_size: int, questions: tuple[str, ...]) -> Recipe:
    return partial(_train_with_questions, vocab_size=vocab_size, questions=questions) if questions else rows_recipe(vocab_size)


def _train_with_questions(texts: list[str], vocab_size: int, questions: tuple[str, ...]) -> Tokenizer:
    """A question is read as often as a caption, so its words count as often."""
    asked = list(questions) * max(1, len(texts) // len(questions))
    return train_tokenizer(texts + asked, vocab_size=vocab_size, marks=ROW)


def _require_room(tokenizer: Tokenizer, questions: tuple[Question, ...], length: int) -> None:
    for question in questions:
        if token_rows(tokenizer.to_str(), [question.text], length).num_cut:
            raise UserError(f"The question {question.text!r} has more than {length} tokens: shorten it, or raise caption_length in the model's config.")


def _load(dataset: Dataset, data_spec: DataSpec, length: int, split: Split, augmented: bool) -> Batch:
    texts = captions(dataset, split, augmented)
    tokens = encode_split(data_spec, texts, length, f"{split} captions", "caption_length")
    columns = {**image.load_images(dataset, data_spec, split, augmented), "tokens": tokens}
    if data_spec.questions:
        found = [answer_places(question, answers_of(dataset, split, question.source, augmented=augmented)) for question in data_spec.questions]
        columns["answers"] = torch.stack(found, dim=1)
    return columns


def _finished(batch: Batch) -> Batch:
    tokens = batch["tokens"].long()
    return {**image.scaled(batch), "tokens": tokens, "mask": mask_of(tokens)}
