"""What figures of texts share: spreads that take no more memory for more documents."""

import tracemalloc

import numpy as np
import pytest

from components.data.dataset import Dataset
from components.errors import UserError
from components.evaluation.documents import BOOTSTRAPS, LEAST_DOCUMENTS, indicative, resampled_ratios
from components.evaluation.evaluate import require_enough
from components.project import Project
from tests.evaluation.conftest import altered


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


@pytest.mark.parametrize(("modality", "what"), [("text", "documents"), ("text-pairs", "pairs")])
def test_a_dataset_without_test_texts_is_refused_before_anything_is_trained(dataset_project: Project, modality: str, what: str) -> None:
    known = Dataset.open(dataset_project, "pydocs")
    shards = tuple(shard for shard in known.manifest.shards if shard.split != "test")
    require_enough(known)
    with pytest.raises(UserError, match=f"'pydocs' has no test {what} to score on: raise the split's test fraction or add {what}"):
        require_enough(altered(known, shards=shards, modality=modality))


def test_figures_of_few_documents_are_called_indicative() -> None:
    assert indicative(LEAST_DOCUMENTS) == ()
    assert "Figures of 7 test pairs are indicative only" in indicative(7, "pairs")[0]
