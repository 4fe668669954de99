"""What goes wrong in the data stages, and how a stage's process hands its message to the flow that started it through DVC."""

import shutil
from pathlib import Path

from components.errors import DISK_FULL, UserError
from components.params import Strict
from components.project import Project


class ValidationFailed(UserError):
    """A critical rule failed. The report is in data/validation/NAME/report.html; nothing was published."""


def disk_full(project: Project, error: BaseException | None) -> UserError | None:
    """The sentence for the user where ``error`` or one of its causes is a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            free = shutil.disk_usage(project.root).free
            return UserError(f"The disk of {project.root} is full ({free / 2**20:,.0f} MiB free): make room and run again; published versions are safe.")
        error = error.__cause__ or error.__context__
    return None


class Failure(Strict):
    message: str
    kind: str
    """Name of the exception's class."""


def failure_path(project: Project, name: str, stage: str) -> Path:
    return project.state / "stages" / f"{name}.{stage}.failure.json"


def write_failure(path: Path, error: UserError) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(Failure(message=str(error), kind=type(error).__name__).model_dump_json(), encoding="utf-8")


def read_failure(path: Path) -> Failure | None:
    return Failure.model_validate_json(path.read_bytes()) if path.is_file() else None
