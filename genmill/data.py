"""Verbs on datasets: data list and show; those on their versions are in data_versions.py."""

import typer

from genmill import data_versions
from genmill.data_add import add
from genmill.data_versions import RefArgument, split_ref
from genmill.options import JsonOption, ProjectOption, open_project

app = typer.Typer(help="Datasets and their versions.", no_args_is_help=True)
app.command("add")(add)
data_versions.add_to(app)


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


@app.command("show")
def show(ref: RefArgument, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """One version in full: source, splits, what cleaning dropped, validation, digests.

    Example: [bold]genmill data show digits@v1[/]
    """
    where = open_project(project)
    from components.data.publish import describe
    from genmill.console import print_json, print_table

    name, version = split_ref(where, ref)
    details = describe(where, name, version)
    if as_json:
        print_json(details)
    else:
        print_table(f"{name} {details['version']}", ("what", "value"), _flat(details))


def _flat(details: dict[str, object], at: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for key, value in details.items():
        if isinstance(value, dict):
            rows.extend(_flat(value, f"{at}{key}."))
        else:
            rows.append((f"{at}{key}", ", ".join(map(str, value)) if isinstance(value, list) else value))
    return rows
