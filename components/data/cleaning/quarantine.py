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


def rejected(connection: "duckdb.DuckDBPyConnection", likeness: Likeness | None) -> "Iterator[pa.RecordBatch]":
    """From the view `rows` and the tables `dealt` and `near`, in the dataset's order."""
    import pyarrow as pa

    query = (
        "SELECT r.position, r.id, r.source, r.given, coalesce(r.reason, d.reason) AS reason, r.detail, d.num_parts AS repeated, r.num_parts, r.most, "
        "o.id AS other, od.split AS other_split, similarity FROM rows r LEFT JOIN dealt d USING (position) "
        'LEFT JOIN rows o ON o.position = d."of" LEFT JOIN dealt od ON od.position = d."of" '
        'LEFT JOIN near n ON n.later = r.position AND n.earlier = d."of" '
        "WHERE coalesce(r.reason, d.reason) IS NOT NULL ORDER BY r.position"
    )
    for batch in connection.cursor().sql(query).to_arrow_reader(_AT_ONCE):
        rows = [
            {
                "id": row["id"],
                "reason": row["reason"],
                "detail": row["detail"] or _detail(row, likeness),
                "source": row["source"],
                "shard": row["position"] >> ROW_BITS,
                "row": row["position"] & (1 << ROW_BITS) - 1,
            }
            for row in batch.to_pylist()
        ]
        yield pa.RecordBatch.from_pylist(rows, schema())


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
