"""Captions of the images of a folder, as Hugging Face's imagefolder has them: `metadata.jsonl` or `metadata.csv` with `file_name` and `text`.

Such a file stands above its images, in any folder, and names them from where it stands.
"""

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from components.data.records import Record, read_records, shown, to_bytes
from components.data.trees import Entry, Tree, Unreadable
from components.errors import UserError

METADATA_NAMES = ("metadata.jsonl", "metadata.csv")


@dataclass(frozen=True)
class Caption:
    content: bytes | None
    """None where there is none; cleaning reports it."""
    source: str
    """Where it stands, for people."""


def captions_in(tree: Tree, files: Iterable[Entry]) -> dict[str, list[Caption]]:
    """The captions of each image by its name in the tree, from the metadata files ``files``.

    Raises:
        UserError: a file or a line cannot be read, or a line names no image.
    """
    found: dict[str, list[Caption]] = {}
    for entry in files:
        try:
            for image, caption in _named(tree, entry):
                found.setdefault(image, []).append(caption)
        except Unreadable as error:
            raise UserError(f"{entry.name} in {tree.place} cannot be read, {error}: mend that file.") from None
    return found


def _named(tree: Tree, entry: Entry) -> Iterator[tuple[str, Caption]]:
    folder, file = posixpath.split(entry.name)
    for record in read_records(tree, entry):
        where = f"{entry.name} line {record.line}"
        image = _text(record, "file_name", where)
        if not image:
            raise UserError(f"{where} names no image: give it a file_name, the image's path from where {file} stands.")
        caption = _text(record, "text", where)
        below = posixpath.normpath(posixpath.join(folder, shown(image.replace("\\", "/"))))
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
