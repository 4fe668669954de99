"""How much of a text stands word for word in another one: leakage from test to training text, and copying by a model."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
_BASE = np.uint64(1_000_003)
_WORD = re.compile(r"\w+|[^\w\s]")


def shared_characters(texts: Sequence[str], reference: Sequence[str], window: int = 50) -> float:
    """Share of the characters of ``texts`` that lie in a run of at least ``window`` characters which a text of ``reference`` has too.

    Runs of white space count as one blank, so that text wrapped in another way is still the same.
    """
    known = _known(_characters(text, window) for text in reference)
    shared = total = 0
    for text in texts:
        hashes = _characters(text, window)
        covered = np.zeros(len(hashes) + window - 1 if len(hashes) else len(" ".join(text.split())), dtype=bool)
        for start in np.flatnonzero(_stand_in(known, hashes)):
            covered[start : start + window] = True
        shared, total = shared + int(covered.sum()), total + len(covered)
    return shared / total if total else 0.0


def shared_ngrams(texts: Iterable[str], reference: Iterable[str], n: int = 8) -> float:
    """Share of the ``n``-grams of words of ``texts`` that a text of ``reference`` has too; 0 where no text has ``n`` words."""
    return share_of(ngrams_shared(texts, reference, n))


def ngrams_shared(texts: Iterable[str], reference: Iterable[str], n: int = 8) -> list[tuple[int, int]]:
    """Of each of ``texts`` its ``n``-grams of words that a text of ``reference`` has too, and all; the reference is read once."""
    grams = [list(_ngrams(text, n)) for text in texts]
    # Only what is looked for is kept of the reference, which may be hundreds of megabytes as a set of its own.
    wanted = {gram for some in grams for gram in some}
    known = {gram for text in reference for gram in _ngrams(text, n) if gram in wanted}
    return [(sum(gram in known for gram in some), len(some)) for some in grams]


def share_of(counts: Iterable[tuple[int, int]]) -> float:
    """The first of all pairs over the second; 0 where there is nothing."""
    shared, total = (sum(column) for column in zip((0, 0), *counts, strict=True))
    return shared / total if total else 0.0


def _ngrams(text: str, n: int) -> Iterable[tuple[str, ...]]:
    words = _WORD.findall(text)
    return zip(*(words[offset:] for offset in range(n)), strict=False)


def _characters(text: str, window: int) -> Hashes:
    """A polynomial hash (modulo 2^64) of every run of ``window`` characters of ``text``."""
    codes: NDArray[Any] = np.array([ord(character) for character in " ".join(text.split())], dtype=np.uint64)
    num = len(codes) - window + 1
    hashes = np.zeros(max(0, num), dtype=np.uint64)
    for offset in range(window if num > 0 else 0):
        hashes = hashes * _BASE + codes[offset : offset + num] + np.uint64(1)
    return hashes


def _known(parts: Iterable[Hashes]) -> Hashes:
    return np.unique(np.concatenate([np.zeros(0, dtype=np.uint64), *parts]))


def _stand_in(known: Hashes, hashes: Hashes) -> NDArray[np.bool_]:
    """Which of ``hashes`` are in ``known``, which is sorted: so it need not be sorted again for each text."""
    if not len(known):
        return np.zeros(len(hashes), dtype=bool)
    return known[np.searchsorted(known, hashes).clip(max=len(known) - 1)] == hashes
