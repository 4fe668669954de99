"""Verbs around a project itself: init, doctor, env."""

import shlex
import shutil
import sys
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from components.errors import UserError
from genmill.options import JsonOption, ProjectOption, open_project

LEAST_FREE_BYTES = 2 * 1024**3


def add_to(app: typer.Typer) -> None:
    for verb in (init, doctor, env):
        app.command()(verb)


def init(folder: Annotated[Path, typer.Argument(help="The new project's folder; made if it is not there.")]) -> None:
    """Make a new project: params.yaml, dvc.yaml, git and DVC, with the embedded datasets to start from.

    Example: [bold]genmill init my-project && cd my-project && genmill run[/]
    """
    from pipelines.environment import quiet_tools

    quiet_tools()
    target = folder.resolve()
    if (target / "params.yaml").exists():
        raise UserError(f"{target} is a project already: choose another folder, or work in it with --project {folder}.")
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file: choose another name.")
    target.mkdir(parents=True, exist_ok=True)
    template = resources.files("genmill") / "template"
    for name, written in {"params.yaml": "params.yaml", "gitignore": ".gitignore"}.items():
        if not (target / written).exists():
            (target / written).write_text((template / name).read_text(encoding="utf-8"), encoding="utf-8")
    from components import git
    from components.data.dvc_repo import ensure_repo
    from components.project import Project
    from genmill.console import out

    ensure_repo(Project(target))
    git.start_repository(target, "Start a Genmill project")
    out.print(f"Made {target}. Next: cd {shlex.quote(str(folder))} && genmill run", soft_wrap=True)


def doctor(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Check the machine, the installed versions, the services and the disk; exit code 1 when something must be mended.

    Example: [bold]genmill doctor[/]
    """
    where = open_project(project)
    from genmill.console import print_json, print_table

    rows = [*_machine(where.root), *_versions(), *_project(where.root)]
    if as_json:
        print_json([{"check": check, "found": found, "ok": ok, "fix": fix} for check, found, ok, fix in rows])
    else:
        print_table("Doctor", ("check", "found", "", "fix"), [(check, found, "ok" if ok else "✗", fix) for check, found, ok, fix in rows])
    if not all(ok for _, _, ok, _ in rows):
        raise typer.Exit(1)


def env(project: ProjectOption = None) -> None:
    """Exports for other tools of this project's homes.

    Example: [bold]eval "$(genmill env)" && mlflow models serve -m models:/vae-digits@candidate --env-manager local[/]
    """
    where = open_project(project)
    from pipelines.environment import project_environment

    for key, value in project_environment(where).items():
        print(f"export {key}={shlex.quote(value)}")


Check = tuple[str, str, bool, str]


def _machine(root: Path) -> list[Check]:
    import psutil

    free = shutil.disk_usage(root).free
    memory = psutil.virtual_memory()
    return [
        ("Python", sys.version.split()[0], sys.version_info[:2] == (3, 11), "install Python 3.11"),
        ("cores", str(psutil.cpu_count(logical=False) or psutil.cpu_count()), True, ""),
        ("memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free", memory.available > 3 * 2**30, "a run needs up to 3 GiB"),
        ("disk", f"{free / 2**30:.1f} GiB free", free > LEAST_FREE_BYTES, "free at least 2 GiB"),
        ("git", shutil.which("git") or "missing", shutil.which("git") is not None, "install git"),
    ]


def _versions() -> list[Check]:
    from importlib.metadata import PackageNotFoundError, version

    rows = []
    for package in ("prefect", "mlflow", "dvc", "great-expectations", "pytorch-lightning", "torch"):
        try:
            rows.append((package, version(package), True, ""))
        except PackageNotFoundError:
            rows.append((package, "missing", False, "run `make install`"))
    return rows


def _project(root: Path) -> list[Check]:
    from components import git
    from components.project import Project
    from pipelines.catalog import load_catalog
    from pipelines.servers import running_servers

    where = Project(root)
    catalog = load_catalog(where)
    running = list(running_servers(where))
    return [
        ("params.yaml", f"{len(catalog.datasets)} datasets, {len(catalog.models)} models", True, ""),
        ("git repository", git.head(root) or "no commits", git.head(root) is not None, "commit once: git add -A && git commit -m 'Start'"),
        ("services", ", ".join(running) or "none running", True, ""),
    ]
