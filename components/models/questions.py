"""Questions about images: what answers them, and where an answer stands among those that a model knows."""

import re

import torch
from torch import Tensor

from components.data.dataset import Dataset, Split
from components.data.pixels import labels_of
from components.models.capabilities import Question

LABEL = "label"
"""The source of answers that is the label's name; any other is a regular expression."""


def answers_of(dataset: Dataset, split: Split, source: str, *, augmented: bool = False) -> list[str | None]:
    """What answers a question for each row: its label's name, or the group of the pattern ``source`` in its caption; None where there is nothing."""
    if source == LABEL and dataset.class_names:
        return [dataset.class_names[label] for label in labels_of(dataset.table(split, columns=["label"], augmented=augmented))]
    captions = dataset.table(split, columns=["caption"], augmented=augmented)["caption"].to_pylist()
    if source == LABEL:
        return [None] * len(captions)
    found = [re.search(source, caption) for caption in captions]
    return [match[1] if match else None for match in found]


def answer_places(question: Question, answers: list[str | None]) -> Tensor:
    """Where each of ``answers`` stands among those of ``question``, int64 [N]; -1 where it does not."""
    places = {answer: place for place, answer in enumerate(question.answers)}
    return torch.tensor([-1 if answer is None else places.get(answer, -1) for answer in answers], dtype=torch.int64)
