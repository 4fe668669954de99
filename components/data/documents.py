"""Documents in files of rows: `text`, and where it is there a `title` and a label."""

from pathlib import Path
from typing import Any

from components.data.records import Record, named, read_records, shown, to_bytes
from components.errors import UserError

TEXT, TITLE = "text", "title"


def check_documents(name: str, path: Path) -> None:
    """Refuse a file whose first row has no `text`; a row further down that has none goes to quarantine.

    Raises:
        UserError: with the names that the row has.
    """
    first = next(read_records(path), None)
    if first is not None and not first.problem and TEXT not in first.fields:
        raise UserError(f"{name} line {first.line} has {named(first)}: rows of texts need {TEXT}, and may have {TITLE} and a label; rename them.")


def document_fields(record: Record, label_column: str) -> dict[str, Any]:
    """The raw columns of the modality `text`."""
    if record.problem:
        return {"problem": record.problem}
    text, title, label = (record.fields.get(column) for column in (TEXT, TITLE, label_column))
    if not isinstance(text, str | None):
        return {"problem": f"{TEXT} is no text"}
    return {"text": None if text is None else to_bytes(text), "title": _word(title), "label": _word(label)}


def _word(value: Any) -> str | None:
    """What a row says in a word: numbers as they are written, nothing where there is nothing."""
    return shown(str(value)) if isinstance(value, str | int | float) and str(value).strip() else None
