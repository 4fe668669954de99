"""Verbs that move a model into production and back: promote, rollback, history."""

from typing import TYPE_CHECKING, Annotated

import typer

from genmill.options import JsonOption, ProjectOption, complete_model, open_project

if TYPE_CHECKING:
    from components.project import Project
    from components.registry.promotion import PromotionResult

ModelArgument = Annotated[str, typer.Argument(help="A model of params.yaml.", autocompletion=complete_model)]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; stands in the ledger.")]


def add_to(app: typer.Typer) -> None:
    for verb in (promote, rollback, history):
        app.command()(verb)


def promote(
    model: ModelArgument,
    version: Annotated[int | None, typer.Option("--version", help="The version (default: the candidate).")] = None,
    reason: ReasonOption = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the gates.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move `champion` to a version that passes the gates of params.yaml; exit code 1 when it does not.

    Example: [bold]genmill promote vae-digits --reason "sharper than v1"[/]
    """
    where = open_project(project)
    from components.git import default_actor

    if dry_run:
        from components.registry import promotion
        from components.tracking import Tracker
        from pipelines.catalog import load_catalog

        gates = load_catalog(where).model(model).gates
        result = promotion.promote(where, Tracker.of(where), model, gates=gates, version=version, reason=reason, actor=default_actor(where.root), dry_run=True)
    else:
        _start(where)
        from pipelines import promote as flows

        result = flows.promote(str(where.root), model, version, reason, default_actor(where.root))
    _show(result, as_json)


def rollback(model: ModelArgument, reason: ReasonOption = "", project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Put the former champion back; a record in the ledger like any other.

    Example: [bold]genmill rollback vae-digits --reason "complaints"[/]
    """
    where = open_project(project)
    _start(where)
    from components.git import default_actor
    from pipelines import promote as flows

    _show(flows.rollback(str(where.root), model, reason, default_actor(where.root)), as_json)


def history(model: ModelArgument, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """The ledger of a model: who moved which version when, why, and on what figures.

    Example: [bold]genmill history vae-digits[/]
    """
    where = open_project(project)
    from components.registry import ledger
    from components.registry.references import resolve
    from components.tracking import Tracker
    from genmill.console import print_json, print_table

    resolve(Tracker.of(where), model)
    records = ledger.history(where, model)
    if as_json:
        print_json(records)
        return
    rows = [(r.when, r.who, r.kind, r.state, f"{r.from_version or '–'} → {r.to_version}", r.data_version, r.reason) for r in records]
    print_table(f"Ledger of {model}", ("when", "who", "what", "state", "champion", "data", "why"), rows)


def _start(where: "Project") -> None:
    from genmill.console import err
    from genmill.services import ensure_servers
    from pipelines.catalog import load_catalog

    ensure_servers(where, load_catalog(where), err.print)


def _show(result: "PromotionResult", as_json: bool) -> None:
    from genmill.console import out, print_json, print_table

    if as_json:
        print_json(result)
    else:
        if result.gates:
            rows = [(row.rule, f"{row.value:.5g}", row.limit, f"[{'green' if row.verdict == 'passed' else 'red'}]{row.verdict}[/]") for row in result.gates]
            print_table(f"Gates of {result.model}", ("figure", "value", "limit", "verdict"), rows)
        out.print(result.message, soft_wrap=True)
    if not result.ok:
        raise typer.Exit(1)
