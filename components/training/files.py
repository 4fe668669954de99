"""Files of a run's folder: there whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

_PREFIX, _SUFFIX = "step-", ".ckpt"


def write_atomically(path: Path, save: Callable[[Path], object]) -> None:
    """Let ``save`` write beside ``path``, then rename: a kill leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.tmp")
    save(scratch)
    with scratch.open("rb") as file:
        os.fsync(file.fileno())
    scratch.replace(path)


def write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda scratch: scratch.write_text(text, encoding="utf-8"))


def checkpoint_folder(run_dir: Path) -> Path:
    return run_dir / "checkpoints"


def checkpoint_path(folder: Path, step: int) -> Path:
    return folder / f"{_PREFIX}{step:09d}{_SUFFIX}"


def last_checkpoint(folder: Path) -> tuple[Path | None, int]:
    """The checkpoint to go on from and its step; (None, 0) where there is none."""
    found = sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}"))
    return (found[-1], int(found[-1].stem.removeprefix(_PREFIX))) if found else (None, 0)


def drop_older_checkpoints(folder: Path, step: int) -> None:
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        if path != checkpoint_path(folder, step):
            path.unlink()
