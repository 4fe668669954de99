"""A few rows of each reason in quarantine, as a picture or an excerpt, for the validation page."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.data.cleaning.examine import ROW_BITS, ShardTask, read_rows
from components.data.modalities import Modality

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

EXAMPLES = "examples.parquet"
PER_REASON = 8
_FROM_SHARDS = 4
"""Shards that are read for them at most, so that it takes no longer with more data."""


def examples_table(connection: "duckdb.DuckDBPyConnection", shards: Sequence[ShardTask], modality: Modality) -> "pa.Table":
    """Columns reason, id, picture (PNG) or text, and the same of the earlier row that it repeats, where that was read anyway."""
    import pyarrow as pa

    wanted = _wanted(connection)
    shown: dict[int, bytes | str | None] = {}
    places = {position for row in wanted for position in (row["position"], row["of"]) if position is not None}
    for shard in shards:
        shown |= _excerpts(shard, modality, {position for position in places if position >> ROW_BITS == shard.number})
    sides = (("position", ""), ("of", "other_"))
    rows = [
        {
            "reason": row["reason"],
            "id": row["id"],
            **{f"{prefix}{kind}": _as(kind, shown.get(row[place])) for place, prefix in sides for kind in ("picture", "text")},
        }
        for row in wanted
    ]
    fields = [pa.field(f"{prefix}{kind}", pa.binary() if kind == "picture" else pa.string()) for _, prefix in sides for kind in ("picture", "text")]
    return pa.Table.from_pylist(rows, pa.schema([pa.field("reason", pa.string()), pa.field("id", pa.string()), *fields]))


def _wanted(connection: "duckdb.DuckDBPyConnection") -> list[Mapping[str, Any]]:
    """The first rows of each reason in the first shards that have any."""
    query = f"""
        WITH bad AS (
            SELECT position, id, coalesce(r.reason, d.reason) AS reason, d."of" AS "of" FROM rows r LEFT JOIN dealt d USING (position)
            WHERE coalesce(r.reason, d.reason) IS NOT NULL
        ),
        placed AS (SELECT *, dense_rank() OVER (PARTITION BY reason ORDER BY position >> {ROW_BITS}) AS shard FROM bad)
        SELECT * FROM placed WHERE shard <= {_FROM_SHARDS}
        QUALIFY row_number() OVER (PARTITION BY reason ORDER BY position) <= {PER_REASON} ORDER BY reason, position
    """
    rows: list[Mapping[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
    return rows


def _excerpts(shard: ShardTask, modality: Modality, places: set[int]) -> dict[int, bytes | str | None]:
    if not places:
        return {}
    found: dict[int, bytes | str | None] = {}
    for number, row in enumerate(read_rows(shard, modality), shard.number << ROW_BITS):
        if number in places:
            found[number] = modality.excerpt(row, shard.config)
            if len(found) == len(places):
                break
    return found


def _as(kind: str, content: bytes | str | None) -> bytes | str | None:
    return content if isinstance(content, bytes if kind == "picture" else str) else None
