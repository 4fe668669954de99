"""Text pairs in files: rows with `source` and `target`, with `prompt` and `response`, or with `messages`."""

import json
from typing import Any

from components.data.records import Record, check_names, named, to_bytes
from components.data.sources import PROBLEM
from components.data.trees import Entry, Tree

SIDES = (("source", "target"), ("prompt", "response"))
"""Names that the two sides may have."""
MESSAGES = "messages"
_WANTED = f"{' or '.join(' and '.join(sides) for sides in SIDES)}, or {MESSAGES} (a list of objects with role and content)"


def check_pairs(tree: Tree, entry: Entry) -> None:
    """Refuse a file whose first row has none of the names; a row further down that has none goes to quarantine.

    Raises:
        UserError: with the names that the row has.
    """
    check_names(tree, entry, lambda first: _sides(first) is not None or MESSAGES in first.fields, f"rows of text pairs need {_WANTED}")


def pair_fields(record: Record) -> dict[str, Any]:
    """The raw columns of the modality `text-pairs`; in CSV and TSV messages are JSON."""
    if record.problem:
        return {PROBLEM: record.problem}
    if MESSAGES in record.fields:
        messages = record.fields[MESSAGES]
        return {"messages": to_bytes(messages if isinstance(messages, str) else json.dumps(messages, ensure_ascii=False))}
    sides = _sides(record)
    if sides is None:
        return {PROBLEM: f"{named(record)} where {_WANTED} is needed"}
    values = [record.fields.get(side) for side in sides]
    wrong = [f"{side} is no text" for side, value in zip(sides, values, strict=True) if not isinstance(value, str | None)]
    if wrong:
        return {PROBLEM: wrong[0]}
    return {column: None if value is None else to_bytes(value) for column, value in zip(("source_text", "target_text"), values, strict=True)}


def _sides(record: Record) -> tuple[str, str] | None:
    return next((sides for sides in SIDES if any(side in record.fields for side in sides)), None)
