"""How much the vectors of frozen texts tell of what a text is about: a linear probe (Alain & Bengio 2017), beside one on the words themselves.

What is to be told is a document's label or, where the documents have none, its title: of which document a block is. Words alone tell much of
that, so the same probe on how often they stand in a text stands beside it: what a model has learnt is the distance between the two.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from components.code import code_digest
from components.data.dataset import Dataset, Split
from components.evaluation.documents import over_documents, resampled_ratios, spread_of, text_identity
from components.evaluation.evidence import Evidence
from components.evaluation.protocol import Figure, Recorded
from components.evaluation.telling import Teller, counted
from components.models.capabilities import DataSpec, EmbedsText
from components.models.token_rows import encodings, plain_reader

PIECE = 40
"""Words of a text, so that models of every vocabulary are asked the same."""
MOST_TRAIN, MOST_TEST = 600, 250
"""Pieces, at most."""
MOST_CLASSES = 20
"""The most frequent ones."""
MOST_WORDS = 4_000
"""The most frequent ones, of which the probe on words knows how often each stands in a piece."""
STRENGTH = 0.3
"""The inverse of how strongly weights are held small (`C` of scikit-learn), of features with standard deviation 1."""
MOST_STEPS = 1_000
_ROWS_PER_BATCH = 64
Features = NDArray[np.float64]
"""[N, D], a row per piece."""


class Pieces(NamedTuple):
    texts: list[str]
    names: list[str]
    """Its class."""
    documents: list[int]
    """Numbers of those that they are from."""


class Task(NamedTuple):
    """What is to be told of which pieces."""

    column: str
    num_classes: int
    train: Pieces
    test: Pieces

    @property
    def protocol(self) -> str:
        return f"{self.column} of pieces of {PIECE} words, {self.num_classes} classes, learnt from {len(self.train.texts):,} pieces, logistic regression"

    @property
    def usual(self) -> float:
        """The share of the test pieces that are of the class that is commonest in training."""
        commonest = Counter(self.train.names).most_common(1)[0][0]
        return float(np.mean([name == commonest for name in self.test.names]))


def score_probe(model: EmbedsText, dataset: Dataset, data_spec: DataSpec, *, tell: Teller) -> Evidence:
    """Figures `probe_accuracy` (floor: the commonest class) and `probe_accuracy_by_words`, or a note that says why there are none."""
    if dataset.modality != "text":
        return Evidence()
    task = _task(dataset)
    if task is None:
        return Evidence(notes=("probe_accuracy is left out: no two labels or titles have texts in both splits, train and test.",))
    vectors = _vectors(model, data_spec, task.train.texts, tell), _vectors(model, data_spec, task.test.texts, tell)
    words = _frequencies(task.train.texts, task.test.texts)
    return Evidence((_figure("probe_accuracy", "frozen vectors", vectors, task, dataset), _figure("probe_accuracy_by_words", "words", words, task, dataset)))


def _figure(name: str, seen: str, features: tuple[Features, Features], task: Task, dataset: Dataset) -> Figure:
    """The share of the test pieces that a logistic regression on ``features`` of both splits names rightly."""
    hits = np.array(_hits(*features, task.train.names, task.test.names))
    owners = np.array(task.test.documents)
    each = [hits[owners == document] for document in sorted(set(task.test.documents))]
    ratios = resampled_ratios([float(some.sum()) for some in each], [len(some) for some in each])
    return Figure(
        name=name, value=float(hits.mean()), goal="max", unit="share", identity=text_identity(dataset, name, len(hits), f"{task.protocol} on {seen}"),
        recorded=Recorded(code=code_digest(__name__)), floor=task.usual, floor_name="the commonest class of the training text",
        spread=spread_of(ratios, len(each)), spread_over=over_documents(len(each)),
    )  # fmt: skip


def _task(dataset: Dataset) -> Task | None:
    """By the labels or, where two of them are not in both splits, by the titles; None where those are not either."""
    for column in ("label", "title"):
        classes = _classes(dataset, column)
        if classes:
            train, test = (_pieces(dataset, column, classes, split, most) for split, most in _SPLITS)
            return Task(column, len(classes), train, test)
    return None


_SPLITS: tuple[tuple[Split, int], ...] = (("train", MOST_TRAIN), ("test", MOST_TEST))


def _classes(dataset: Dataset, column: str) -> set[str]:
    """Of ``column`` the commonest that both splits have texts of; empty where there are not two."""
    train, test = (
        Counter(name for text, name in zip(_column(dataset, "text", split), _column(dataset, column, split), strict=True) if text.strip())
        for split, _ in _SPLITS
    )
    shared = {name: train[name] for name in train if name and name in test}
    chosen = sorted(shared, key=lambda name: (-shared[name], name))[:MOST_CLASSES]
    return set(chosen) if len(chosen) > 1 else set()


def _column(dataset: Dataset, column: str, split: Split) -> list[str]:
    table = dataset.table(split, columns=[column], augmented=False)
    return [value or "" for value in table[column].to_pylist()]


def _pieces(dataset: Dataset, column: str, classes: set[str], split: Split, most: int) -> Pieces:
    """At most ``most`` pieces of the documents of ``classes``, spread evenly over them; short ends are left out, unless there is nothing else.

    Each class keeps its share of the pieces, and one at least: a rare one is not lost.
    """
    found: list[tuple[str, str, int]] = []
    for number, (text, name) in enumerate(zip(_column(dataset, "text", split), _column(dataset, column, split), strict=True)):
        words = text.split() if name in classes else []
        found += [(" ".join(words[start : start + PIECE]), name, number) for start in range(0, max(1, len(words) - PIECE + 1), PIECE) if words]
    texts, names, documents = zip(*_thinned(found, most), strict=True)
    return Pieces(list(texts), list(names), list(documents))


def _thinned(found: list[tuple[str, str, int]], most: int) -> list[tuple[str, str, int]]:
    """At most ``most`` of ``found`` in their order: of each class one, the rest by its share, spread evenly."""
    if len(found) <= most:
        return found
    places: dict[str, list[int]] = {}
    for place, (_, name, _) in enumerate(found):
        places.setdefault(name, []).append(place)
    chosen: list[int] = []
    for own in places.values():
        num = 1 + (len(own) - 1) * (most - len(places)) // (len(found) - len(places))
        chosen += [own[place * len(own) // num] for place in range(num)]
    return [found[place] for place in sorted(chosen)]


@torch.no_grad()
def _vectors(model: EmbedsText, data_spec: DataSpec, texts: Sequence[str], tell: Teller) -> Features:
    """What ``model`` makes of each text; one of a shorter context sees its beginning."""
    tokenizer = plain_reader(data_spec.tokenizer)
    marks, device = tokenizer.encode("").ids, getattr(model, "device", torch.device("cpu"))
    room = model.context_length - len(marks)
    rows = [torch.tensor([*marks[:1], *encoding.ids[:room], *marks[1:]]) for encoding in encodings(tokenizer, texts, marks=False)]
    found = []
    for start in counted(range(0, len(rows), _ROWS_PER_BATCH), f"embedding {len(rows):,} pieces of text", tell):
        found.append(model.embed_text(pad_sequence(rows[start : start + _ROWS_PER_BATCH], batch_first=True).to(device)).double().cpu())
    vectors: Features = torch.cat(found).numpy()
    return vectors


def _frequencies(train: Sequence[str], test: Sequence[str]) -> tuple[Features, Features]:
    """The square root of how often each word stands in each text: what is frequent everywhere does not drown the rest."""
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(max_features=MOST_WORDS, analyzer=str.split).fit(train)
    known, asked = (np.sqrt(counter.transform(texts).toarray().astype(np.float64)) for texts in (train, test))
    return known, asked


def _hits(train: NDArray[np.float64], test: NDArray[np.float64], names: Sequence[str], truths: Sequence[str]) -> list[bool]:
    """Whether a logistic regression on ``train`` [N, D] names each of ``test`` [M, D] rightly."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train)
    regression = LogisticRegression(C=STRENGTH, max_iter=MOST_STEPS).fit(scaler.transform(train), names)
    return [bool(hit) for hit in regression.predict(scaler.transform(test)) == np.array(truths)]
