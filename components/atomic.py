"""Files that are there whole or not at all."""

import os
import threading
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, save: Callable[[Path], object], *, synced: bool = False) -> None:
    """Let ``save`` write a file beside ``path``, then rename it: a kill leaves the old file or the new one, and two writers do not meet.

    With ``synced`` its bytes are on the disk before it has its name, so that not even a power cut leaves half of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        save(scratch)
        if synced:
            with scratch.open("rb") as file:
                os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, synced: bool = False) -> None:
    """`write_atomically` of ``text``."""
    write_atomically(path, lambda scratch: scratch.write_text(text, encoding="utf-8"), synced=synced)
