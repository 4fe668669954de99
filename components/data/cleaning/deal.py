"""Deals all examined rows to splits. DuckDB finds which rows repeat something; the dealer then goes over the rows once, in order.

Only numbers of what stands in several rows reach the dealer, so its memory grows with the repetitions and not with the dataset.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data.cleaning.splits import Dealer, Dealt, Refused, Row
from components.data.config import SplitConfig
from components.data.duck import parquet_view
from components.errors import UserError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_AT_ONCE = 10_000


def load_rows(connection: "duckdb.DuckDBPyConnection", files: Sequence[Path]) -> None:
    """Make the view `rows` of the examined shards, and the empty table `near` of pairs."""
    parquet_view(connection, "rows", files)
    connection.execute("CREATE TABLE near (later BIGINT, earlier BIGINT, similarity DOUBLE)")


def deal_rows(connection: "duckdb.DuckDBPyConnection", name: str, split: SplitConfig) -> None:
    """Make the table `dealt` (position, split, drop, reason, of, num_parts) of ``connection`` from `rows` and `near`.

    Raises:
        UserError: the source is to give the splits, and does not for some rows.
    """
    given = {value for (value,) in connection.execute("SELECT DISTINCT given FROM rows WHERE reason IS NULL").fetchall()}
    if split.method == "given" and None in given:
        raise UserError(f"Dataset {name!r}: the source gives no split for some rows: set datasets.{name}.split.method to hash.")
    _number_what_repeats(connection)
    connection.execute('CREATE TABLE dealt (position BIGINT, split VARCHAR, "drop" INTEGER[], reason VARCHAR, "of" BIGINT, num_parts INTEGER)')
    dealer = Dealer(split, source_has_validation="validation" in given)
    results = ((row.position, dealer.deal(row)) for row in _good_rows(connection))
    while batch := list(islice(results, _AT_ONCE)):
        connection.register("batch", _table(batch))
        connection.execute("INSERT INTO dealt SELECT * FROM batch")
        connection.unregister("batch")


def _number_what_repeats(connection: "duckdb.DuckDBPyConnection") -> None:
    """Tables of the keys that stand in several good rows, each with a number, and of the parts that a row shares with others."""
    for kind, times in (("duplicate", "1"), ("group", "1"), ("repeated", "max(most)")):
        key = f"{kind}_key"
        connection.execute(
            f"CREATE TABLE {kind}s AS SELECT {key}, row_number() OVER () AS number "
            f"FROM (SELECT {key} FROM rows WHERE reason IS NULL AND {key} IS NOT NULL GROUP BY {key} HAVING count(*) > {times})"
        )
    connection.execute("""
        CREATE TABLE shared_parts AS
        WITH each AS (SELECT position, unnest(parts, recursive := true) FROM rows WHERE reason IS NULL),
        shared AS (SELECT digest, row_number() OVER () AS number FROM each GROUP BY digest HAVING count(DISTINCT position) > 1)
        SELECT position, list({"index": "index", number: number, length: length} ORDER BY "index") AS parts
        FROM each JOIN shared USING (digest) GROUP BY position
    """)
    connection.execute("CREATE TABLE likes AS SELECT later AS position, list(earlier ORDER BY earlier) AS near FROM near GROUP BY later")


def _good_rows(connection: "duckdb.DuckDBPyConnection") -> Iterator[Row]:
    query = """
        SELECT position, id, given, d.number AS duplicate, g.number AS grouped, s.number AS repeated, most, near, p.parts, num_parts, length, least
        FROM rows
        LEFT JOIN duplicates d USING (duplicate_key) LEFT JOIN groups g USING (group_key) LEFT JOIN repeateds s USING (repeated_key)
        LEFT JOIN shared_parts p USING (position) LEFT JOIN likes USING (position)
        WHERE reason IS NULL ORDER BY position
    """
    # A cursor of its own, for the results are written to the same database meanwhile.
    for batch in connection.cursor().sql(query).to_arrow_reader(_AT_ONCE):
        for row in batch.to_pylist():
            parts = tuple((part["index"], part["number"], part["length"]) for part in row["parts"] or ())
            yield Row(
                position=row["position"],
                id=row["id"],
                given=row["given"],
                duplicate=row["duplicate"],
                group=row["grouped"],
                repeated=row["repeated"],
                most=row["most"],
                near=tuple(row["near"] or ()),
                parts=parts,
                num_parts=row["num_parts"],
                length=row["length"],
                least=row["least"],
            )


def _table(batch: Iterable[tuple[int, Dealt | Refused]]) -> "pa.Table":
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [] for name in ("position", "split", "drop", "reason", "of", "num_parts")}
    for position, found in batch:
        if isinstance(found, Dealt):
            values: tuple[Any, ...] = (position, found.split, list(found.drop), None, None, 0)
        else:
            values = (position, None, [], found.reason, found.of, found.num_parts)
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    types = (pa.int64(), pa.string(), pa.list_(pa.int32()), pa.string(), pa.int64(), pa.int32())
    return pa.table({name: pa.array(values, kind) for (name, values), kind in zip(columns.items(), types, strict=True)})
