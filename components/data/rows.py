"""Files of rows as parts of a source: a part per file, a row per record."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from components.data.layout import Layout
from components.data.readers import bad_row
from components.data.records import Record, ending_of, read_records
from components.data.sources import Part, RawRow
from components.data.trees import Entry, Tree, Unreadable


def record_parts(tree: Tree, entry: Entry, layout: Layout, fields: Callable[[Record], dict[str, Any]]) -> Iterator[Part]:
    """The file ``entry``, whose records ``fields`` turns into raw columns; its own name may be that of a split."""
    split = (entry.said or {}).get("split") or layout.split_of_rows(entry.name, ending_of(entry.name))
    yield Part(entry.name, f"{entry.stamp} {split}", partial(_rows, tree, entry, split, fields))


def _rows(tree: Tree, entry: Entry, split: str | None, fields: Callable[[Record], dict[str, Any]]) -> Iterator[RawRow]:
    try:
        for record in read_records(tree, entry):
            yield RawRow(id=f"{entry.name}:{record.line}", source=f"{entry.name} line {record.line}", fields=fields(record), split=split)
    except Unreadable as error:
        yield bad_row(entry.name, str(error), split)
