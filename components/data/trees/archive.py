"""An archive as a tree: `.zip`, and `.tar` plain or packed by gzip, bzip2, xz or zstd."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from components.data.trees import Caps
from components.data.trees.tape import Tape
from components.data.trees.zipped import Zip
from components.errors import UserError

_ZIP = (".zip",)
_TAR = {".tar": "", ".tar.gz": "gz", ".tgz": "gz", ".tar.bz2": "bz2", ".tbz2": "bz2", ".tar.xz": "xz", ".txz": "xz", ".tar.zst": "zst", ".tzst": "zst"}
ARCHIVE_ENDINGS = (*_ZIP, *_TAR)
Archive = Zip | Tape
_listed: dict[tuple[str, int, int, Caps], Tape] = {}
"""The tar archive that was listed last, by path, size, time and caps."""


def is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVE_ENDINGS)


def open_archive(name: str, begin: Callable[[], BinaryIO], place: str, caps: Caps) -> Archive:
    """The archive called ``name``; ``begin`` opens it, as often as it is called.

    Raises:
        UserError: it is damaged, of a kind that is not read, or not to be trusted; ``place`` names it.
    """
    ending = _ending(name)
    if ending in _ZIP:
        return Zip(begin(), place, caps)
    if ending is None:
        raise UserError(f"{place} is no archive of a kind that is read ({', '.join(ARCHIVE_ENDINGS)}): name one, or use kind folder for a folder.")
    return Tape(begin, _TAR[ending], place, caps)


def open_archive_file(path: Path, caps: Caps) -> Archive:
    """`open_archive` of a file of the local disk.

    A tar archive has no list of its members but itself, so what was listed is kept as long as the file stays as it is: a source is checked, looked at and
    read by one process.
    """
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns, caps)
    known = _listed.get(key)
    found = Tape(known.begin, known.packing, str(path), caps, known) if known else open_archive(path.name, lambda: path.open("rb"), str(path), caps)
    if isinstance(found, Tape):
        _listed.clear()  # the last one is enough
        _listed[key] = found
    return found


def _ending(name: str) -> str | None:
    found = [ending for ending in ARCHIVE_ENDINGS if name.lower().endswith(ending)]
    return max(found, key=len) if found else None
