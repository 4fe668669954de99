"""Documents in files of rows: `text`, and where it is there a `title` and a label."""

from typing import Any

from components.data.records import Record, check_names, shown, to_bytes
from components.data.sources import PROBLEM
from components.data.trees import Entry, Tree

TEXT, TITLE = "text", "title"


def check_documents(tree: Tree, entry: Entry) -> None:
    """Refuse a file whose first row has no `text`; a row further down that has none goes to quarantine.

    Raises:
        UserError: with the names that the row has.
    """
    check_names(tree, entry, lambda first: TEXT in first.fields, f"rows of texts need {TEXT}, and may have {TITLE} and a label")


def document_fields(record: Record, label_column: str) -> dict[str, Any]:
    """The raw columns of the modality `text`."""
    if record.problem:
        return {PROBLEM: record.problem}
    text, title, label = (record.fields.get(column) for column in (TEXT, TITLE, label_column))
    if not isinstance(text, str | None):
        return {PROBLEM: f"{TEXT} is no text"}
    return {"text": None if text is None else to_bytes(text), "title": _word(title), "label": _word(label)}


def _word(value: Any) -> str | None:
    """What a row says in a word: numbers as they are written, nothing where there is nothing."""
    return shown(str(value)) if isinstance(value, str | int | float) and str(value).strip() else None
