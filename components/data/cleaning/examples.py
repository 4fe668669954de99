"""A few rows of each reason in quarantine, as a picture or an excerpt, for the validation page."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.data.cleaning.examine import ROW_BITS, ShardTask, read_rows
from components.data.modalities import Modality

if TYPE_CHECKING:
    import pyarrow as pa

EXAMPLES = "examples.parquet"
PER_REASON = 8


def examples_table(wanted: Sequence[Mapping[str, Any]], shards: Sequence[ShardTask], modality: Modality) -> "pa.Table":
    """Columns reason, id, detail, picture (PNG) or text, and with `other_` the same of the earlier row that it repeats.

    ``wanted`` is from `quarantine.first_rejected`; only the shards in which those rows lie are read.
    """
    import pyarrow as pa

    shown: dict[int, bytes | str | None] = {}
    places = {position for row in wanted for position in (row["position"], row["of"]) if position is not None}
    for shard in shards:
        shown |= _excerpts(shard, modality, {position for position in places if position >> ROW_BITS == shard.number})
    said = ("reason", "id", "detail")
    sides = [(place, prefix, kind) for place, prefix in (("position", ""), ("of", "other_")) for kind in ("picture", "text")]
    rows = [{**{name: row[name] for name in said}, **{f"{prefix}{kind}": _as(kind, shown.get(row[place])) for place, prefix, kind in sides}} for row in wanted]
    rows.sort(key=lambda row: row["reason"])
    fields = [pa.field(f"{prefix}{kind}", pa.binary() if kind == "picture" else pa.string()) for _, prefix, kind in sides]
    return pa.Table.from_pylist(rows, pa.schema([*(pa.field(name, pa.string()) for name in said), *fields]))


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
