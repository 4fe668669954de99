"""What rows that differ look like: pictures or text by the modality, and for a changed row what changed in it."""

import difflib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.data.changes import ChangedRow, Rows
from components.data.dataset import COMMON_COLUMNS
from components.data.modalities import Modality
from components.data.pixels import encode_image

if TYPE_CHECKING:
    import pyarrow as pa

MOST_LINES, LONGEST_LINE = 14, 200
"""Of the differences of a text that are shown."""
_MARGIN = 4
"""Pixels round a picture."""


@dataclass(frozen=True)
class Samples:
    """Several rows as the modality shows them."""

    preview: bytes | str
    """A PNG or a text."""
    ids: tuple[str, ...]


@dataclass(frozen=True)
class FieldChange:
    """One column of a changed row."""

    name: str
    lines: tuple[str, ...]
    """A unified difference without its head: lines that begin with `-`, `+` or a space."""


@dataclass(frozen=True)
class ChangedSample:
    """A row before and after."""

    id: str
    before: bytes | str
    after: bytes | str
    fields: tuple[FieldChange, ...]


def samples(modality: Modality, rows: Sequence[ChangedRow], side: Rows, shard_of: Callable[[ChangedRow], str | None]) -> Samples | None:
    """Some rows of one side; None where there are none."""
    table = _read(side, {row.id: shard for row in rows if (shard := shard_of(row))})
    return Samples(_trimmed(modality.preview(table)), tuple(table["id"].to_pylist())) if table is not None and table.num_rows else None


def changed_samples(modality: Modality, rows: Sequence[ChangedRow], old: Rows, new: Rows) -> Iterator[ChangedSample]:
    """Each of ``rows`` on both sides."""
    before = _read(old, {row.id: row.before for row in rows if row.before})
    after = _read(new, {row.id: row.after for row in rows if row.after})
    if before is None or after is None:
        return
    for row in rows:
        sides = [table.filter(_is(table, row.id)) for table in (before, after)]
        values = [_named(table.to_pylist()[0], side) for table, side in zip(sides, (old, new), strict=True)]
        yield ChangedSample(row.id, _trimmed(modality.preview(sides[0])), _trimmed(modality.preview(sides[1])), tuple(_field_changes(*values)))


def _read(side: Rows, shard_by_id: Mapping[str, str]) -> "pa.Table | None":
    """Whole rows by their ids, in the order of the ids, one shard in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted: dict[str, list[str]] = {}
    for name, shard in shard_by_id.items():
        wanted.setdefault(shard, []).append(name)
    tables = [pq.read_table(side.files[shard], filters=[("id", "in", names)], partitioning=None) for shard, names in sorted(wanted.items())]
    return pa.concat_tables(tables).sort_by("id") if tables else None


def _trimmed(preview: bytes | str) -> bytes | str:
    """A sheet of few pictures without the empty places to the right of them."""
    from PIL import Image, ImageChops

    if isinstance(preview, str):
        return preview
    with Image.open(io.BytesIO(preview)) as sheet:
        used = ImageChops.invert(sheet.convert("RGB")).getbbox()
        return encode_image(sheet.crop((0, 0, min(used[2] + _MARGIN, sheet.width), sheet.height))) if used else preview


def _is(table: "pa.Table", name: str) -> Any:
    import pyarrow.compute as pc

    return pc.equal(table["id"], name)


def _named(row: Mapping[str, Any], side: Rows) -> dict[str, Any]:
    """The row with its label as a word."""
    names, label = side.manifest.class_names, row.get("label")
    return {**row, "label": names[label]} if names and isinstance(label, int) else dict(row)


def _field_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[FieldChange]:
    """The columns that can be read and differ; what a picture holds is seen in it."""
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        readable = all(value is None or isinstance(value, (str, int, float, bool)) for value in (old, new))
        if name not in COMMON_COLUMNS and readable and old != new:
            yield FieldChange(name, tuple(_lines(_text(old), _text(new))))


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _lines(before: str, after: str) -> list[str]:
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1))[2:]
    shown = [line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} …" for line in lines if not line.startswith("@@")]
    return shown if len(shown) <= MOST_LINES else [*shown[:MOST_LINES], f"  … {len(shown) - MOST_LINES} more lines"]
