"""Pairs of rows that are nearly the same, over all shards: a job per band for the candidates, then each pair is compared once.

Rows have a position, whose order is the order of the dataset. A job reads one column of every file; memory grows with the rows that share a value.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data.duck import connect
from components.data.executor import Executor
from components.data.near import Likeness
from components.project import Project

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

POSITION, FEATURE = "position", "feature"
_COMPARED_AT_ONCE = 4096
_ENOUGH = 8
"""A row with so many before it that are like it is compared with no more: most of them are dropped themselves, but the earliest is kept or like one that is."""


@dataclass(frozen=True)
class BandTask:
    project: Project
    files: tuple[Path, ...]
    """Parquet with the columns position, feature and one per band; null where a row is not compared."""
    band: int
    likeness: Likeness
    output: Path


def band_column(band: int) -> str:
    return f"band_{band:03d}"


def near_pairs(project: Project, executor: Executor, files: Sequence[Path], likeness: Likeness, folder: Path, connection: "duckdb.DuckDBPyConnection") -> None:
    """Fill the table `near` (later, earlier, similarity) of ``connection``: every pair found that is alike, by positions."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [BandTask(project, tuple(files), band, likeness, folder / f"{band_column(band)}.parquet") for band in range(likeness.num_bands)]
    found = [path for path in executor.map(pairs_of_band, tasks) if path]
    if not found:
        return
    connection.execute("CREATE TABLE candidates AS SELECT DISTINCT later, earlier FROM read_parquet(?)", [[str(path) for path in found]])
    asked = "SELECT later FROM candidates UNION SELECT earlier FROM candidates"
    query = f"CREATE TABLE compared AS SELECT {POSITION}, {FEATURE} FROM read_parquet(?) WHERE {POSITION} IN ({asked})"
    connection.execute(query, [[str(path) for path in files]])
    for alike in _alike(connection, likeness):
        connection.register("alike", alike)
        connection.execute("INSERT INTO near SELECT * FROM alike")
        connection.unregister("alike")
    connection.execute("DROP TABLE candidates; DROP TABLE compared")
    for path in found:
        path.unlink()


def pairs_of_band(task: BandTask) -> Path | None:
    """Write the band's candidates (later, earlier) that its buckets of equal values show; None where there are none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with connect(task.project) as connection:
        shared = _shared_values(connection, task)
    rows, others = _in_buckets(shared, task.likeness)
    if not len(rows):
        return None
    positions = shared[POSITION]
    pq.write_table(pa.table({"later": positions[rows], "earlier": positions[others]}), task.output, compression="zstd")
    return task.output


def _shared_values(connection: "duckdb.DuckDBPyConnection", task: BandTask) -> "dict[str, NDArray[Any]]":
    """The rows whose value stands in more than one of them, sorted by value and position, with their features where those are small."""
    column, wanted = band_column(task.band), [POSITION, *([FEATURE] if task.likeness.is_cheap else [])]
    query = (
        f"WITH rows AS (SELECT {column} AS value, {', '.join(wanted)} FROM read_parquet(?) WHERE {column} IS NOT NULL), "
        f"shared AS (SELECT value FROM rows GROUP BY value HAVING count(*) > 1) "
        f"SELECT value, {', '.join(wanted)} FROM rows SEMI JOIN shared USING (value) ORDER BY value, {POSITION}"
    )
    found: dict[str, Any] = connection.execute(query, [[str(path) for path in task.files]]).fetchnumpy()
    return found


def _in_buckets(shared: "dict[str, NDArray[Any]]", likeness: Likeness) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
    """Indices of rows and of those that each is to be compared with: the first ones of its bucket, of which one is kept, and the ones just before it.

    Where comparing is cheap it is done here, and ends for a row that has enough like it.
    """
    import numpy as np

    values = shared["value"]
    indices = np.arange(len(values))
    starts = np.maximum.accumulate(np.where(np.concatenate([[True], values[1:] != values[:-1]])[: len(values)], indices, 0))
    depths, found = indices - starts, np.zeros(len(values), dtype=np.int64)
    pairs: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for step in range(2 * likeness.reach):
        from_start = step < likeness.reach
        rows = np.flatnonzero((depths > (step if from_start else likeness.reach + (step - likeness.reach))) & (found < _ENOUGH))
        if not len(rows):
            break
        others = starts[rows] + step if from_start else rows - (step - likeness.reach + 1)
        if likeness.is_cheap:
            features = shared[FEATURE]
            alike = np.asarray([likeness.alike(value) for value in likeness.similarities(list(features[rows]), list(features[others]))], dtype=bool)
            rows, others = rows[alike], others[alike]
            found[rows] += 1
        pairs.append((rows, others))
    nothing = np.zeros(0, dtype=np.int64)
    return np.concatenate([nothing, *(rows for rows, _ in pairs)]), np.concatenate([nothing, *(others for _, others in pairs)])


def _alike(connection: "duckdb.DuckDBPyConnection", likeness: Likeness) -> "Iterator[pa.Table]":
    query = (
        f"SELECT later, earlier, a.{FEATURE} AS one, b.{FEATURE} AS other FROM candidates "
        f"JOIN compared a ON a.{POSITION} = later JOIN compared b ON b.{POSITION} = earlier"
    )
    # A cursor of its own, for what is found is written to the same database meanwhile.
    reader = connection.cursor().sql(query).to_arrow_reader(_COMPARED_AT_ONCE)
    for batch in reader:
        yield _compared(batch, likeness)


def _compared(batch: "pa.RecordBatch", likeness: Likeness) -> "pa.Table":
    import numpy as np
    import pyarrow as pa

    similarities = likeness.similarities(batch["one"].to_pylist(), batch["other"].to_pylist())
    alike = np.asarray([likeness.alike(float(value)) for value in similarities], dtype=bool)
    table = pa.table({"later": batch["later"], "earlier": batch["earlier"], "similarity": similarities})
    return table.filter(pa.array(alike))
