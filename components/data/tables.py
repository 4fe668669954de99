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
from components.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ENDINGS = (".parquet", ".pq")
_ROWS_AT_ONCE, _BYTES_AT_ONCE = 128, 64 * 2**20
_VALUES_FROM = 1_000_000
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
            with tree.open(entry) as file, _opened(file, alone) as table:
                _refuse_bomb(f"{tree.place}/{entry.name}", entry, file, table.metadata, alone, caps)
                for batch in table.iter_batches(batch_size=65_536, columns=list(alone.columns.values())):
                    found |= {str(label) for label in pc.unique(batch.column(0)).to_pylist() if label is not None}
        except (Unreadable, pa.ArrowException, OSError):
            continue  # it becomes one row that says so
    return tuple(sorted(found, key=lambda label: (not label.isdigit(), int(label) if label.isdigit() else 0, label)))


def _rows(
    tree: Tree, entry: Entry, split: str | None, layout: TableLayout, fields: Callable[[Mapping[str, Any]], dict[str, Any]], caps: Caps
) -> Iterator[RawRow]:
    import pyarrow as pa

    number = 0
    try:
        with tree.open(entry) as file, _opened(file, layout) as table:
            _refuse_bomb(f"{tree.place}/{entry.name}", entry, file, table.metadata, layout, caps)
            for batch in _batches(f"{tree.place}/{entry.name}", entry, table, layout, caps):
                for values in batch.to_pylist():
                    number += 1
                    named = named_values(values, layout)
                    said = named.pop("split", None)
                    row_split = SPLIT_NAMES.get(str(said).lower()) if said is not None else split
                    yield RawRow(id=f"{entry.name}:{number}", source=f"{entry.name} row {number}", fields=fields(named), split=row_split)
    except (Unreadable, pa.ArrowException, OSError, UnicodeDecodeError) as error:
        yield bad_row(f"{entry.name}:{number + 1}", f"the file cannot be read from there on ({str(error).splitlines()[0][:200]})", split)


def named_values(values: Mapping[str, Any], layout: TableLayout) -> dict[str, Any]:
    """The values of a row by our names of the columns."""
    return {name: _named(values[column], layout.class_names.get(name)) for name, column in layout.columns.items()}


def _named(value: Any, names: Sequence[str] | None) -> Any:
    """The name of a class that stands there as a number."""
    return names[value] if names is not None and isinstance(value, int) and 0 <= value < len(names) else value


def _opened(file: Any, layout: TableLayout | None = None) -> "pq.ParquetFile":
    """The file, of which what repeats stays together: a text of ten megabytes that stands in a million rows is in memory once.

    Raises:
        Unreadable: it is no Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        leaves = _leaves(pq.read_metadata(file), layout) if layout else []
        file.seek(0)
        return pq.ParquetFile(file, read_dictionary=leaves, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise Unreadable(f"it is no whole Parquet file ({str(error).splitlines()[0][:200]})") from None


def _leaves(metadata: "pq.FileMetaData", layout: TableLayout) -> list[str]:
    """Paths of the texts and bytes among the columns that are read."""
    columns = (metadata.schema.column(index) for index in range(metadata.num_columns))
    return [column.path for column in columns if _is_read(column.path, layout) and column.physical_type == "BYTE_ARRAY"]


def _is_read(path: str, layout: TableLayout) -> bool:
    return any(path == column or path.startswith(f"{column}.") for column in layout.columns.values())


def _refuse_bomb(where: str, entry: Entry, file: BinaryIO, metadata: "pq.FileMetaData", layout: TableLayout, caps: Caps) -> None:
    """Refuse a file that says itself, at its end or page by page, that far more is in it than it is large."""
    every = (metadata.row_group(group).column(index) for group in range(metadata.num_row_groups) for index in range(metadata.num_columns))
    columns = [column for column in every if _is_read(column.path_in_schema, layout)]
    packed = sum(column.total_compressed_size for column in columns)
    values = sum(column.num_values for column in columns)
    at_its_end = sum(column.total_uncompressed_size for column in columns)
    unpacked = max(at_its_end, sum(page.header + page.unpacked for column in columns for page in pages_of(file, column)))
    if unpacked > max(RATIO_FROM_BYTES, caps.max_ratio * min(packed, entry.size)):
        raise _bomb(where, f"unpacks from {packed:,} to {unpacked:,} bytes", "max_ratio", caps.max_ratio)
    if max(values, metadata.num_rows) > max(_VALUES_FROM, caps.max_ratio * entry.size):
        raise _bomb(where, f"has {max(values, metadata.num_rows):,} values in {entry.size:,} bytes", "max_ratio", caps.max_ratio)
    if unpacked > caps.max_total_bytes:
        raise _bomb(where, f"unpacks to {unpacked:,} bytes", "max_total_bytes", caps.max_total_bytes)


def _batches(where: str, entry: Entry, table: "pq.ParquetFile", layout: TableLayout, caps: Caps) -> "Iterator[pa.RecordBatch]":
    """A few rows at a time; of values that repeat they count each time, for as rows they will."""
    whole = 0
    for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE, columns=list(layout.columns.values())):
        size = sum(_expanded(column) for column in batch.columns)
        at_once = max(1, int(batch.num_rows * min(1.0, _BYTES_AT_ONCE / max(size, 1))))
        for start in range(0, batch.num_rows, at_once):
            piece = batch.slice(start, at_once)
            whole += sum(_expanded(column) for column in piece.columns)
            if whole > max(RATIO_FROM_BYTES, caps.max_ratio * entry.size):
                raise _bomb(where, f"repeats its values until they are more than {whole:,} bytes", "max_ratio", caps.max_ratio)
            if whole > caps.max_total_bytes:
                raise _bomb(where, f"gives more than {whole:,} bytes", "max_total_bytes", caps.max_total_bytes)
            yield piece


def _expanded(array: "pa.Array") -> int:
    """Bytes of the values of ``array`` when each stands by itself."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(array, pa.DictionaryArray):
        return int(pc.sum(pc.take(pc.cast(pc.binary_length(array.dictionary), pa.int64()), array.indices)).as_py() or 0)
    if isinstance(array, pa.StructArray):
        return sum(_expanded(child) for child in array.flatten())
    if isinstance(array, (pa.ListArray, pa.LargeListArray)):
        return _expanded(array.flatten())
    return int(array.nbytes)


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
