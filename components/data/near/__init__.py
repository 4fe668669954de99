"""Which rows are nearly the same: candidates from bands of a sketch, then each pair compared.

A modality says by a `Likeness` what of a row is compared and how. `components.data.near.pairs` knows nothing of texts or pixels.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Likeness(Protocol):
    """How two rows are compared; small and picklable, as it travels to the processes that work on shards."""

    @property
    def num_bands(self) -> int:
        """Two rows that are alike share a value in at least one band, for sure or nearly so."""
        ...

    @property
    def reach(self) -> int:
        """With how many of the first rows of a bucket of equal values, and of those just before it, a row is compared."""
        ...

    @property
    def is_cheap(self) -> bool:
        """Features are a few bytes, which are compared within a bucket at once."""
        ...

    def features(self, contents: Sequence[Any]) -> list[bytes]:
        """What is kept of each of ``contents`` (`Examined.compared`); empty where there is too little to compare."""
        ...

    def bands(self, features: Sequence[bytes]) -> "NDArray[np.uint64]":
        """[N, num_bands]; the features are not empty."""
        ...

    def similarities(self, firsts: Sequence[bytes], seconds: Sequence[bytes]) -> "NDArray[np.float64]":
        """[N], of each pair of features."""
        ...

    def alike(self, similarity: float) -> bool: ...

    def describe(self, similarity: float) -> str:
        """In a few words, for the quarantine."""
        ...
