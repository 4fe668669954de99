"""Rows of JSON lines, CSV and TSV files, plain or packed by gzip or zstd, each with its line; what cannot be read is said, not raised."""

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

from components.data.sources import OtherModality
from components.data.trees import Caps, Entry, Tree, Unreadable
from components.data.trees.inflating import TooMuch, inflated

_DELIMITERS = {".jsonl": "", ".csv": ",", ".tsv": "\t"}
_PACKINGS = {"": "", ".gz": "gz", ".zst": "zst"}
RECORD_ENDINGS = tuple(ending + packing for packing in _PACKINGS for ending in _DELIMITERS)
_MOST_CHARACTERS = 100 * 2**20
"""Of a field; the csv module's own limit of 131,072 is that of a short text. A quote that is never closed would else read the whole file."""
_MOST_PARTS = 500_000
"""Lists and objects in a row of JSON, each of which takes 60 bytes and more; brackets in its texts are taken for some."""


@dataclass(frozen=True)
class Record:
    """One row of a file."""

    line: int
    """Where it begins, from 1."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Values by key or by the header's columns; bytes that are not UTF-8 stand in strings as lone surrogates (see `to_bytes`)."""
    problem: str = ""
    """What is wrong with it, where it could not be read."""


def is_records(name: str) -> bool:
    return name.lower().endswith(RECORD_ENDINGS)


def ending_of(name: str) -> str:
    """The ending of a file of rows, with its packing."""
    return next(ending for ending in reversed(RECORD_ENDINGS) if name.lower().endswith(ending))


def read_records(tree: Tree, entry: Entry, name: str = "") -> Iterator[Record]:
    """The rows of the file ``entry``, blank lines left out; ``name`` is what its kind is told by where it is stored by another one.

    Raises:
        Unreadable: the file cannot be had, or what it was packed to is damaged or a bomb; rows before that were given.
    """
    if entry.problem:
        raise Unreadable(entry.problem)
    kind, _, packing = ending_of(name or entry.name)[1:].partition(".")
    delimiter = _DELIMITERS[f".{kind}"]
    with tree.open(entry) as file:
        plain = inflated(file, packing, Caps()) if packing else file
        # Lines of JSON end in a line feed alone; the csv module wants to see every kind of line end itself.
        text = io.TextIOWrapper(plain, encoding="utf-8-sig", errors="surrogateescape", newline="" if delimiter else "\n")
        try:
            yield from _delimited(text, delimiter) if delimiter else _json_lines(text)
        except TooMuch as error:
            raise Unreadable(f"the rest was not read, {error}") from None
        finally:
            text.detach()  # the tree closes its file itself


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


def check_names(tree: Tree, entry: Entry, fits: Callable[[Record], bool], wanted: str) -> None:
    """Refuse the file ``entry`` whose first row does not fit; one further down that does not goes to quarantine, and so does a file that cannot be read.

    Raises:
        UserError: with the names that the row has, and what is ``wanted``.
    """
    with contextlib.suppress(Unreadable), contextlib.closing(read_records(tree, entry)) as records:  # type: ignore[type-var]
        first = next(records, None)
        if first is not None and not first.problem and not fits(first):
            raise OtherModality(f"{entry.name} line {first.line} has {named(first)}: {wanted}; rename them.")


def _json_lines(file: TextIO) -> Iterator[Record]:
    line = 0
    while text := file.readline(_MOST_CHARACTERS + 1):
        line += 1
        if len(text) > _MOST_CHARACTERS:
            yield Record(line, problem=f"a line of more than {_MOST_CHARACTERS:,} characters, so the rest of the file was not read")
            return
        if len(text) > _MOST_PARTS and text.count("{") + text.count("[") > _MOST_PARTS:
            yield Record(line, problem=f"more than {_MOST_PARTS:,} lists and objects in one row")
        elif text.strip():
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
