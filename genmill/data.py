"""Verbs on datasets and their versions: data list, log, show, restore, verify."""

from pathlib import Path
from typing import Annotated

import typer

from genmill.data_add import add
from genmill.options import JsonOption, ProjectOption, complete_dataset, open_project

app = typer.Typer(help="Datasets and their versions.", no_args_is_help=True)
app.command("add")(add)
NameArgument = Annotated[str, typer.Argument(help="A dataset of params.yaml.", autocompletion=complete_dataset)]
RefArgument = Annotated[str, typer.Argument(help="NAME (its newest version) or NAME@vN.", autocompletion=complete_dataset)]


@app.command("list")
def list_datasets(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Every dataset of params.yaml with its newest version.

    Example: [bold]genmill data list[/]
    """
    where = open_project(project)
    from components.data.publish import current_version
    from genmill.console import print_json, print_table
    from pipelines.catalog import load_catalog

    rows = []
    for name, dataset in load_catalog(where).datasets.items():
        version = current_version(where, name)
        newest = {"version": version.version, "rows": sum(version.rows.values())} if version else {"version": None, "rows": None}
        rows.append({"name": name, "modality": dataset.modality, **newest})
    if as_json:
        print_json(rows)
    else:
        print_table("Datasets", ("name", "modality", "version", "rows"), [tuple(row.values()) for row in rows])


@app.command("log")
def log(name: NameArgument, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """The versions of a dataset: what, when, who, how many rows, and how validation went.

    Example: [bold]genmill data log digits[/]
    """
    where = open_project(project)
    from components.data.publish import versions
    from genmill.console import human_bytes, print_json, print_table

    _known(where.root, name)
    found = versions(where, name)
    if as_json:
        print_json(found)
        return
    rows = [
        (v.version, v.created, v.actor, ", ".join(f"{n} {split}" for split, n in v.rows.items()), human_bytes(v.bytes), v.validation, v.tag, v.sha256[:12])
        for v in found
    ]
    print_table(f"Versions of {name}", ("version", "when", "who", "rows", "size", "validation", "tag", "sha256"), rows)


@app.command("show")
def show(ref: RefArgument, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """One version in full: source, splits, what cleaning dropped, validation, digests.

    Example: [bold]genmill data show digits@v1[/]
    """
    where = open_project(project)
    from components.data.publish import describe
    from genmill.console import print_json, print_table

    name, version = _split(where.root, ref)
    details = describe(where, name, version)
    if as_json:
        print_json(details)
    else:
        print_table(f"{name} {details['version']}", ("what", "value"), _flat(details))


@app.command("restore")
def restore(
    ref: Annotated[str, typer.Argument(help="NAME@vN.")],
    to: Annotated[Path, typer.Option("--to", help="A new or empty folder.")],
    project: ProjectOption = None,
) -> None:
    """Bring an old version into another folder; the current one is not touched.

    Example: [bold]genmill data restore digits@v1 --to /tmp/digits-v1[/]
    """
    where = open_project(project)
    from components.data.publish import find_version
    from components.data.verify import restore as restore_version
    from genmill.console import out

    name, version = _split(where.root, ref)
    found = find_version(where, name, version or "")
    folder = restore_version(where, name, found.version, to)
    out.print(f"Restored {name} {found.version} ({sum(found.rows.values())} rows, sha256 {found.sha256[:12]}) to {folder}", soft_wrap=True)


@app.command("verify")
def verify(ref: RefArgument, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Re-hash every byte of a version, here and in the remote; exit code 1 names what is broken.

    Example: [bold]genmill data verify digits[/]
    """
    where = open_project(project)
    from components.data.verify import verify as verify_version
    from genmill.console import human_bytes, out, print_json

    name, version = _split(where.root, ref)
    result = verify_version(where, name, version)
    if as_json:
        print_json(result)
    else:
        for problem in result.broken:
            out.print(f"[red]✗[/] {problem}", soft_wrap=True)
        if result.ok:
            out.print(f"[green]✓[/] {name}: {result.checked} objects, {human_bytes(result.bytes)}, every sha256 as recorded")
    if not result.ok:
        raise typer.Exit(1)


def _split(root: Path, ref: str) -> tuple[str, str | None]:
    name, _, version = ref.partition("@")
    _known(root, name)
    return name, version or None


def _known(root: Path, name: str) -> None:
    from components.project import Project
    from pipelines.catalog import load_catalog

    load_catalog(Project(root)).dataset(name)


def _flat(details: dict[str, object], at: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for key, value in details.items():
        if isinstance(value, dict):
            rows.extend(_flat(value, f"{at}{key}."))
        else:
            rows.append((f"{at}{key}", ", ".join(map(str, value)) if isinstance(value, list) else value))
    return rows
