"""The verb that makes data of a model: generate."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from components.errors import UserError
from genmill.options import JsonOption, ProjectOption, complete_model, open_project

RefArgument = Annotated[str, typer.Argument(help="MODEL (its champion), MODEL@candidate, MODEL/3 or a run id.", autocompletion=complete_model)]


def add_to(app: typer.Typer) -> None:
    app.command()(generate)


def generate(
    ref: RefArgument,
    rows: Annotated[int, typer.Option("-n", "--rows", help="How many rows.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="The same version, seed and parameters draw the same bytes.", min=0)] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Take the seed behind that of what lies in the folder, as a schedule does.")] = False,
    to: Annotated[Path | None, typer.Option("--to", file_okay=False, help="Folder (default: data/generated/MODEL of the project); replaced.")] = None,
    param: Annotated[list[str] | None, typer.Option("--param", help="NAME=VALUE: steps, sampler, guidance, temperature, label, …; may be repeated.")] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """A dataset drawn by a model, with its lineage; `source: {kind: synthetic, path: …}` reads it.

    Example: [bold]genmill generate gan-digits -n 2000[/]

    One class, in 20 steps: [bold]genmill generate diffusion-digits/2 -n 500 --param steps=20 --param label=3 --to threes[/]
    """
    where = open_project(project)
    if rows < 1:
        raise UserError(f"{rows} rows are no dataset: ask for at least one with -n.")
    from components.registry.generating import champion_or_named, parse_params
    from components.tracking import Tracker
    from genmill.console import LiveListener, out, print_json

    params = parse_params(param or [])
    champion_or_named(Tracker.of(where), ref)  # before any server is started
    with LiveListener() as listener:
        from genmill.services import ensure_servers
        from pipelines.catalog import load_catalog

        ensure_servers(where, load_catalog(where), listener.say)
        from pipelines import generate as flows
        from pipelines.console import listening
        from pipelines.flow_runs import of_project
        from pipelines.outcomes import RunInterrupted

        try:
            with listening(listener), of_project(where):
                generated = flows.generate(str(where.root), ref, rows, None if fresh else seed, str(to.resolve()) if to else None, params)
        except KeyboardInterrupt:
            raise RunInterrupted("Interrupted; the finished shards are kept.", resume=shlex.join(["genmill", *sys.argv[1:]])) from None
    if as_json:
        print_json(generated)
        return
    out.print(f"{generated.message}.", soft_wrap=True)
    out.print(f"Folder     {generated.folder}", soft_wrap=True)
