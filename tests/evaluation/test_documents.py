"""What figures of texts share: spreads that take no more memory for more documents."""

import tracemalloc

import numpy as np

from components.evaluation.documents import BOOTSTRAPS, resampled_ratios


def test_documents_are_drawn_some_times_at_a_time_as_if_it_were_at_once() -> None:
    numbers = np.random.default_rng(3)
    above, below = numbers.random(9_001), numbers.integers(1, 2_000, 9_001)
    draws = np.random.default_rng(0).integers(len(above), size=(BOOTSTRAPS, len(above)))
    at_once = above[draws].sum(axis=1) / below[draws].sum(axis=1)
    tracemalloc.start()
    assert np.array_equal(resampled_ratios(above.tolist(), below.tolist()), at_once)
    assert tracemalloc.get_traced_memory()[1] < 120 * 2**20 < 2 * draws.nbytes, "numbers and values of 2**22 documents, and no more"
    tracemalloc.stop()
    assert np.array_equal(resampled_ratios([3.0], [2.0]), np.full(BOOTSTRAPS, 1.5))
