"""Likeness of images: how many of the 64 bits of their perceptual hashes differ.

Candidates are found by parts of the hash: of d + 2 parts at least two are equal where no more than d bits differ, so no pair is missed
(Norouzi, Punjani, Fleet, "Fast search in Hamming space with multi-index hashing", 2012).
"""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from components.params import Strict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BITS = 64


class ImageLikeness(Strict):
    """Near-duplicate images: the same picture in another size, quality or brightness."""

    distance: int = Field(4, ge=0, le=8)
    """Images are nearly the same up to this many different bits of 64."""

    @property
    def num_bands(self) -> int:
        return len(self._masks())

    @property
    def reach(self) -> int:
        return 4096

    @property
    def is_cheap(self) -> bool:
        return True

    def features(self, contents: Sequence[bytes]) -> list[bytes]:
        return list(contents)

    def bands(self, features: Sequence[bytes]) -> "NDArray[np.uint64]":
        import numpy as np

        hashes = np.frombuffer(b"".join(features), dtype="<u8")
        return np.stack([hashes & np.uint64(mask) for mask in self._masks()], axis=1)

    def similarities(self, firsts: Sequence[bytes], seconds: Sequence[bytes]) -> "NDArray[np.float64]":
        import numpy as np

        ones, others = (np.frombuffer(b"".join(features), dtype="<u8") for features in (firsts, seconds))
        return 1 - np.bitwise_count(ones ^ others) / BITS

    def alike(self, similarity: float) -> bool:
        return round((1 - similarity) * BITS) <= self.distance

    def describe(self, similarity: float) -> str:
        return f"{round((1 - similarity) * BITS)} of {BITS} bits of their perceptual hashes differ"

    def _masks(self) -> list[int]:
        """Of each pair of parts, the bits of both."""
        num_parts = self.distance + 2
        bounds = [BITS * part // num_parts for part in range(num_parts + 1)]
        parts = [(1 << end) - (1 << start) for start, end in itertools.pairwise(bounds)]
        return [first | second for first, second in itertools.combinations(parts, 2)]
