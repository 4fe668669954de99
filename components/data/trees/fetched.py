"""Files that were fetched from the web as one tree: each by its host and path, an archive among them with its members below its name."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO

from components.data.digests import short_digest
from components.data.trees import Caps, Entry, Unreadable
from components.data.trees.archive import Archive, is_archive, open_archive
from components.data.trees.members import Listing
from components.data.web.downloads import Got


class Fetched(Listing):
    """Raises a UserError where an archive among them is not to be trusted."""

    def __init__(self, got: Sequence[Got], place: str, caps: Caps) -> None:
        self.place = place
        self._archives: dict[str, tuple[Archive, Entry]] = {}
        self._files = {one.listed.name: one for one in got}
        self._opened: list[Archive] = []
        try:
            super().__init__([entry for one in got for entry in self._entries_of(one, caps)])
        except BaseException:
            self.close()
            raise
        self.sequential = any(archive.sequential for archive in self._opened)

    def _entries_of(self, one: Got, caps: Caps) -> Iterator[Entry]:
        name, said = one.listed.name, one.listed.said
        if one.problem or not is_archive(name):
            stamp = f"{one.sha256 or one.problem} {short_digest(repr(sorted((said or {}).items()))).hex()}"
            yield Entry(name, one.num_bytes, stamp, said, one.problem)
            return
        archive = open_archive(name, lambda: one.path.open("rb"), name, caps)
        self._opened.append(archive)
        for inner in archive.entries():
            entry = inner._replace(name=f"{name}/{inner.name}", stamp=f"{inner.stamp} {said or ''}", said=said)
            self._archives[entry.name] = (archive, inner)
            yield entry

    def open(self, entry: Entry) -> AbstractContextManager[BinaryIO]:
        if entry.name in self._archives:
            archive, inner = self._archives[entry.name]
            return archive.open(inner)
        return self._open_file(entry)

    @contextmanager
    def _open_file(self, entry: Entry) -> Iterator[BinaryIO]:
        if entry.problem:
            raise Unreadable(entry.problem)
        with self._files[entry.name].path.open("rb") as file:
            yield file

    def close(self) -> None:
        for archive in self._opened:
            archive.close()
