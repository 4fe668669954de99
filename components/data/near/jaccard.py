"""Likeness of texts: the Jaccard similarity of their sets of word n-grams, found by MinHash and locality-sensitive hashing.

Broder, "On the resemblance and containment of documents" (1997); the choice of bands as in Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from components.params import Strict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_SHINGLES = 4096
"""Kept of a text, the smallest hashes: the similarity of two longer texts is estimated from those (its standard error is below 0.01)."""
_RECALL = 0.998
"""Probability that a pair exactly at the threshold shares a band."""
MOST_CHARS = 1 << 20
"""Of a text, its first million characters are compared."""
_BATCH_CHARS = 1 << 18
"""Shorter texts are worked on together up to this many characters: enough that arrays pay, few enough that they stay small."""
_SEED = 1
_BASE = 0x9E3779B97F4A7C15
_IDEOGRAPHS = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))
"""Scripts that put no blanks between words: Thai, Lao, Burmese, Khmer, kana and Han; each of their characters counts as a word."""
_NO_WORDS = 0x323B0
"""No letter is assigned from here on."""


class TextLikeness(Strict):
    """Near-duplicate texts. Case, white space and punctuation do not count."""

    jaccard: float = Field(0.8, ge=0.3, le=1)
    """Texts are nearly the same from this share of common word n-grams on."""
    words: int = Field(5, ge=1, le=20)
    """Length of an n-gram; shorter texts are compared by exact duplicates alone."""
    permutations: int = Field(128, ge=16, le=1024)
    """Length of the MinHash signature: more finds pairs near the threshold more surely."""

    @property
    def num_bands(self) -> int:
        return self.permutations // self.rows_per_band

    @property
    def rows_per_band(self) -> int:
        """As many as can be without missing pairs at the threshold: the more, the fewer pairs are compared in vain."""
        return max((rows for rows in range(1, 17) if self._found(rows) >= _RECALL), default=1)

    def _found(self, rows: int) -> float:
        return float(1 - (1 - self.jaccard**rows) ** (self.permutations // rows))

    @property
    def reach(self) -> int:
        return 16

    @property
    def is_cheap(self) -> bool:
        return False

    def features(self, contents: Sequence[str]) -> list[bytes]:
        """The sorted hashes of each text's n-grams."""
        return [feature for batch in _batches(contents) for feature in _shingles(batch, self.words)]

    def bands(self, features: "Sequence[bytes]") -> "NDArray[np.uint64]":
        import numpy as np
        import rensa

        flat = np.frombuffer(b"".join(features), dtype="<u4").astype(np.uint64)
        offsets = np.concatenate([[0], np.cumsum([len(feature) // 4 for feature in features])]).astype(np.uint64)
        matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(_mixed(flat), offsets, self.permutations, _SEED)
        signatures = np.asarray(matrix.to_rows(), dtype=np.uint64).reshape(len(features), self.permutations)
        used = signatures[:, : self.num_bands * self.rows_per_band].reshape(len(features), self.num_bands, self.rows_per_band)
        values = np.zeros(used.shape[:2], dtype=np.uint64)
        for row in range(self.rows_per_band):
            values = _mixed(values + used[:, :, row])
        return values

    def similarities(self, firsts: Sequence[bytes], seconds: Sequence[bytes]) -> "NDArray[np.float64]":
        import numpy as np

        ones, others = ([np.frombuffer(feature, dtype="<u4") for feature in features] for features in (firsts, seconds))
        common = _common(ones, others)
        lengths = np.asarray([len(first) + len(second) for first, second in zip(ones, others, strict=True)])
        found = common / np.maximum(lengths - common, 1)
        for index, (first, second) in enumerate(zip(ones, others, strict=True)):
            if max(len(first), len(second)) >= MOST_SHINGLES:
                found[index] = _estimated(first, second)
        return found

    def alike(self, similarity: float) -> bool:
        return similarity >= self.jaccard

    def describe(self, similarity: float) -> str:
        return f"{similarity:.0%} of the {self.words}-word sequences of both"


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """The beginnings of ``texts`` in lower case, in order, so many at a time that the arrays of a batch stay small."""
    batch: list[str] = []
    chars = 0
    for text in (text[:MOST_CHARS].lower() for text in texts):
        if batch and chars + len(text) > _BATCH_CHARS:
            yield batch
            batch, chars = [], 0
        batch.append(text)
        chars += len(text)
    if batch:
        yield batch


def _shingles(texts: list[str], words: int) -> Iterator[bytes]:
    """Sorted, distinct 32-bit hashes of each text's n-grams, at most `MOST_SHINGLES`."""
    import numpy as np

    hashes, text_of = _word_hashes(texts)
    num = len(hashes) - words + 1
    if num <= 0:
        yield from (b"" for _ in texts)
        return
    whole = text_of[:num] == text_of[words - 1 :]
    grams = np.zeros(num, dtype=np.uint64)
    for place in range(words):
        grams *= np.uint64(_BASE)
        grams += hashes[place : place + num]
    keys = np.sort((text_of[:num][whole].astype(np.uint64) << np.uint64(32)) | (_mixed(grams[whole]) >> np.uint64(32)))
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)]]
    bounds = np.searchsorted(keys, np.arange(len(texts) + 1, dtype=np.uint64) << np.uint64(32))
    values = keys.astype("<u4")
    for start, end in itertools.pairwise(bounds):
        yield values[start : min(end, start + MOST_SHINGLES)].tobytes()


def _word_hashes(texts: list[str]) -> "tuple[NDArray[np.uint64], NDArray[np.int64]]":
    """The hash of every word of all texts in order, and the index of the text that it stands in.

    A word's hash is a polynomial over its characters, from the difference of two prefix sums: no word is looked at by itself.
    """
    import numpy as np

    joined = "\n".join(texts)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    kinds = _kinds().take(codes, mode="clip")
    edge = np.zeros(1, dtype=kinds.dtype)
    before, behind = np.concatenate([edge, kinds[:-1]]), np.concatenate([kinds[1:], edge])
    starts = np.flatnonzero((kinds > 0) & ((before != 1) | (kinds == 2)))
    ends = np.flatnonzero((kinds > 0) & ((behind != 1) | (kinds == 2))) + 1
    powers, inverses = _powers(1 << max(len(codes), _BATCH_CHARS).bit_length())
    sums = np.concatenate([[np.uint64(0)], np.cumsum(codes.astype(np.uint64) * powers[: len(codes)], dtype=np.uint64)])
    hashes = _mixed((sums[ends] - sums[starts]) * inverses[starts])
    lengths = [len(text) + 1 for text in texts]
    return hashes, np.searchsorted(np.cumsum(lengths), starts, side="right")


@functools.cache
def _kinds() -> "NDArray[np.uint8]":
    """By code point, the last for all above: 1 where it is part of a word, 2 where it is a word by itself, else 0."""
    import numpy as np

    kinds = np.fromiter((chr(code).isalnum() for code in range(_NO_WORDS + 1)), dtype=np.uint8, count=_NO_WORDS + 1)
    for first, last in _IDEOGRAPHS:
        kinds[first : last + 1] *= 2
    return kinds


@functools.cache
def _powers(num: int) -> "tuple[NDArray[np.uint64], NDArray[np.uint64]]":
    """The powers of an odd base modulo 2^64, and their inverses."""
    import numpy as np

    inverse = pow(_BASE, -1, 2**64)
    return tuple(np.cumprod(np.full(num, value, dtype=np.uint64)) for value in (_BASE, inverse))  # type: ignore[return-value]


def _mixed(values: "NDArray[np.uint64]") -> "NDArray[np.uint64]":
    """Every bit of the result depends on every bit of the value (the finaliser of SplitMix64)."""
    import numpy as np

    values = values + np.uint64(_BASE)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        values ^= values >> np.uint64(shift)
        values *= np.uint64(factor)
    return values


def _common(ones: "Sequence[NDArray[np.uint32]]", others: "Sequence[NDArray[np.uint32]]") -> "NDArray[np.int64]":
    """How many hashes each pair shares: all pairs are sorted at once, with the pair's number in the upper half."""
    import numpy as np

    if not ones:
        return np.zeros(0, dtype=np.int64)
    numbers = np.arange(len(ones), dtype=np.uint64) << np.uint64(32)
    sides = [np.repeat(numbers, [len(part) for part in side]) | np.concatenate(side).astype(np.uint64) for side in (ones, others)]
    keys = np.sort(np.concatenate(sides))
    twice = keys[1:][keys[1:] == keys[:-1]] >> np.uint64(32)
    return np.bincount(twice.astype(np.int64), minlength=len(ones))


def _estimated(first: "NDArray[np.uint32]", second: "NDArray[np.uint32]") -> float:
    """From the smallest hashes of the union, of which each side has kept its own smallest."""
    import numpy as np

    union = np.union1d(first, second)[:MOST_SHINGLES]
    both = np.intersect1d(first, second, assume_unique=True)
    return float(np.isin(union, both, assume_unique=True).sum() / max(len(union), 1))
