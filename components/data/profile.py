"""How the rows of a dataset are distributed, kept with the gate's result, so that versions are compared without their bytes."""

from typing import TYPE_CHECKING, Any

from components.params import Strict

if TYPE_CHECKING:
    import duckdb
    import numpy as np

MOST_LABELS = 200
"""The commonest labels are counted one by one, which keeps the result small where every row has its own."""


class Lengths(Strict):
    """How a whole-numbered column of the metadata is distributed: a length, a count or a size."""

    smallest: int
    median: float
    largest: int
    bins: dict[int, int]
    """Rows by bin; bin k holds values from 2^(k/2) to 2^((k+1)/2), whatever the data, so that the bins of two versions are the same."""


class Profile(Strict):
    """Rows by label and by length, over all splits with the added rows; empty for a version that was validated before there were profiles."""

    labels: dict[str, int] = {}
    lengths: dict[str, Lengths] = {}


def profile_of(connection: "duckdb.DuckDBPyConnection") -> Profile:
    """The profile of the view `metadata` of ``connection`` (see `Modality.metadata`), one column in memory at a time."""
    columns = {name: kind for name, kind, *_ in connection.execute("DESCRIBE metadata").fetchall()}
    labels: dict[str, int] = {}
    if "label" in columns:
        query = "SELECT label::VARCHAR, count(*) AS number FROM metadata WHERE label IS NOT NULL GROUP BY label ORDER BY number DESC, label LIMIT ?"
        labels = dict(connection.execute(query, [MOST_LABELS]).fetchall())
    whole = [name for name, kind in columns.items() if "INT" in kind]
    values: dict[str, Any] = {name: connection.execute(f'SELECT "{name}" AS value FROM metadata').fetchnumpy()["value"] for name in whole}
    return Profile(labels=labels, lengths={name: _lengths(found) for name, found in values.items() if len(found)})


def bin_start(number: int) -> float:
    """The smallest value of a bin of `Lengths`; bin -1 holds zero."""
    return 2 ** (number / 2) if number >= 0 else 0.0


def _lengths(column: "np.ndarray[Any, np.dtype[Any]]") -> Lengths:
    import numpy as np

    values = column.astype(np.int64).clip(min=0)
    # A hair is added, for the logarithm of 2^(k/2) rounded down would fall into the bin below.
    bins = np.where(values > 0, np.floor(2 * np.log2(np.maximum(values, 1)) + 1e-9), -1).astype(int)
    found, counts = np.unique(bins, return_counts=True)
    return Lengths(
        smallest=int(values.min()),
        median=float(np.median(values)),
        largest=int(values.max()),
        bins={int(number): int(count) for number, count in zip(found, counts, strict=True)},
    )
