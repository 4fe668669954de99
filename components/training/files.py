"""The checkpoints in a run's folder."""

from pathlib import Path

_PREFIX, _SUFFIX = "step-", ".ckpt"


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
    for path in folder.glob(".*.part"):  # a run has one writer: what is half there is of one that was killed
        path.unlink()
