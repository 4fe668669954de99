"""Rows of JSON lines, CSV and TSV files, each with its line; what cannot be read is said, not raised."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from components.errors import UserError

RECORD_SUFFIXES = (".jsonl", ".csv", ".tsv")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_MOST_CHARACTERS = 100 * 2**20
"""Of a field; the csv module's own limit of 131,072 is that of a short text. A quote that is never closed would else read the whole file."""


@dataclass(frozen=True)
class Record:
    """One row of a file."""

    line: int
    """Where it begins, from 1."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Values by key or by the header's columns; bytes that are not UTF-8 stand in strings as lone surrogates (see `to_bytes`)."""
    problem: str = ""
    """What is wrong with it, where it could not be read."""


def read_records(path: Path) -> Iterator[Record]:
    """The rows of ``path``, blank lines left out."""
    delimiter = _DELIMITERS.get(path.suffix.lower())
    # Lines of JSON end in a line feed alone; the csv module wants to see every kind of line end itself.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="" if delimiter else "\n") as file:
        yield from _delimited(file, delimiter) if delimiter else _json_lines(file)


def to_bytes(text: str) -> bytes:
    """The bytes that ``text`` was read from; they are no UTF-8 where it holds lone surrogates."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def shown(text: str) -> str:
    """``text`` for people and for Arrow: bytes that are not UTF-8 stand as `\\xNN`, as in the names of a folder's files."""
    return to_bytes(text).decode("utf-8", "backslashreplace")


def named(record: Record) -> str:
    """The names of its first values, for people."""
    names = list(record.fields)
    return shown(", ".join(names[:5])) + (", …" if len(names) > 5 else "") if names else "nothing"


def check_names(name: str, path: Path, fits: Callable[[Record], bool], wanted: str) -> None:
    """Refuse the file ``name`` at ``path`` whose first row does not fit; one further down that does not goes to quarantine.

    Raises:
        UserError: with the names that the row has, and what is ``wanted``.
    """
    first = next(read_records(path), None)
    if first is not None and not first.problem and not fits(first):
        raise UserError(f"{name} line {first.line} has {named(first)}: {wanted}; rename them.")


def _json_lines(file: TextIO) -> Iterator[Record]:
    for line, text in enumerate(file, 1):
        if text.strip():
            yield _json_record(line, text)


def _json_record(line: int, text: str) -> Record:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a plain ValueError
        return Record(line, problem=f"no JSON ({error})")
    return Record(line, value) if isinstance(value, dict) else Record(line, problem="no JSON object")


def _delimited(file: TextIO, delimiter: str) -> Iterator[Record]:
    csv.field_size_limit(_MOST_CHARACTERS)  # of the whole process, so it is set where reading begins
    reader, header, line = csv.reader(file, delimiter=delimiter), list[str](), 1
    try:
        header = [name.strip() for name in next(reader, [])]
        line = reader.line_num + 1
        for values in reader:
            if len(values) == len(header):
                yield Record(line, dict(zip(header, values, strict=True)))
            elif values:
                yield Record(line, problem=f"{len(values)} fields where the header has {len(header)}")
            line = reader.line_num + 1
    except csv.Error as error:
        # The reader would go on inside the field, and take its lines for rows.
        yield Record(line, problem=f"a row that cannot be read ({error}), so the rest of the file was not read")
