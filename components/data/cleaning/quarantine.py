"""The rows that cleaning dropped: each with its reason, where it came from, and where its raw row lies."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from components.data.cleaning.examine import ROW_BITS
from components.data.near import Likeness

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

QUARANTINE = "quarantine.parquet"
_AT_ONCE = 10_000


def schema() -> "pa.Schema":
    """`shard` and `row` say where the raw row lies; blocks of a document are counted one by one."""
    import pyarrow as pa

    return pa.schema(
        [*(pa.field(name, pa.string()) for name in ("id", "reason", "detail", "source")), pa.field("shard", pa.int32()), pa.field("row", pa.int64())]
    )


def batches(connection: "duckdb.DuckDBPyConnection", likeness: Likeness | None) -> "Iterator[pa.RecordBatch]":
    """Every dropped row, in the dataset's order."""
    import pyarrow as pa

    for rows in _rejected(connection, likeness):
        yield pa.RecordBatch.from_pylist([{name: row[name] for name in schema().names} for row in rows], schema())


def first_rejected(connection: "duckdb.DuckDBPyConnection", likeness: Likeness | None, per_reason: int) -> list[dict[str, Any]]:
    """The first rows of each reason, with their `position` and, in `of`, that of the earlier row that each repeats."""
    return [row for rows in _rejected(connection, likeness, per_reason) for row in rows]


def _rejected(connection: "duckdb.DuckDBPyConnection", likeness: Likeness | None, per_reason: int | None = None) -> Iterator[list[dict[str, Any]]]:
    """From the view `rows` and the tables `dealt` and `near`."""
    query = """
        SELECT r.position, r.id, r.source, r.given, coalesce(r.reason, d.reason) AS reason, r.detail, d.num_parts AS repeated, r.num_parts, r.most,
            d."of" AS "of", o.id AS other, od.split AS other_split, similarity
        FROM rows r LEFT JOIN dealt d USING (position)
        LEFT JOIN rows o ON o.position = d."of" LEFT JOIN dealt od ON od.position = d."of"
        LEFT JOIN near n ON n.later = r.position AND n.earlier = d."of"
        WHERE coalesce(r.reason, d.reason) IS NOT NULL
    """
    if per_reason is not None:
        query += f"QUALIFY row_number() OVER (PARTITION BY coalesce(r.reason, d.reason) ORDER BY r.position) <= {per_reason}"
    for batch in connection.cursor().sql(f"{query} ORDER BY r.position").to_arrow_reader(_AT_ONCE):
        rows = batch.to_pylist()
        for row in rows:
            row["detail"] = row["detail"] or _detail(row, likeness)
            row["shard"], row["row"] = row["position"] >> ROW_BITS, row["position"] & (1 << ROW_BITS) - 1
        yield rows


def _detail(row: dict[str, Any], likeness: Likeness | None) -> str:
    other = f"{row['other']} ({row['other_split']})"
    if row["reason"] == "near-duplicate":
        assert likeness is not None
        return f"nearly the same as {other}: {likeness.describe(row['similarity'])}"
    if row["reason"] == "bridges-splits":
        return f"is like {other}, but the source puts it in {row['given']}"
    if row["reason"] == "boilerplate":
        return f"its caption stands with {row['most']:,} earlier rows already"
    if row["repeated"]:
        return f"{row['repeated']} of its {row['num_parts']} paragraphs stand in earlier documents"
    return f"the same as {other}"
