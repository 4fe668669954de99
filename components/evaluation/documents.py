"""What every figure of a model of text shares: the documents, the figure's identity, and how much it hangs on which documents were drawn."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from components.data.dataset import Dataset
from components.errors import UserError
from components.evaluation.protocol import OWN_VOCABULARY, Identity
from components.models.capabilities import DataSpec
from components.models.token_rows import encodings

BOOTSTRAPS = 1000
LEAST_DOCUMENTS = 8
"""With fewer, how far figures spread over them is a guess."""
_DRAWN_AT_ONCE = 2**22
"""Numbers of documents, so that memory does not grow with how many there are."""


class TextScore(NamedTuple):
    """What a text is worth to a model."""

    nats: float
    tokens: int
    """With the end mark."""
    bytes: int

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / max(1, self.bytes)


def texts_of(dataset: Dataset, split: Any) -> list[str]:
    """The original documents of ``split``; of pairs both sides, one after the other."""
    columns = ["source_text", "target_text"] if dataset.modality == "text-pairs" else ["text"]
    table = dataset.table(split, columns=columns, augmented=False)
    return [str(text) for column in columns for text in table[column].to_pylist()]


def documents_to_score(dataset: Dataset) -> list[str]:
    """The documents to score on.

    Raises:
        UserError: there are none.
    """
    test = texts_of(dataset, "test")
    if not test:
        raise nothing_to_score(dataset.name, "documents")
    return test


def indicative(num: int, what: str = "documents") -> tuple[str, ...]:
    """A note where a spread over ``num`` of ``what`` says little."""
    if num >= LEAST_DOCUMENTS:
        return ()
    return (f"Figures of {num} test {what} are indicative only, and take {LEAST_DOCUMENTS} to be more: raise the split's test fraction or add {what}.",)


def require_enough_texts(dataset: Dataset) -> None:
    """Refuse, before anything is trained, a dataset without a text to score on.

    Raises:
        UserError: naming the split.
    """
    if not dataset.manifest.rows("test"):
        raise nothing_to_score(dataset.name, "pairs" if dataset.modality == "text-pairs" else "documents")


def nothing_to_score(name: str, what: str) -> UserError:
    return UserError(f"Dataset {name!r} has no test {what} to score on: raise the split's test fraction or add {what}.")


WHOLE_TARGETS = "whole targets with their ends"
"""How answers are scored, whatever kind of model gives them, so that models of several families compare."""


def text_identity(dataset: Dataset, metric: str, num: int, preprocessing: str, data_spec: DataSpec | None = None) -> Identity:
    """That of a figure on the test split; give ``data_spec`` where the figure hangs on the tokenizer."""
    return Identity(
        metric=metric, num_samples=num, reference_sha256=dataset.manifest.sha256, split="test", preprocessing=preprocessing,
        extractor=OWN_VOCABULARY if data_spec else "", extractor_sha256=hashlib.sha256(data_spec.tokenizer.encode()).hexdigest() if data_spec else "",
    )  # fmt: skip


def with_gap(text: str, gap: str = "[MASK]") -> str:
    """``text`` with the word in its middle hidden; where there are not three, as in a script without blanks, the character there."""
    words, middle = text.split(), len(text) // 2
    if len(words) < 3:
        return f"{text[:middle]}{gap}{text[middle + 1 :]}"
    return " ".join([*words[: len(words) // 2], gap, *words[len(words) // 2 + 1 :]])


def token_frequencies(tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.int64]:
    """How often each token stands in ``texts``, [V]; marks do not count."""
    counts = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    for encoding in encodings(tokenizer, texts, marks=False):
        np.add.at(counts, encoding.ids, 1)
    return counts


def unigram_nats(frequencies: NDArray[np.int64]) -> NDArray[np.float64]:
    """Negative log probability [V] of each token by its frequency, one added to each."""
    nats: NDArray[np.float64] = -np.log((frequencies + 1) / (frequencies + 1).sum())
    return nats


def unigram_of_rows(tokenizer: Tokenizer, known: Sequence[str], texts: Sequence[str], end: int) -> float:
    """Nats of ``texts``, each with its end mark ``end``, by how frequent each token is in ``known``."""
    frequencies = []
    for rows in (known, texts):
        counts = token_frequencies(tokenizer, rows)
        counts[end] = len(rows)
        frequencies.append(counts)
    return float(frequencies[1] @ unigram_nats(frequencies[0]))


def resampled_ratios(numerators: Sequence[float], denominators: Sequence[float]) -> NDArray[np.float64]:
    """The ratio of the sums [BOOTSTRAPS] when the documents, one of each sequence per document, are drawn anew with replacement."""
    above, below = np.array(numerators, dtype=np.float64), np.array(denominators, dtype=np.float64)
    generator, ratios = np.random.default_rng(0), np.empty(BOOTSTRAPS)
    at_once = max(1, _DRAWN_AT_ONCE // max(1, len(above)))
    for start in range(0, BOOTSTRAPS, at_once):
        some = ratios[start : start + at_once]
        draws = generator.integers(len(above), size=(len(some), len(above)))
        some[:] = above[draws].sum(axis=1) / below[draws].sum(axis=1)
    return ratios


def spread_of(resampled: NDArray[np.float64], num: int) -> float | None:
    """Standard deviation of a figure ``resampled`` [BOOTSTRAPS] from ``num`` documents; None of a single one, which comes out the same each time."""
    return float(resampled.std()) if num > 1 else None


def over_documents(num: int, what: str = "documents") -> str:
    """What a spread by `resampled_ratios` is over."""
    return f"{BOOTSTRAPS} draws of the {num:,} {what} with replacement"
