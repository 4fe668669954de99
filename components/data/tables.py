"""Parquet files as parts of a source, read a few rows at a time: what a file says of itself is checked before, and what comes out while it is read."""

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from components.data.layout import SPLIT_NAMES
from components.data.pages import pages_of
from components.data.readers import Columns, bad_row
from components.data.sources import OtherModality, Part, RawRow
from components.data.trees import Caps, Entry, Tree, Unreadable
from components.data.trees.inflating import RATIO_FROM_BYTES
from components.errors import UserError, first_line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ENDINGS = (".parquet", ".pq")
ROWS_AT_ONCE, _LABELS_AT_ONCE, BYTES_AT_ONCE = 128, 65_536, 64 * 2**20
_MOST_LOST = 100_000
"""Rows of a file that are counted as lost, for how many there are only the file says."""
VALUES_FROM = 1_000_000
"""Below this many values a small file that repeats one value is no bomb."""
_SPLIT = re.compile(rf"({'|'.join(SPLIT_NAMES)})(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class TableLayout:
    """Which column of the files gives what."""

    columns: Mapping[str, str]
    """By our name of it."""
    class_names: Mapping[str, Sequence[str]]
    """Of columns that hold numbers of classes, where the files name these, by our name of the column."""


def layout_of(tree: Tree, entry: Entry, wanted: Columns, chosen: Mapping[str, str]) -> TableLayout:
    """What the file ``entry`` gives of what is ``wanted``; ``chosen`` names columns that are called otherwise.

    Raises:
        UserError: it is no Parquet, or columns are missing.
    """
    try:
        with tree.open(entry) as file, _opened(file) as table:
            schema = table.schema_arrow
    except Unreadable as error:
        raise UserError(f"{entry.name} in {tree.place} cannot be read, {error}: fetch or write it again.") from None
    return layout_of_schema(schema, entry.name, wanted, chosen)


def layout_of_schema(schema: "pa.Schema", file_name: str, wanted: Columns, chosen: Mapping[str, str]) -> TableLayout:
    """`layout_of` the file called ``file_name`` with ``schema``."""
    there = set(schema.names)
    strange = next((name for name in chosen if name not in wanted.names), None)
    if strange is not None:
        raise UserError(f"source.columns names {strange!r}, which is not read here: use {', '.join(wanted.names)}.")
    gone = next((column for column in chosen.values() if column not in there), None)
    if gone is not None:
        raise UserError(f"{file_name} has no column {gone!r} (it has {', '.join(schema.names)}): mend source.columns.")
    found = {name: chosen[name] if name in chosen else next((alias for alias in wanted.aliases(name) if alias in there), None) for name in wanted.names}
    columns = {name: column for name, column in found.items() if column is not None}
    if not any(all(name in columns for name in names) for names in wanted.needed):
        needed = " or ".join(" and ".join(names) for names in wanted.needed)
        raise OtherModality(f"{file_name} has the columns {', '.join(schema.names)}, and {needed} are needed: say which is which in source.columns.")
    return TableLayout(columns, _class_names(schema, columns))


def table_parts(tree: Tree, entries: Sequence[Entry], layout: TableLayout, fields: Callable[[Mapping[str, Any]], dict[str, Any]], caps: Caps) -> Iterator[Part]:
    """A part per file; where files are called by splits, as Hugging Face does it, these are their rows' own."""
    splits = splits_of([entry.name for entry in entries])
    for entry in entries:
        split = splits.get(entry.name)
        yield Part(entry.name, f"{entry.stamp} {split}", partial(_rows, tree, entry, split, layout, fields, caps))


def splits_of(names: Sequence[str]) -> dict[str, str]:
    """The split that each file is called by, like `train-00000-of-00002.parquet` or `data/test/0.parquet`; empty unless all are, and more than one is there."""
    found: dict[str, str] = {}
    for name in names:
        said = next((match[1] for part in reversed(name.split("/")) if (match := _SPLIT.match(part))), None)
        if said is None:
            return {}
        found[name] = SPLIT_NAMES[said.lower()]
    return found if len(set(found.values())) > 1 and "train" in found.values() else {}


def labels_in(tree: Tree, entries: Sequence[Entry], layout: TableLayout, caps: Caps) -> tuple[str, ...]:
    """The classes: as the files name them, else all that occur, of which only that column is read.

    Raises:
        UserError: a file is a bomb.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if "label" not in layout.columns:
        return ()
    if "label" in layout.class_names:
        return tuple(layout.class_names["label"])
    found: set[str] = set()
    alone = TableLayout({"label": layout.columns["label"]}, {})
    for entry in entries:
        try:
            with tree.open(entry) as file, _opened(file) as table:
                _refuse_bomb(f"{tree.place}/{entry.name}", entry, table.metadata, alone, caps)
                for batch in _batches(f"{tree.place}/{entry.name}", entry, file, table, alone, caps, _LABELS_AT_ONCE):
                    found |= {str(label) for label in pc.unique(batch.column(0)).to_pylist() if label is not None}
        except (Unreadable, pa.ArrowException, OSError):
            continue  # it becomes one row that says so
    return tuple(sorted(found, key=lambda label: (not label.isdigit(), int(label) if label.isdigit() else 0, label)))


def _rows(
    tree: Tree, entry: Entry, split: str | None, layout: TableLayout, fields: Callable[[Mapping[str, Any]], dict[str, Any]], caps: Caps
) -> Iterator[RawRow]:
    import pyarrow as pa

    number = num_rows = 0
    try:
        with tree.open(entry) as file, _opened(file) as table:
            _refuse_bomb(f"{tree.place}/{entry.name}", entry, table.metadata, layout, caps)
            num_rows = table.metadata.num_rows
            for batch in _batches(f"{tree.place}/{entry.name}", entry, file, table, layout, caps):
                for values in batch.to_pylist():
                    number += 1
                    named = named_values(values, layout)
                    said = named.pop("split", None)
                    row_split = SPLIT_NAMES.get(str(said).lower()) if said is not None else split
                    yield RawRow(id=f"{entry.name}:{number}", source=f"{entry.name} row {number}", fields=fields(named), split=row_split)
    except (Unreadable, pa.ArrowException, OSError, UnicodeDecodeError) as error:
        why = f"the file cannot be read from row {number + 1:,} on ({first_line(error)})"
        last = min(max(num_rows, number + 1), number + _MOST_LOST)
        for missing in range(number + 1, last + 1):  # each row that is lost counts for the gate
            yield bad_row(f"{entry.name}:{missing}", why, split)


def named_values(values: Mapping[str, Any], layout: TableLayout) -> dict[str, Any]:
    """The values of a row by our names of the columns."""
    return {name: _named(values[column], layout.class_names.get(name)) for name, column in layout.columns.items()}


def _named(value: Any, names: Sequence[str] | None) -> Any:
    """The name of a class that stands there as a number."""
    return names[value] if names is not None and isinstance(value, int) and 0 <= value < len(names) else value


def _opened(file: Any) -> "pq.ParquetFile":
    """Raises Unreadable where it is no Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise Unreadable(f"it is no whole Parquet file ({first_line(error)})") from None


def _is_read(path: str, layout: TableLayout) -> bool:
    return any(path == column or path.startswith(f"{column}.") for column in layout.columns.values())


def _refuse_bomb(where: str, entry: Entry, metadata: "pq.FileMetaData", layout: TableLayout, caps: Caps) -> None:
    """Refuse a file that says itself, at its end, that far more is in it than it is large."""
    columns = [column for group in range(metadata.num_row_groups) for column in _columns(metadata.row_group(group), layout)]
    packed = sum(column.total_compressed_size for column in columns)
    unpacked = sum(column.total_uncompressed_size for column in columns)
    values = max(metadata.num_rows, sum(column.num_values for column in columns))
    if unpacked > max(RATIO_FROM_BYTES, caps.max_ratio * min(packed, entry.size)):
        raise _bomb(where, f"unpacks from {packed:,} to {unpacked:,} bytes", "max_ratio", caps.max_ratio)
    if values > max(VALUES_FROM, caps.max_ratio * entry.size):
        raise _bomb(where, f"has {values:,} values in {entry.size:,} bytes", "max_ratio", caps.max_ratio)
    if unpacked > caps.max_total_bytes:
        raise _bomb(where, f"unpacks to {unpacked:,} bytes", "max_total_bytes", caps.max_total_bytes)


def _batches(
    where: str, entry: Entry, file: BinaryIO, table: "pq.ParquetFile", layout: TableLayout, caps: Caps, most_rows: int = ROWS_AT_ONCE
) -> "Iterator[pa.RecordBatch]":
    """Some rows at a time, few where they are large; a bomb is refused before the row group is read in which it becomes one.

    A value that a million rows share may stand in the file once, in a dictionary or as the beginning of the others, and stands in memory as often as
    there are rows in a batch. Arrow would keep that of a dictionary once there too, but not below the top level, where images have their bytes.
    """
    unpacked = whole = 0
    for number in range(table.num_row_groups):
        group = table.metadata.row_group(number)
        columns = [(column, list(pages_of(file, column))) for column in _columns(group, layout)]
        size = sum(page.header + page.unpacked for _, pages in columns for page in pages)
        unpacked += size
        if unpacked > max(RATIO_FROM_BYTES, caps.max_ratio * entry.size):
            raise _bomb(where, f"unpacks, as its pages say, to more than {unpacked:,} bytes", "max_ratio", caps.max_ratio)
        shared = sum(max(page.unpacked for page in pages) for column, pages in columns if pages and _shares_values(column))
        rows = int(min(most_rows, max(1, BYTES_AT_ONCE / max(shared, size / max(group.num_rows, 1), 1))))
        for batch in table.iter_batches(batch_size=rows, row_groups=[number], columns=list(layout.columns.values())):
            whole += batch.nbytes
            if whole > max(RATIO_FROM_BYTES, caps.max_ratio * entry.size):
                raise _bomb(where, f"repeats its values until they are more than {whole:,} bytes", "max_ratio", caps.max_ratio)
            if whole > caps.max_total_bytes:
                raise _bomb(where, f"gives more than {whole:,} bytes", "max_total_bytes", caps.max_total_bytes)
            yield batch


def _shares_values(column: "pq.ColumnChunkMetaData") -> bool:
    return bool(column.has_dictionary_page or "DELTA_BYTE_ARRAY" in column.encodings)


def _columns(group: "pq.RowGroupMetaData", layout: TableLayout) -> "list[pq.ColumnChunkMetaData]":
    """The leaves that are read."""
    columns = (group.column(index) for index in range(group.num_columns))
    return [column for column in columns if _is_read(column.path_in_schema, layout)]


def _bomb(where: str, what: str, key: str, cap: int) -> UserError:
    return UserError(f"{where} is not read, it {what} and {cap:,} is the most that is allowed: raise source.{key} if you trust it.")


def _class_names(schema: "pa.Schema", columns: Mapping[str, str]) -> dict[str, list[str]]:
    """Names of classes, as Hugging Face datasets writes them into the schema."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        found = {name: features[column].get("names") for name, column in columns.items() if features.get(column, {}).get("_type") == "ClassLabel"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {name: names for name, names in found.items() if isinstance(names, list) and all(isinstance(one, str) for one in names)}


def tables_in(tree: Tree, pattern: str = "") -> list[Entry]:
    """The Parquet files of ``tree``, or those whose names fit the glob ``pattern``."""
    import fnmatch

    entries = (entry for entry in tree.entries() if entry.name.lower().endswith(ENDINGS))
    return [entry for entry in entries if not pattern or fnmatch.fnmatch(entry.name, pattern) or fnmatch.fnmatch(posixpath.basename(entry.name), pattern)]
