"""How much the vectors of frozen texts tell of what a text is about: a linear probe (Alain & Bengio 2017), beside one on the tokens themselves.

What is to be told is a document's label or, where the documents have none, its title: of which document a block is. Vocabulary alone tells much of
that, so the same probe on the frequencies of tokens stands beside it: what a model has learnt is the distance between the two.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.nn.utils.rnn import pad_sequence

from components.code import code_digest
from components.data.dataset import Dataset, Split
from components.evaluation.documents import over_documents, resampled_ratios, spread_of, text_identity
from components.evaluation.evidence import Evidence
from components.evaluation.protocol import Figure, Recorded
from components.evaluation.telling import Teller, counted
from components.models.capabilities import DataSpec, EmbedsText
from components.models.token_rows import encodings, plain_reader

PIECE = 64
"""Tokens of a text, whatever the context of a model."""
MOST_TRAIN, MOST_TEST = 600, 250
"""Pieces, at most."""
MOST_CLASSES = 20
"""The most frequent ones."""
STRENGTH = 0.3
"""The inverse of how strongly weights are held small (`C` of scikit-learn), of features with standard deviation 1."""
MOST_STEPS = 1_000
_ROWS_PER_BATCH = 64


class Pieces(NamedTuple):
    rows: list[list[int]]
    """Tokens of each, without marks."""
    names: list[str]
    """Its class."""
    documents: list[int]
    """Numbers of those that they are from."""


def score_probe(model: EmbedsText, dataset: Dataset, data_spec: DataSpec, *, tell: Teller) -> Evidence:
    """Figures `probe_accuracy` (floor: the commonest class) and `probe_accuracy_by_tokens`, or a note that says why there are none."""
    if dataset.modality != "text":
        return Evidence()
    column = next((name for name in ("label", "title") if _classes(dataset, name)), None)
    if column is None:
        return Evidence(notes=("probe_accuracy is left out: no two labels or titles have texts in both splits, train and test.",))
    classes, tokenizer = _classes(dataset, column), plain_reader(data_spec.tokenizer)
    train = _pieces(dataset, tokenizer, column, classes, "train", MOST_TRAIN)
    test = _pieces(dataset, tokenizer, column, classes, "test", MOST_TEST)
    marks = tokenizer.encode("").ids
    vectors = _vectors(model, train, marks, tell), _vectors(model, test, marks, tell)
    counts = _frequencies(train, tokenizer.get_vocab_size()), _frequencies(test, tokenizer.get_vocab_size())
    usual = Counter(train.names).most_common(1)[0][0]
    floor = float(np.mean([name == usual for name in test.names]))
    how = f"{column} of pieces of {PIECE} tokens, {len(classes)} classes, learnt from {len(train.rows):,} pieces, logistic regression"
    told = {"probe_accuracy": ("the model's vectors, frozen", vectors), "probe_accuracy_by_tokens": ("token frequencies", counts)}
    figures = []
    for name, (seen, (known, asked)) in told.items():
        hits = _hits(known, asked, train.names, test.names)
        each = [[hit for hit, owner in zip(hits, test.documents, strict=True) if owner == document] for document in sorted(set(test.documents))]
        ratios = resampled_ratios([sum(some) for some in each], [len(some) for some in each])
        figures.append(
            Figure(
                name=name, value=float(np.mean(hits)), goal="max", unit="share",
                identity=text_identity(dataset, name, len(hits), f"{how} on {seen}", data_spec), recorded=Recorded(code=code_digest(__name__)),
                floor=floor, floor_name="the commonest class of the training text", spread=spread_of(ratios, len(each)), spread_over=over_documents(len(each)),
            )
        )  # fmt: skip
    return Evidence(tuple(figures))


def _classes(dataset: Dataset, column: str) -> set[str]:
    """Of ``column`` the commonest that both splits have; empty where there are not two."""
    train, test = (Counter(_names(dataset, column, split)) for split in ("train", "test"))
    shared = {name: train[name] for name in train if name and name in test}
    chosen = sorted(shared, key=lambda name: (-shared[name], name))[:MOST_CLASSES]
    return set(chosen) if len(chosen) > 1 else set()


def _names(dataset: Dataset, column: str, split: Split) -> list[str]:
    table = dataset.table(split, columns=[column], augmented=False)
    return [name or "" for name in table[column].to_pylist()]


def _pieces(dataset: Dataset, tokenizer: Tokenizer, column: str, classes: set[str], split: Split, most: int) -> Pieces:
    """At most ``most`` pieces of the documents of ``classes``, spread evenly over them; short ends are left out, unless there is nothing else."""
    texts = [str(text) for text in dataset.table(split, columns=["text"], augmented=False)["text"].to_pylist()]
    known = [(number, text, name) for number, (text, name) in enumerate(zip(texts, _names(dataset, column, split), strict=True)) if name in classes]
    found = []
    for (number, _, name), encoding in zip(known, encodings(tokenizer, [text for _, text, _ in known], marks=False), strict=True):
        ids = encoding.ids
        found += [(ids[start : start + PIECE], name, number) for start in range(0, max(1, len(ids) - PIECE + 1), PIECE) if ids]
    chosen = [found[place * len(found) // most] for place in range(most)] if len(found) > most else found
    return Pieces(*(list(column) for column in zip(*chosen, strict=True)))


@torch.no_grad()
def _vectors(model: EmbedsText, pieces: Pieces, marks: Sequence[int], tell: Teller) -> NDArray[np.float64]:
    """[N, D]; a model of a shorter context sees the beginning of each piece."""
    device, room = getattr(model, "device", torch.device("cpu")), model.context_length - len(marks)
    rows = [torch.tensor([*marks[:1], *row[:room], *marks[1:]]) for row in pieces.rows]
    found = []
    for start in counted(range(0, len(rows), _ROWS_PER_BATCH), f"embedding {len(rows):,} pieces of text", tell):
        found.append(model.embed_text(pad_sequence(rows[start : start + _ROWS_PER_BATCH], batch_first=True).to(device)).double().cpu())
    vectors: NDArray[np.float64] = torch.cat(found).numpy()
    return vectors


def _frequencies(pieces: Pieces, vocabulary: int) -> NDArray[np.float64]:
    """The square root of how often each token stands in each piece, [N, V]: what is frequent everywhere does not drown the rest."""
    counts = np.zeros((len(pieces.rows), vocabulary))
    for row, tokens in enumerate(pieces.rows):
        np.add.at(counts[row], tokens, 1)
    found: NDArray[np.float64] = np.sqrt(counts)
    return found


def _hits(train: NDArray[np.float64], test: NDArray[np.float64], names: Sequence[str], truths: Sequence[str]) -> list[bool]:
    """Whether a logistic regression on ``train`` [N, D] names each of ``test`` [M, D] rightly."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train)
    regression = LogisticRegression(C=STRENGTH, max_iter=MOST_STEPS).fit(scaler.transform(train), names)
    return [bool(hit) for hit in regression.predict(scaler.transform(test)) == np.array(truths)]
