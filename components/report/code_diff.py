"""What differs between the code that two models carry with them: each package holds the modules that it runs on."""

import difflib
import tempfile
from collections.abc import Mapping
from pathlib import Path

from components.errors import UserError
from components.params import Strict
from components.tracking import ModelVersion, Tracker

MOST_LINES = 400
"""Of one difference on the page; what is left out is counted."""
_CODE = "code"


class FileDiff(Strict):
    """One file that both packages hold with another content."""

    path: str
    added: int
    removed: int
    lines: tuple[str, ...]
    """Unified diff without its two head lines, as far as there was room."""
    left_out: int
    """Lines of it that had no room."""


class CodeDiff(Strict):
    """The packaged code of ``other`` against that of ``base``."""

    base: str
    other: str
    files: tuple[FileDiff, ...]
    only_base: tuple[str, ...]
    only_other: tuple[str, ...]
    same: int
    """Files with the same content."""

    @property
    def summary(self) -> str:
        parts = [f"{len(self.files)} files differ" if len(self.files) != 1 else "1 file differs", f"{self.same} are the same"]
        parts += [f"{len(paths)} only in {who}" for who, paths in ((self.base, self.only_base), (self.other, self.only_other)) if paths]
        return ", ".join(parts)


def packaged_code(tracker: Tracker, version: ModelVersion) -> dict[str, str] | None:
    """The modules of a package by their path, None where the store has lost it."""
    local = tracker.local_path(version.source)
    if local is not None:
        return _read(local / _CODE)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            return _read(tracker.download(f"{version.source.rstrip('/')}/{_CODE}", Path(scratch)))
        except (UserError, OSError):
            return None


def code_diff(base: str, a: Mapping[str, str], other: str, b: Mapping[str, str]) -> CodeDiff:
    """``b`` against ``a``, files by path, cut to `MOST_LINES` lines."""
    files, room = list[FileDiff](), MOST_LINES
    for path in sorted(path for path in a.keys() & b.keys() if a[path] != b[path]):
        lines = list(difflib.unified_diff(a[path].splitlines(), b[path].splitlines(), lineterm="", n=2))[2:]
        added, removed = (sum(line.startswith(sign) for line in lines) for sign in "+-")
        files.append(FileDiff(path=path, added=added, removed=removed, lines=tuple(lines[:room]), left_out=max(0, len(lines) - room)))
        room = max(0, room - len(lines))
    return CodeDiff(
        base=base, other=other, files=tuple(files), only_base=tuple(sorted(a.keys() - b.keys())), only_other=tuple(sorted(b.keys() - a.keys())),
        same=sum(a[path] == b[path] for path in a.keys() & b.keys()),
    )  # fmt: skip


def _read(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))}
