"""Folders that Hugging Face datasets saved (`save_to_disk`): Arrow files, of one split or of several, read a few rows at a time from where they lie."""

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data.layout import SPLIT_NAMES
from components.data.sources import Part, RawRow
from components.data.tables import BYTES_AT_ONCE, ROWS_AT_ONCE, VALUES_FROM, TableLayout, layout_of_schema, named_values
from components.data.trees import Entry
from components.data.trees.folder import Folder
from components.errors import UserError, first_line

if TYPE_CHECKING:
    import pyarrow as pa

_SPLITS, _STATE = "dataset_dict.json", "state.json"
_MOST_VALUES = 1_000_000
"""In all columns and lists of the rows that are read at once: no sample has as many, and each is an object of Python."""
_END = b"\xff\xff\xff\xff\0\0\0\0"
"""What a stream of Arrow's ends in."""
Fields = Callable[[Mapping[str, Any]], dict[str, Any]]


def is_saved(folder: Path) -> bool:
    return (folder / _SPLITS).is_file() or (folder / _STATE).is_file()


def saved_files(folder: Path) -> list[tuple[Entry, str]]:
    """The Arrow files and the split, by the name that it has there, of each; empty where there is one alone.

    Raises:
        UserError: a list of files is damaged, or a file is missing.
    """
    tree = Folder(folder)
    try:
        splits = json.loads((folder / _SPLITS).read_text())["splits"] if (folder / _SPLITS).is_file() else [""]
        names = [(f"{split}/" if split else "", split) for split in splits]
        found = [(f"{at}{file['filename']}", split) for at, split in names for file in json.loads((folder / at / _STATE).read_text())["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} is no whole dataset ({error}): save it again with save_to_disk.") from None
    entries = [(tree.find(name), name, split) for name, split in found if ".." not in name and not name.startswith("/")]
    missing = next((name for entry, name, _ in entries if entry is None), None)
    if missing is not None or not entries:
        raise UserError(f"{folder} lacks {missing or 'every Arrow file'}: save it again with save_to_disk.")
    return [(entry, split) for entry, _, split in entries if entry is not None]


def saved_layout(folder: Path, entry: Entry, wanted: Any, chosen: Mapping[str, str]) -> TableLayout:
    """`tables.layout_of` of an Arrow file."""
    import pyarrow as pa

    with _said(folder, entry), pa.memory_map(str(folder / entry.name)) as file:
        schema = pa.ipc.open_stream(file).schema
    return layout_of_schema(schema, entry.name, wanted, chosen)


def saved_parts(folder: Path, files: list[tuple[Entry, str]], splits: Mapping[str, str], layout: TableLayout, fields: Fields) -> Iterator[Part]:
    """A part per file; ``splits`` says what a split that is called otherwise there is here."""
    for entry, name in files:
        split = splits.get(name, SPLIT_NAMES.get(name))
        yield Part(entry.name, f"{entry.stamp} {split}", partial(_rows, folder, entry, split, layout, fields))


def saved_labels(folder: Path, files: list[tuple[Entry, str]], layout: TableLayout) -> tuple[str, ...]:
    """The classes: as the files name them, else all that occur."""
    if "label" not in layout.columns:
        return ()
    if "label" in layout.class_names:
        return tuple(layout.class_names["label"])
    column = layout.columns["label"]
    rows = (row for entry, _ in files for rows in _rows_of(folder, entry, TableLayout({"label": column}, {})) for row in rows)
    return tuple(sorted({str(row[column]) for row in rows if row[column] is not None}))


def _rows(folder: Path, entry: Entry, split: str | None, layout: TableLayout, fields: Fields) -> Iterator[RawRow]:
    number = 0
    for rows in _rows_of(folder, entry, layout):
        for values in rows:
            number += 1
            named = named_values(values, layout)
            yield RawRow(id=f"{entry.name}:{number}", source=f"{entry.name} row {number}", fields=fields(named), split=split)


def _rows_of(folder: Path, entry: Entry, layout: TableLayout) -> Iterator[list[dict[str, Any]]]:
    """Some rows at a time, with the columns that are read.

    Nothing is taken but plain values, each of which stands in the file by itself. What else Arrow knows (packed buffers, dictionaries, views and runs) would
    let a few bytes be any number of values in memory.

    Raises:
        UserError: the file is damaged, or holds something else. How many rows are lost nobody could say, so that they cannot go to quarantine.
    """
    import pyarrow as pa

    columns, num_rows = list(layout.columns.values()), 0
    with _said(folder, entry), pa.memory_map(str(folder / entry.name)) as file:
        messages = pa.ipc.MessageReader.open_stream(file)
        schema = pa.ipc.read_schema(messages.read_next_message())
        for column in columns:
            _refuse_shared(schema.field(column).type)
        for message in messages:
            if message.type != "record batch" or _is_packed(message.metadata):
                raise _Foreign(f"it holds a {message.type} as save_to_disk does not write it")
            batch = pa.ipc.read_record_batch(message, schema).select(columns)
            batch.validate(full=True)  # Arrow itself believes whatever offsets stand there
            num_rows += batch.num_rows
            if num_rows > max(VALUES_FROM, 8 * entry.size):
                raise _Foreign(f"it says to have {num_rows:,} rows in {entry.size:,} bytes")
            yield from _pieces(batch)
        if file.tell() != entry.size or not _ends_well(file):
            raise _Foreign(f"it ends behind row {num_rows:,}, before or without its end")


def _pieces(batch: "pa.RecordBatch") -> Iterator[list[dict[str, Any]]]:
    at_once = max(1, min(ROWS_AT_ONCE, BYTES_AT_ONCE * batch.num_rows // max(batch.nbytes, 1)))
    for start in range(0, batch.num_rows, at_once):
        piece = batch.slice(start, at_once)
        num_values = sum(_num_values(column) for column in piece.columns)
        if num_values > _MOST_VALUES:
            raise _Foreign(f"it has {num_values:,} values in {piece.num_rows} rows")
        yield piece.to_pylist()


def _ends_well(file: "pa.MemoryMappedFile") -> bool:
    file.seek(file.size() - len(_END))
    return bool(file.read() == _END)


class _Foreign(Exception):
    """What is not read of what Arrow knows, or no file of the library holds."""


@contextmanager
def _said(folder: Path, entry: Entry) -> Iterator[None]:
    """What is wrong with a file, as a sentence."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, EOFError, StopIteration, KeyError, ValueError, OverflowError, struct.error, _Foreign) as error:
        raise UserError(f"{entry.name} in {folder} is no whole Arrow file ({first_line(error)}): save it again with save_to_disk.") from None


def _refuse_shared(kind: "pa.DataType") -> None:
    """Refuse types whose values may stand in memory more often than in the file."""
    from pyarrow import types

    shared = (
        types.is_dictionary,
        types.is_run_end_encoded,
        types.is_union,
        types.is_string_view,
        types.is_binary_view,
        types.is_list_view,
        types.is_large_list_view,
    )
    if any(is_shared(kind) for is_shared in shared):
        raise _Foreign(f"it has values of the type {kind}, which is not read: cast that column, e.g. to string")
    for index in range(kind.num_fields):
        _refuse_shared(kind.field(index).type)


def _num_values(array: "pa.Array") -> int:
    """Values in ``array`` at all depths."""
    import pyarrow as pa

    if isinstance(array, pa.StructArray):
        return len(array) + sum(_num_values(array.field(index)) for index in range(array.type.num_fields))
    if isinstance(array, (pa.ListArray, pa.LargeListArray, pa.FixedSizeListArray)):
        return len(array) + _num_values(array.flatten())
    return len(array)


def _is_packed(metadata: "pa.Buffer") -> bool:
    """Whether the buffers of a record batch are compressed: field 3 of `RecordBatch`, which is field 2 of `Message`.

    Format: Apache Arrow, Message.fbs; FlatBuffers, "Internals": a table begins with the distance back to the list of its fields' places.
    """
    content = memoryview(metadata)
    (root,) = struct.unpack_from("<I", content)
    at = root + _field(content, root, 2)
    (distance,) = struct.unpack_from("<I", content, at)
    return _field(content, at + distance, 3) != 0


def _field(content: memoryview, table: int, number: int) -> int:
    """Where field ``number`` lies behind the beginning of ``table``; 0 where it has none."""
    (distance,) = struct.unpack_from("<i", content, table)
    fields = table - distance
    (size,) = struct.unpack_from("<H", content, fields)
    place = 4 + 2 * number
    return int(struct.unpack_from("<H", content, fields + place)[0]) if place < size else 0
