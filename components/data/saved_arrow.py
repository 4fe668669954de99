"""Folders that Hugging Face datasets saved (`save_to_disk`): Arrow files, of one split or of several, read a few rows at a time from where they lie."""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data.layout import SPLIT_NAMES
from components.data.readers import bad_row
from components.data.sources import Part, RawRow
from components.data.tables import TableLayout, layout_of_schema, named_values
from components.data.trees import Entry
from components.data.trees.folder import Folder
from components.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

_SPLITS, _STATE = "dataset_dict.json", "state.json"
_ROWS_AT_ONCE = 128
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

    try:
        with pa.memory_map(str(folder / entry.name)) as file:
            schema = pa.ipc.open_stream(file).schema
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{entry.name} in {folder} is no Arrow file ({error}): save it again with save_to_disk.") from None
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
    return tuple(
        sorted({str(value) for entry, _ in files for batch in _batches(folder, entry) for value in batch.column(column).to_pylist() if value is not None})
    )


def _rows(folder: Path, entry: Entry, split: str | None, layout: TableLayout, fields: Fields) -> Iterator[RawRow]:
    import pyarrow as pa

    number = 0
    try:
        for batch in _batches(folder, entry):
            for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
                for values in batch.select(list(layout.columns.values())).slice(start, _ROWS_AT_ONCE).to_pylist():
                    number += 1
                    named = named_values(values, layout)
                    yield RawRow(id=f"{entry.name}:{number}", source=f"{entry.name} row {number}", fields=fields(named), split=split)
    except (pa.ArrowException, OSError) as error:
        yield bad_row(f"{entry.name}:{number + 1}", f"the file cannot be read from there on ({str(error).splitlines()[0][:200]})", split)


def _batches(folder: Path, entry: Entry) -> "Iterator[pa.RecordBatch]":
    import pyarrow as pa

    with pa.memory_map(str(folder / entry.name)) as file:
        yield from pa.ipc.open_stream(file)
