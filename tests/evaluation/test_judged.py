"""Of a split that does not fit into memory evenly spread rows are looked at, and the figures say so."""

from itertools import pairwise
from pathlib import Path

import pytest

from components.data.dataset import Dataset
from components.evaluation.judged import judged
from tests.evaluation.conftest import Redraws
from tests.evaluation.test_images import SPEC, score

SMALL = 0.006
"""MiB: 98 images of 8 by 8 grey pixels."""
ROWS = int(SMALL * 2**20 / 64)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.evaluation.judged.LEAST_ROWS", 10)


@pytest.fixture
def part(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    # By their stored columns, names and all, digits take more than by their pixels.
    monkeypatch.setattr(Dataset, "num_bytes", lambda dataset, shard, columns: shard.rows)
    return judged(digits, SPEC, SMALL)


def test_what_fits_is_looked_at_whole(digits: Dataset) -> None:
    assert judged(digits, SPEC, 1024) is digits


def test_what_is_stored_counts_where_it_is_more_than_the_pixels(digits: Dataset) -> None:
    assert judged(digits, SPEC, SMALL).manifest.rows("train") < ROWS


def test_the_rows_are_spread_evenly_and_every_column_and_call_sees_the_same(part: Dataset, digits: Dataset) -> None:
    assert part.manifest.rows("train") == part.table("train", ["id"]).num_rows == ROWS
    whole = digits.table("train", ["id"])["id"].to_pylist()
    places = [whole.index(name) for name in part.table("train", ["id"])["id"].to_pylist()]
    steps = [after - before for before, after in pairwise(places)]
    assert min(steps) >= len(whole) // ROWS - 1
    assert max(steps) <= 2 * len(whole) // ROWS
    both, labels = part.table("train", ["id", "label"]), part.table("train", ["label"])
    assert both["label"] == labels["label"]
    assert both["label"].to_pylist() == [digits.table("train", ["label"])["label"].to_pylist()[place] for place in places]
    assert [table.num_rows for table in part.tables("train", ["id"])] == [shard.rows for shard in part.shards("train")]
    assert part.table("train").num_rows == ROWS


def test_nothing_that_is_kept_of_the_whole_is_taken_for_the_part(part: Dataset, digits: Dataset) -> None:
    assert part.manifest.sha256 != digits.manifest.sha256


@pytest.mark.slow
def test_figures_refer_to_the_version_and_say_how_much_of_it_they_saw(part: Dataset, digits: Dataset, cache: Path) -> None:
    evidence = score(Redraws(digits, noise=0.2), digits, cache, num_samples=60, buffer_mib=SMALL)
    rows, all_rows = part.manifest.rows("test"), digits.manifest.rows("test")
    assert rows < all_rows
    assert {figure.identity.split for figure in evidence.figures} == {f"test, {rows:,} of {all_rows:,} rows"}
    assert {figure.identity.reference_sha256 for figure in evidence.figures} == {digits.manifest.sha256}
    assert evidence.notes[-1].startswith(f"Figures are of {rows} of {all_rows} rows of the test and {ROWS} of ")
    whole = score(Redraws(digits, noise=0.2), digits, cache, num_samples=60)
    assert {figure.identity.split for figure in whole.figures} == {"test"}
    assert not any("buffer_mib" in note for note in whole.notes)


def test_rows_that_augmentation_adds_are_thinned_like_the_others(part: Dataset, digits: Dataset) -> None:
    shares = [dataset.table("train", ["id"], augmented=False).num_rows / dataset.manifest.rows("train") for dataset in (part, digits)]
    assert shares[1] < 1
    assert shares[0] == pytest.approx(shares[1], abs=0.02)
