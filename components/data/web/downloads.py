"""What was fetched, in the project's cache: a file is there whole and as it was said to be, or not at all; a broken one waits to be gone on with."""

import hashlib
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from components.atomic import write_text
from components.cache import mark_used
from components.data.dataset import file_sha256
from components.data.web.client import Budget, Client, Failed, Validators
from components.data.web.listed import Listed
from components.params import Strict

_SAY_EVERY_S = 15.0


class _Note(Strict):
    """Of a file that is there."""

    version: Validators
    sha256: str
    num_bytes: int


@dataclass(frozen=True)
class Got:
    """What came of one file."""

    listed: Listed
    path: Path
    sha256: str = ""
    num_bytes: int = 0
    problem: str = ""
    """Why it is not there, empty where it is."""


class Downloads:
    """The files of ``client`` in ``folder``."""

    def __init__(self, folder: Path, client: Client, revalidate: bool = True) -> None:
        self._folder, self._client, self._revalidate = folder, client, revalidate

    def versions(self, wanted: Sequence[Listed]) -> Iterator[tuple[Listed, str]]:
        """What tells the version of each file, in order, without fetching one: its checksum where that is known, else what the server says."""
        with ThreadPoolExecutor(self._client.manners.connections) as pool:
            yield from zip(wanted, pool.map(self._version, wanted), strict=True)

    def fetch_all(self, wanted: Sequence[Listed]) -> list[Got]:
        """Bring all files up to what the servers have, some at a time; in order. One that cannot be had says why."""
        self._folder.mkdir(parents=True, exist_ok=True)
        budget, said = Budget(self._client.manners.max_total_bytes), time.monotonic()
        with ThreadPoolExecutor(self._client.manners.connections) as pool:
            running = {pool.submit(self.fetch, listed, budget): listed for listed in wanted}
            try:
                for number, done in enumerate(as_completed(running), 1):
                    done.result()
                    if time.monotonic() - said > _SAY_EVERY_S:
                        said = time.monotonic()
                        print(f"fetched {number:,} of {len(wanted):,} files", file=sys.stderr, flush=True)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return [done.result() for done in running]

    def fetch(self, listed: Listed, budget: Budget) -> Got:
        path = self._path(listed)
        note = self._note(path)
        if note:
            mark_used(path)
        if note and (listed.sha256 == note.sha256 or not (listed.sha256 or self._revalidate)):
            return Got(listed, path, note.sha256, note.num_bytes)
        try:
            version = self._fetch(listed, path, note.version if note and not listed.sha256 else Validators(), budget)
        except Failed as error:
            if note and not listed.sha256:
                print(f"{listed.name} was not looked at again, {error}: what was fetched before is used.", file=sys.stderr, flush=True)
                return Got(listed, path, note.sha256, note.num_bytes)
            return Got(listed, path, problem=str(error))
        if version is None:
            assert note is not None
            return Got(listed, path, note.sha256, note.num_bytes)
        return self._take(listed, path, version)

    def _fetch(self, listed: Listed, path: Path, known: Validators, budget: Budget) -> Validators | None:
        part, begun = path.with_suffix(".part"), path.with_suffix(".begun")
        return self._client.fetch(listed.url, part, known, _read(begun), lambda version: _write(begun, version), budget)

    def _take(self, listed: Listed, path: Path, version: Validators) -> Got:
        """Put the file that is there in full in its place, if it is the one that was meant."""
        part = path.with_suffix(".part")
        sha256, num_bytes = file_sha256(part), part.stat().st_size
        path.with_suffix(".begun").unlink(missing_ok=True)
        if listed.sha256 and sha256 != listed.sha256:
            part.unlink()
            return Got(listed, path, problem=f"its sha256 is {sha256[:12]}…, and {listed.sha256[:12]}… was wanted")
        path.with_suffix(".json").unlink(missing_ok=True)
        part.replace(path)
        _write(path.with_suffix(".json"), _Note(version=version, sha256=sha256, num_bytes=num_bytes))
        return Got(listed, path, sha256, num_bytes)

    def _version(self, listed: Listed) -> str:
        path = self._path(listed)
        if listed.sha256:
            return listed.sha256
        note = self._note(path)
        if note and not self._revalidate:
            return note.sha256
        seen = path.with_suffix(".seen")
        try:
            version = self._client.look(listed.url)
        except Failed as error:
            # A server that is away for once has not changed its file.
            print(f"{listed.name} could not be looked at, {error}.", file=sys.stderr, flush=True)
            return seen.read_text(encoding="utf-8") if note and seen.is_file() else "not reached"
        _write(seen, version)
        return version.model_dump_json()

    def _path(self, listed: Listed) -> Path:
        return self._folder / f"{hashlib.sha256(listed.url.encode()).hexdigest()[:32]}.file"

    def _note(self, path: Path) -> _Note | None:
        """Of the file at ``path``, if it is there in full."""
        try:
            note = _Note.model_validate_json(path.with_suffix(".json").read_bytes())
            return note if path.stat().st_size == note.num_bytes else None
        except (FileNotFoundError, ValidationError):
            return None


def _read(path: Path) -> Validators:
    try:
        return Validators.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return Validators()


def _write(path: Path, note: Strict) -> None:
    write_text(path, note.model_dump_json())
