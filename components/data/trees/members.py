"""What a member of an archive may be called and be: a regular file below the archive's own top, once, and of a sensible size."""

from collections.abc import Iterator

from components.data.trees import Caps, Entry, shared_depth, tops_of
from components.data.trees.inflating import RATIO_FROM_BYTES
from components.errors import UserError


def refused(place: str, name: str, why: str) -> UserError:
    """The sentence for an archive that has a member which no honest one has."""
    return UserError(f"{place} is not read, its member {name!r} {why}: pack it again without that.")


class Members:
    """Judges the members of one archive in turn.

    Raises:
        UserError: of `accept`, that a member is not to be had safely; the archive is then refused as a whole.
    """

    def __init__(self, place: str, caps: Caps) -> None:
        self.place, self.caps = place, caps
        self._names: set[str] = set()
        self._num_bytes = self._packed_bytes = 0

    def accept(self, name: str, size: int, packed: int | None = None) -> None:
        """``packed``: the bytes that it takes up in the archive, where they are its own."""
        problem = _hostile(name) or ("stands there twice" if name in self._names else "")
        if problem:
            raise refused(self.place, name, problem)
        self._names.add(name)
        self._num_bytes += size
        if size > self.caps.max_file_bytes:
            self._too_much(f"its member {name!r} unpacks to {size:,} bytes", "max_file_bytes", self.caps.max_file_bytes)
        if packed is not None and size > RATIO_FROM_BYTES and size > self.caps.max_ratio * packed:
            self._too_much(f"its member {name!r} unpacks from {packed:,} to {size:,} bytes", "max_ratio", self.caps.max_ratio)
        self._packed_bytes += packed if packed is not None else size
        if self._num_bytes > max(RATIO_FROM_BYTES, self.caps.max_ratio * self._packed_bytes):
            self._too_much(f"its members unpack from {self._packed_bytes:,} to {self._num_bytes:,} bytes", "max_ratio", self.caps.max_ratio)
        if self._num_bytes > self.caps.max_total_bytes:
            self._too_much("it unpacks to more bytes in all", "max_total_bytes", self.caps.max_total_bytes)
        if len(self._names) > self.caps.max_files:
            self._too_much("it has more files", "max_files", self.caps.max_files)

    def _too_much(self, what: str, key: str, cap: int) -> None:
        raise UserError(f"{self.place} is not read, {what} and {cap:,} is the most that is allowed: raise source.{key} if you trust it.")


def _hostile(name: str) -> str:
    """Why a member may not be called ``name``, in half a sentence; empty where it may."""
    parts = name.replace("\\", "/").split("/")
    if not name or "\0" in name:
        return "has no usable name"
    if name[0] in "/\\" or (len(parts[0]) == 2 and parts[0][1] == ":"):
        return "has an absolute path"
    if ".." in parts:
        return "leads out of the archive by '..'"
    return ""


class Listing:
    """What `Tree` asks of files that are all known: the members of an archive, the objects of a bucket."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = {entry.name: entry for entry in entries}
        self.depth = shared_depth(self._entries)

    def entries(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def find(self, name: str) -> Entry | None:
        return self._entries.get(name)

    def tops(self) -> tuple[set[str], set[str]]:
        return tops_of(self._entries, self.depth)
