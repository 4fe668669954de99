"""What collecting remembers between two runs, in the project's cache: which rows came from which part of the source, and how far a killed run came.

It only spares reading: without it, or where it is not of the same raw manifest, params and code, everything is read again and comes out the same.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from components.atomic import write_text
from components.data.dataset import ShardInfo
from components.data.digests import BYTES, DigestIndex
from components.params import Strict

if TYPE_CHECKING:
    import numpy as np

_NO_ROW = bytes(BYTES)
"""Stands for the rows of a part that has none."""
_WRITE_FROM_BYTES = 2**20
_MEMORY, _JOURNAL = "memory.json", "journal.json"
_LOGS = ("a.log", "b.log", "c.log")
"""One for the memory, one for the journal of a killed run, one for the run that goes on from there."""


class _Note(Strict):
    """Says what a log is worth."""

    key: str
    """Of what the log is valid for."""
    log: str
    num_bytes: int
    """Of the log; what stands behind was not finished."""
    sha256: str
    """Of these bytes."""
    shards: tuple[ShardInfo, ...] = ()
    """New shards that were written by then."""
    rewritten: tuple[ShardInfo, ...] = ()
    """Old shards that are about to be replaced, or were, by what is said here of them."""


def memory_key(*of: Any) -> str:
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()


class PartRows:
    """The rows of each part as an earlier run read them: records of the part's digest and a row's, those of a part one behind the other."""

    def __init__(self, log: bytes = b"") -> None:
        import numpy as np

        self._records = np.frombuffer(log, dtype=[("part", f"S{BYTES}"), ("row", f"S{BYTES}")])
        parts = self._records["part"]
        self._starts = np.flatnonzero(np.r_[True, parts[1:] != parts[:-1]]) if len(parts) else np.zeros(0, dtype=np.int64)
        self._ends = np.r_[self._starts[1:], len(parts)] if len(parts) else self._starts
        self._index = DigestIndex(np.ascontiguousarray(parts[self._starts]))
        self._places = np.zeros(0, dtype=np.int32)
        self._unknown = np.zeros(1, dtype=np.int64)

    def locate_rows(self, rows: DigestIndex) -> None:
        """Look all rows up at once, before `known` is asked."""
        import numpy as np

        digests = np.ascontiguousarray(self._records["row"])
        self._places = rows.places(digests)
        missing = (self._places < 0) & (digests != _NO_ROW)
        self._unknown = np.r_[0, np.cumsum(missing)]

    def known(self, parts: bytes) -> "list[tuple[bytes, np.ndarray[Any, np.dtype[np.int32]]] | None]":
        """For each of ``parts`` (digests, one behind the other) its records and the places of its rows; None where they are not all known."""
        return [self._known(int(at)) if at >= 0 else None for at in self._index.places(parts)]

    def _known(self, at: int) -> "tuple[bytes, np.ndarray[Any, np.dtype[np.int32]]] | None":
        start, end = int(self._starts[at]), int(self._ends[at])
        if self._unknown[end] > self._unknown[start]:
            return None
        places = self._places[start:end]
        return self._records[start:end].tobytes(), places[places >= 0]


class Log:
    """What a run writes down: which rows it read of which part, made safe whenever a shard was."""

    def __init__(self, folder: Path, key: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        used = {note.log for name in (_MEMORY, _JOURNAL) if (note := _read_note(folder / name))}
        self._folder, self._key = folder, key
        self._name = next(name for name in _LOGS if name not in used)
        self._file = (folder / self._name).open("wb")
        self._waiting = bytearray()
        self._hash = hashlib.sha256()
        self._num_bytes = 0

    def add(self, part: bytes, rows: bytes | bytearray) -> None:
        """The digests of all rows of a part that was read to its end, one behind the other."""
        for start in range(0, max(len(rows), 1), BYTES):
            self.add_records(part + (rows[start : start + BYTES] or _NO_ROW))

    def add_records(self, records: bytes) -> None:
        self._waiting += records
        if len(self._waiting) >= _WRITE_FROM_BYTES:
            self._write()

    def save(self, shards: Sequence[ShardInfo], rewritten: Sequence[ShardInfo] = ()) -> None:
        """From here on a killed run begins behind the new ``shards``: every part that was added has all its rows in them, or in old ones."""
        self._write()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._note(_JOURNAL, self._key, tuple(shards), tuple(rewritten))

    def finish(self, key: str) -> None:
        """The run is done: the log is what the next one remembers, where ``key`` is what it asks for."""
        self.close()
        self._note(_MEMORY, key)
        (self._folder / _JOURNAL).unlink(missing_ok=True)
        for name in _LOGS:
            if name != self._name:
                (self._folder / name).unlink(missing_ok=True)

    def forget(self) -> None:
        """What was read is not what the source has now."""
        self.close()
        (self._folder / _JOURNAL).unlink(missing_ok=True)

    def close(self) -> None:
        if not self._file.closed:
            self._write()
            self._file.close()

    def _write(self) -> None:
        self._file.write(self._waiting)
        self._hash.update(self._waiting)
        self._num_bytes += len(self._waiting)
        self._waiting.clear()

    def _note(self, name: str, key: str, shards: tuple[ShardInfo, ...] = (), rewritten: tuple[ShardInfo, ...] = ()) -> None:
        note = _Note(key=key, log=self._name, num_bytes=self._num_bytes, sha256=self._hash.hexdigest(), shards=shards, rewritten=rewritten)
        write_text(self._folder / name, note.model_dump_json())


def remember(folder: Path, key: str) -> PartRows:
    """What the last finished run read; nothing where it was asked for something else than ``key``."""
    note = _read_note(folder / _MEMORY)
    return PartRows(_read_log(folder, note) or b"" if note and note.key == key else b"")


def interrupted(folder: Path, key: str) -> tuple[PartRows, tuple[ShardInfo, ...]]:
    """What a killed run had read and written; nothing where it was asked for something else than ``key``."""
    note = _read_note(folder / _JOURNAL)
    log = _read_log(folder, note) if note and note.key == key else None
    return (PartRows(), ()) if note is None or log is None else (PartRows(log), note.shards)


def about_to_be_rewritten(folder: Path) -> dict[str, ShardInfo]:
    """By path, old shards that a killed run may or may not have replaced yet."""
    note = _read_note(folder / _JOURNAL)
    return {shard.path: shard for shard in note.rewritten} if note else {}


def _read_note(path: Path) -> _Note | None:
    try:
        return _Note.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _read_log(folder: Path, note: _Note) -> bytes | None:
    """None where it is not what the note says."""
    try:
        with (folder / note.log).open("rb") as file:
            log = file.read(note.num_bytes)
    except FileNotFoundError:
        return None
    return log if hashlib.sha256(log).hexdigest() == note.sha256 else None
