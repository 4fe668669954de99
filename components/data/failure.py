"""How a stage's process hands its message to the flow that started it through DVC."""

from pathlib import Path

from components.errors import UserError
from components.params import Strict
from components.project import Project


class ValidationFailed(UserError):
    """A critical rule failed. The report is in data/validation/NAME/report.html; nothing was published."""


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
