"""Verbs that move a model into production and back: promote, approve, rollback, history."""

import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from components.errors import UserError
from genmill.options import JsonOption, ProjectOption, complete_model, open_project

if TYPE_CHECKING:
    from components.project import Project
    from components.registry.gates import GateRow
    from components.registry.ledger import Record
    from components.registry.promotion import PromotionResult
    from pipelines.catalog import Catalog, ModelEntry

Result = TypeVar("Result")

ModelArgument = Annotated[str, typer.Argument(help="A model of params.yaml.", autocompletion=complete_model)]
ModelsArgument = Annotated[
    list[str] | None, typer.Argument(help="A model of params.yaml, or one version, `MODEL/3`; with --auto any number.", autocompletion=complete_model)
]
LedgerArgument = Annotated[str | None, typer.Argument(help="A model of params.yaml (default: all).", autocompletion=complete_model)]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; stands in the ledger.")]

VERDICT_COLOURS = {"passed": "green", "failed": "red", "left out": "yellow"}


def add_to(app: typer.Typer) -> None:
    for verb in (promote, approve, rollback, history):
        app.command()(verb)


def promote(
    models: ModelsArgument = None,
    version: Annotated[int | None, typer.Option("--version", help="The version (default: the candidate).")] = None,
    reason: ReasonOption = "",
    force: Annotated[bool, typer.Option("--force", help="In spite of failed gates; needs --reason, and the ledger keeps what failed.")] = False,
    auto: Annotated[bool, typer.Option("--auto", help="Every model whose params say `auto: true` and whose candidate is new.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the gates.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move `champion` to a version that passes its gates, and is approved where params.yaml requires it; exit code 1 when it does not.

    Example: [bold]genmill promote vae-digits --reason "sharper than v1"[/]
    """
    where = open_project(project)
    names = models or []
    if auto:
        if version is not None or force or reason or dry_run:
            raise UserError("--auto takes no --version, --reason, --force or --dry-run: leave them out, or promote one model by its name.")
        _promote_auto(where, names, as_json)
        return
    if len(names) != 1:
        raise UserError("Name one model: `genmill promote MODEL`; several at once only with --auto.")
    from components.git import default_actor

    name, number = _wanted(where, names[0], version)
    actor = default_actor(where.root)
    if dry_run:
        from genmill.console import LiveListener
        from pipelines import promote as flows
        from pipelines.console import listening
        from pipelines.flow_runs import of_project

        with LiveListener() as listener, listening(listener), of_project(where):
            result = flows.preview(where, name, number, force=force, reason=reason, actor=actor)
        _show(result, as_json)
        return

    def move() -> "PromotionResult":
        from pipelines import promote as flows

        return flows.promote(str(where.root), name, number, reason, actor, force)

    _show(_listened(where, move), as_json)


def approve(
    model: ModelArgument,
    reject: Annotated[bool, typer.Option("--reject", help="Say no.")] = False,
    reason: ReasonOption = "",
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a promotion that waits for approval, as the Prefect UI can too.

    Example: [bold]genmill approve vae-digits --reason "looked at the samples"[/]
    """
    where = open_project(project)
    from components.git import default_actor

    _start(where)
    from pipelines.approval import answer

    record = answer(where, model, approve=not reject, who=default_actor(where.root), reason=reason)
    from genmill.console import out, print_json

    if as_json:
        print_json(record)
    else:
        happened = "is the champion now" if record.state == "done" else f"stays out of production: {record.why_not}"
        out.print(f"{model}/{record.to_version} {happened} (record {record.number}).", soft_wrap=True)
    if record.state != ("rejected" if reject else "done"):
        raise typer.Exit(1)


def rollback(model: ModelArgument, reason: ReasonOption = "", project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Put the former champion back; a record in the ledger like any other.

    Example: [bold]genmill rollback vae-digits --reason "complaints"[/]
    """
    where = open_project(project)
    from components.git import default_actor

    def back() -> "PromotionResult":
        from pipelines import promote as flows

        return flows.rollback(str(where.root), model, reason, default_actor(where.root))

    _show(_listened(where, back), as_json)


def history(model: LedgerArgument = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """The ledger of a model, or of all: who moved which version when, why, and on what figures; also what was refused, rejected or forced.

    Example: [bold]genmill history vae-digits[/]
    """
    where = open_project(project)
    from components.registry import ledger
    from components.registry.references import resolve
    from components.tracking import Tracker
    from genmill.console import print_json, print_table

    records = ledger.history(where, model)
    if model and not records:
        resolve(Tracker.of(where), model)
    if as_json:
        print_json(records)
        return
    columns = ("when (UTC)", "who", "what", "state", "champion", "data", "why")
    if model:
        print_table(f"Ledger of {model}", columns, map(_history_row, records), whole=["state"])
    else:
        print_table("Ledger", ("model", *columns), ((record.model, *_history_row(record)) for record in records), whole=["model", "state"])


def _history_row(record: "Record") -> tuple[str, ...]:
    state = f"{record.state}, forced" if record.forced else record.state
    why = "\n".join(part for part in (record.reason, record.why_not) if part)
    return (record.when.replace("T", " ")[:16], record.who, record.kind, state, f"{record.from_version or '–'} → {record.to_version}", record.data_version, why)


def _wanted(where: "Project", ref: str, version: int | None) -> tuple[str, int | None]:
    """The model that ``ref`` names and the version, None for its candidate; an unknown one is told before any server is started."""
    from components.registry.references import resolve
    from components.tracking import Tracker
    from pipelines.catalog import load_catalog

    if any(sign in ref for sign in "/@"):
        if version is not None:
            raise UserError(f"{ref} names its version already: leave --version out.")
        found = resolve(Tracker.of(where), ref)
        ref, version = found.name, found.version
    return load_catalog(where).model(ref).name, version


def _promote_auto(where: "Project", names: list[str], as_json: bool) -> None:
    from genmill.console import out, print_json
    from pipelines.catalog import load_catalog

    chosen = _auto_entries(load_catalog(where), names)

    def move() -> "list[PromotionResult]":
        from pipelines.promote import promote_automatically

        return promote_automatically(where, chosen)

    results = _listened(where, move)
    if as_json:
        print_json(results)
    elif not results:
        out.print("No new candidate is to be promoted automatically.")
    if not all(result.ok for result in results):
        raise typer.Exit(1)


def _auto_entries(catalog: "Catalog", names: list[str]) -> "list[ModelEntry]":
    entries = [catalog.model(name) for name in names] or list(catalog.models.values())
    for entry in entries:
        if names and not entry.promotion.auto:
            raise UserError(f"params.yaml does not say that {entry.name} is promoted automatically: set `promotion: {{auto: true}}`, or leave --auto out.")
    return [entry for entry in entries if entry.promotion.auto]


def _listened(where: "Project", work: Callable[[], Result]) -> Result:
    """``work`` with the servers up and what it tells shown; Ctrl-C, which can only meet it while it waits or checks, leaves nothing half done."""
    from genmill.console import LiveListener

    with LiveListener() as listener:
        _start(where)
        from pipelines.console import listening
        from pipelines.flow_runs import of_project
        from pipelines.outcomes import RunInterrupted
        from pipelines.tasks import brisk_subflows

        try:
            with listening(listener), of_project(where), brisk_subflows():
                return work()
        except KeyboardInterrupt:
            again = shlex.join(["genmill", *sys.argv[1:]])
            raise RunInterrupted("Interrupted; what was begun is finished or undone by the next start.", resume=again) from None


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
            print_table(f"Gates of {result.model}/{result.to_version}", ("rule", "figure", "value", "asked", "verdict", "note"), map(_gate_cells, result.gates))
        out.print(result.message, soft_wrap=True)
    if not result.ok:
        raise typer.Exit(1)


def _gate_cells(row: "GateRow") -> tuple[str, ...]:
    value = "" if row.value is None else f"{row.value:.5g}"
    return (row.rule, row.figure, value, row.limit, f"[{VERDICT_COLOURS[row.verdict]}]{row.verdict}[/]", row.note)
