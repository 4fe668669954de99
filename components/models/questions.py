"""Questions about images: what answers them, and where an answer stands among those that a model knows."""

import re
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from components.data.dataset import Dataset, Split
from components.data.pixels import labels_of
from components.models.capabilities import Question

if TYPE_CHECKING:
    import pyarrow as pa

LABEL = "label"
"""The source of answers that is the label's name; any other is a regular expression."""
ANSWERING = ("label", "caption")
"""Columns that answers are found in."""


def answers_of(dataset: Dataset, split: Split, source: str) -> list[str | None]:
    """What answers a question for each row: its label's name, or the group of the pattern ``source`` in its caption; None where there is nothing."""
    return answers_in(dataset.table(split, columns=list(ANSWERING), augmented=False), dataset.class_names, source)


def answers_in(table: "pa.Table", class_names: tuple[str, ...], source: str) -> list[str | None]:
    """The same for the rows of ``table``, which has the columns `ANSWERING`."""
    if source == LABEL:
        return [class_names[label] for label in labels_of(table)] if class_names else [None] * table.num_rows
    found = [re.search(source, caption) for caption in table["caption"].to_pylist()]
    return [match[1] if match else None for match in found]


def answer_places(question: Question, answers: list[str | None]) -> Tensor:
    """Where each of ``answers`` stands among those of ``question``, int64 [N]; -1 where it does not."""
    places = {answer: place for place, answer in enumerate(question.answers)}
    return torch.tensor([-1 if answer is None else places.get(answer, -1) for answer in answers], dtype=torch.int64)
