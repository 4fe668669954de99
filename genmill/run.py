"""Verbs that run the chain: run, plan."""

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genmill.options import JsonOption, ProjectOption, complete_dataset, complete_family, complete_model, open_project

if TYPE_CHECKING:
    from collections.abc import Sequence

    from components.data.publish import DataVersion
    from components.project import Project
    from components.tracking import Tracker
    from pipelines.catalog import Catalog, ModelEntry
    from pipelines.outcomes import ModelOutcome

ModelsArgument = Annotated[list[str] | None, typer.Argument(help="Models of params.yaml (default: its `run:` list).", autocompletion=complete_model)]
SizeOption = Annotated[str | None, typer.Option("--size", help="tiny, small or base, in place of what params.yaml says.")]
AllOption = Annotated[bool, typer.Option("--all", help="Every model of params.yaml.")]
DatasetOption = Annotated[str | None, typer.Option("--dataset", help="The models on this dataset.", autocompletion=complete_dataset)]
FamilyOption = Annotated[
    list[str] | None,
    typer.Option("--family", help="With --dataset: a family that fits it, with a block or without; may be repeated.", autocompletion=complete_family),
]
SeedsOption = Annotated[
    int | None,
    typer.Option(
        "--seeds", min=1, max=100, help="Train each model from so many seeds, one after the other, for the uncertainty of its figures over trainings."
    ),
]
RefreshOption = Annotated[bool, typer.Option("--refresh", help="Train again even where nothing changed.")]


def add_to(app: typer.Typer) -> None:
    app.command()(run)
    app.command()(plan)


def run(
    models: ModelsArgument = None,
    everything: AllOption = False,
    dataset: DatasetOption = None,
    family: FamilyOption = None,
    size: SizeOption = None,
    seeds: SeedsOption = None,
    refresh: RefreshOption = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """The whole chain: data, training, evaluation, registration. What is up to date is reused.

    Example: [bold]genmill run vae-digits[/]

    What fits a dataset, and some of it: [bold]genmill run --dataset glyphs --family gan --family clip[/]
    """
    where = open_project(project)
    catalog = _catalog(where, size, seeds)
    catalog.choose(models or [], everything=everything, dataset=dataset, families=family or ())
    if dataset is not None and not as_json:
        _show_fitting(catalog, dataset, family or ())
    from genmill.console import LiveListener
    from genmill.services import ensure_servers, require_repository

    require_repository(where)
    with LiveListener() as listener:
        ensure_servers(where, catalog, listener.say)
        from pipelines.build import build
        from pipelines.console import listening
        from pipelines.flow_runs import of_project
        from pipelines.outcomes import BuildFailed, RunInterrupted

        try:
            with listening(listener), of_project(where):
                outcomes = build(str(where.root), models or None, size, refresh, everything, dataset, family, seeds)
        except BuildFailed as failed:
            outcomes = failed.outcomes
        except KeyboardInterrupt:
            again = shlex.join(["genmill", *sys.argv[1:]])
            raise RunInterrupted("Interrupted; what was finished, and the last checkpoint, are kept.", resume=again) from None
    show_outcomes(where, outcomes, as_json)


def plan(
    models: ModelsArgument = None,
    everything: AllOption = False,
    dataset: DatasetOption = None,
    family: FamilyOption = None,
    size: SizeOption = None,
    seeds: SeedsOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """What `run` would do and why: data, params or code changed, or nothing to do.

    Example: [bold]genmill plan --all[/]
    """
    where = open_project(project)
    catalog = _catalog(where, size, seeds)
    chosen = catalog.choose(models or [], everything=everything, dataset=dataset, families=family or ())
    from components.data import stages
    from components.data.pending import pending
    from components.data.publish import prepared_version
    from components.tracking import Tracker
    from genmill.console import print_json, print_table
    from pipelines.plan import check_starts

    tracker = Tracker.of(where)
    check_starts(where, tracker, chosen)
    rows: list[tuple[str, str, str]] = []
    stale = set()
    for name in catalog.datasets_of(chosen):
        first = [other for other in catalog.dataset(name).source.reads if other in stale]
        if first:
            stale.add(name)
            rows.append((f"data {name}", "prepare", f"once {' and '.join(first)} is prepared"))
            continue
        stages.probe(where, name)
        work = pending(where, name)
        if work or prepared_version(where, name) is None:
            stale.add(name)
        rows.append((f"data {name}", "prepare" if name in stale else "reuse", "; ".join(f"{stage}: {why}" for stage, why in work.items()) or "up to date"))
    for entry in chosen:
        version = prepared_version(where, entry.block.dataset)
        if version is None or entry.block.dataset in stale:
            rows.append((entry.name, "train", "once its data is prepared, unless that changes nothing" if version else "never trained"))
        else:
            rows.append((entry.name, *_action(where, tracker, entry, version, chosen)))
    if dataset is not None and not as_json:
        _show_fitting(catalog, dataset, family or ())
    if as_json:
        print_json([{"what": what, "action": action, "why": why} for what, action, why in rows])
    else:
        print_table("What would run", ("what", "action", "why"), rows)


def _action(where: "Project", tracker: "Tracker", entry: "ModelEntry", version: "DataVersion", chosen: "list[ModelEntry]") -> tuple[str, str]:
    """What would be done with a model, and why."""
    from components.errors import UserError
    from pipelines.plan import plan_model

    try:
        found = plan_model(where, tracker, entry, version)
    except UserError:
        if entry.begins_with not in [other.name for other in chosen]:
            raise
        return "train", f"once {entry.begins_with} is there to begin with"
    return found.work, found.why


def _catalog(where: "Project", size: str | None, seeds: int | None) -> "Catalog":
    from pipelines.catalog import load_catalog

    return load_catalog(where, size=size, seeds=seeds)


def _show_fitting(catalog: "Catalog", dataset: str, families: "Sequence[str]") -> None:
    """The families that can train on ``dataset``, what they do, and which of them were chosen."""
    from genmill.console import print_table

    rows = []
    for found in catalog.fitting(dataset):
        chosen = found.name in families or (not families and bool(found.models))
        uses = found.uses if found.uses == catalog.dataset(dataset).modality else f"{found.uses} alone"
        rows.append(("[green]✓[/]" if chosen else "", found.name, uses, found.family.summary, ", ".join(found.models) or f"--family {found.name}"))
    print_table(f"Families that fit {dataset}", ("", "family", "uses", "does", "model"), rows)


def show_outcomes(where: "Project", outcomes: "list[ModelOutcome]", as_json: bool) -> None:
    """What became of each model, what is left running, and what to do next; exit code 1 when one failed."""
    _show(where, outcomes, as_json)
    if any(outcome.status == "failed" for outcome in outcomes):
        raise typer.Exit(1)


def _show(where: "Project", outcomes: "list[ModelOutcome]", as_json: bool) -> None:
    from genmill.console import out, print_json, print_table
    from genmill.services import running_lines

    if as_json:
        print_json(outcomes)
        return
    columns = ("model", "status", "data", "figure (floor)", "gates", "trained", "evaluated")
    print_table("Models", columns, map(_row, outcomes), whole=["status", "figure (floor)"])
    out.print()
    out.print(f"Report     {where.reports / 'run.html'}", soft_wrap=True)
    for line in running_lines(where):
        out.print(line, soft_wrap=True)
    passed = next((outcome.model for outcome in outcomes if outcome.gates and outcome.gates.passed and not outcome.promotion), None)
    if passed:
        out.print(f"Next       genmill promote {passed}   (candidate → champion, through the gates)", soft_wrap=True)


def _row(outcome: "ModelOutcome") -> tuple[Any, ...]:
    from genmill.console import human_seconds

    figures = [figure for name in (outcome.primary, "fid_own", "bits_per_byte", "perplexity") if (figure := outcome.figure(name)) is not None]
    unique = {figure.name: figure for figure in figures}.values()
    shown = "\n".join(f"{figure.name} {figure.value:.3f}" + (f" ({figure.floor:.3f})" if figure.floor is not None else "") for figure in unique)
    version = outcome.model if outcome.version is None else f"{outcome.model}/{outcome.version}"
    return (
        version, outcome.status, f"{outcome.dataset} {outcome.data_version}", shown or outcome.message, _gates_cell(outcome),
        human_seconds(outcome.train_s), human_seconds(outcome.evaluate_s),
    )  # fmt: skip


def _gates_cell(outcome: "ModelOutcome") -> str:
    """`passed`, or the rules and figures that failed."""
    if outcome.gates is None:
        return ""
    failed = [row.figure or row.rule for row in outcome.gates.rows if row.verdict == "failed"]
    return f"[red]failed[/]: {', '.join(dict.fromkeys(failed))}" if failed else "[green]passed[/]"
