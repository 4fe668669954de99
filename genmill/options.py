"""Options that every verb has, and the completion of names."""

from pathlib import Path
from typing import Annotated

import typer

from components.errors import UserError
from components.project import Project

ProjectOption = Annotated[Path | None, typer.Option("--project", help="The project's folder (default: the nearest one upwards).", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]


def open_project(folder: Path | None) -> Project:
    """The project a verb works on, with the tools' environment set before any of them is imported."""
    from pipelines.environment import prepare_environment

    project = Project.find(folder)
    prepare_environment(project)
    return project


def complete_model(incomplete: str) -> list[str]:
    return _complete("models", incomplete)


def complete_dataset(incomplete: str) -> list[str]:
    return _complete("datasets", incomplete)


def complete_deployment(incomplete: str) -> list[str]:
    return _complete("schedules", incomplete) + _complete("triggers", incomplete)


def complete_family(incomplete: str) -> list[str]:
    from components.models.family import family_names

    return [name for name in family_names() if name.startswith(incomplete)]


def _complete(key: str, incomplete: str) -> list[str]:
    from components import params

    try:
        names = params.load(Project.find().params).child(key).value
    except UserError:
        return []
    return [name for name in names if name.startswith(incomplete)]
