"""The project's cache: what was derived or fetched and can be had again, each entry with the time at which it was last used."""

import contextlib
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from components.project import Project

_DEEPER = ("hub",)
"""Kinds whose entries lie one folder deeper, under whom they are of."""
_SECONDS_A_DAY = 86_400


class Unused(NamedTuple):
    """An entry that nothing used for a while: a folder, or a file with those that belong to it."""

    paths: tuple[Path, ...]
    bytes: int


def mark_used(path: Path) -> None:
    """Note that the entry at ``path`` is in use, for `unused`."""
    with contextlib.suppress(OSError):  # of a cache that may only be read nothing is dropped either
        os.utime(path)


def unused(project: Project, days: float) -> list[Unused]:
    """The entries that were neither written nor used for ``days``."""
    before = time.time() - days * _SECONDS_A_DAY
    found = list[Unused]()
    for folder in _kinds(project.cache):
        entries = defaultdict[str, list[Path]](list)
        for path in sorted(folder.iterdir()):
            entries[path.name.partition(".")[0]].append(path)
        for paths in entries.values():
            with contextlib.suppress(FileNotFoundError):  # a scratch file that has its name by now: somebody is at work there
                files = [file for path in paths for file in (path, *path.rglob("*"))]
                if max(file.lstat().st_mtime for file in files) < before:
                    found.append(Unused(tuple(paths), sum(file.lstat().st_size for file in files if file.is_file())))
    return found


def drop(entries: list[Unused]) -> None:
    for path in (path for entry in entries for path in entry.paths):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _kinds(cache: Path) -> Iterator[Path]:
    """The folders that hold entries."""
    for folder in sorted(path for path in cache.iterdir() if path.is_dir()) if cache.is_dir() else ():
        yield from sorted(path for path in folder.iterdir() if path.is_dir()) if folder.name in _DEEPER else [folder]
