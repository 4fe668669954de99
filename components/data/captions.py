"""Captions of the images of a folder, as Hugging Face's imagefolder has them: `metadata.jsonl` or `metadata.csv` with `file_name` and `text`.

Such a file stands above its images, in any folder, and names them from where it stands.
"""

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.data.records import Record, read_records, shown, to_bytes
from components.errors import UserError

METADATA_NAMES = ("metadata.jsonl", "metadata.csv")


@dataclass(frozen=True)
class Caption:
    content: bytes | None
    """None where there is none; cleaning reports it."""
    source: str
    """Where it stands, for people."""


def captions_in(files: Sequence[tuple[str, Path]]) -> dict[str, list[Caption]]:
    """The captions of each image by its name below the folder, from the metadata files ``files`` (name below the folder, path).

    Raises:
        UserError: a line cannot be read or names no image.
    """
    found: dict[str, list[Caption]] = {}
    for name, path in files:
        for image, caption in _named(name, path):
            found.setdefault(image, []).append(caption)
    return found


def _named(name: str, path: Path) -> Iterator[tuple[str, Caption]]:
    for record in read_records(path):
        where = f"{name} line {record.line}"
        image = _text(record, "file_name", where)
        if not image:
            raise UserError(f"{where} names no image: give it a file_name, the image's path from where {path.name} stands.")
        caption = _text(record, "text", where)
        below = posixpath.normpath(posixpath.join(posixpath.dirname(name), shown(image.replace("\\", "/"))))
        yield below, Caption(None if caption is None else to_bytes(caption), f"{below} ({where})")


def _text(record: Record, key: str, where: str) -> str | None:
    if record.problem:
        raise UserError(f"{where} has {record.problem}: mend that line.")
    if key not in record.fields:
        raise UserError(f"{where} has no {key!r} (it has {shown(', '.join(record.fields)) or 'nothing'}): every line needs file_name and text.")
    value = record.fields[key]
    if not isinstance(value, str | None):
        raise UserError(f"{where}: {key} is no text but {value!r}: mend that line.")
    return value
