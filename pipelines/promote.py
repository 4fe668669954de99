"""Flow: gates → (approval) → alias and ledger; and back."""

from pathlib import Path

import httpx
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from components.errors import UserError
from components.git import default_actor
from components.project import Project
from components.registry import checks, ledger, moves, promotion
from components.registry.gates import require_measured
from components.registry.promotion import PromotionResult, Request
from components.registry.registration import CANDIDATE, CHAMPION
from components.registry.stored import stored_figures
from components.registry.verdicts import GatesTable
from components.tracking import Tracker
from pipelines import console
from pipelines.approval import ask, refuse_second, server_went_away
from pipelines.catalog import ModelEntry, load_catalog
from pipelines.flow_runs import HOOKS
from pipelines.gates import check_gates, compare_fairly
from pipelines.tasks import a_retry_can_help

AUTO_REASON = "auto: passed its gates"


@task(name="alias and ledger", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2, retry_condition_fn=a_retry_can_help)
def move_champion(project: str, request: Request, table: GatesTable, approval: str) -> PromotionResult:
    """Write the intent, move the alias, write that it is done, or write why not; a retry finishes what was begun."""
    where = Project(Path(project))
    return promotion.promote(where, Tracker.of(where), request, table, approval=approval)


@task(name="record that it was not approved", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2, retry_condition_fn=a_retry_can_help)
def record_no(project: str, request: Request, table: GatesTable, approval: str, note: str) -> PromotionResult:
    where = Project(Path(project))
    return promotion.reject(where, Tracker.of(where), request, table, approval=approval, note=note)


@task(name="alias back", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2, retry_condition_fn=a_retry_can_help)
def move_back(project: str, request: Request) -> PromotionResult:
    where = Project(Path(project))
    return promotion.rollback(where, Tracker.of(where), request)


@flow(name="promote", flow_run_name="promote-{model}", **HOOKS)
def promote(
    project: str, model: str, version: int | None = None, reason: str = "", actor: str = "flow promote", force: bool = False, auto: bool = False
) -> PromotionResult:
    """Move `champion` to a version of ``model`` that passes its gates, and is approved where params.yaml requires that; every no is a record too."""
    where = Project(Path(project))
    tracker, entry = Tracker.of(where), load_catalog(where).model(model)
    mend(where, tracker)
    request = promotion.begin(where, tracker, model, version=version, actor=actor, reason=reason, force=force, auto=auto)
    _look_at_gates(tracker, entry, request)
    if entry.promotion.approval == "required":
        refuse_second(where, model)
    table = check_gates(project, model, request.version)
    if entry.promotion.approval == "required" and (table.passed or force) and not promotion.is_champion(where, tracker, request):
        return _ask_and_move(where, entry, request, table)
    return move_champion(project, request, table, "")


@flow(name="rollback", flow_run_name="rollback-{model}", **HOOKS)
def rollback(project: str, model: str, reason: str = "", actor: str = "flow rollback") -> PromotionResult:
    """Put the former champion of ``model`` back."""
    where = Project(Path(project))
    tracker = Tracker.of(where)
    mend(where, tracker)
    return move_back(project, promotion.begin_rollback(where, tracker, model, reason=reason, actor=actor))


def preview(project: Project, model: str, version: int | None, *, force: bool, reason: str, actor: str) -> PromotionResult:
    """What `promote` would say, without a server and without a record."""
    tracker, entry = Tracker.of(project), load_catalog(project).model(model)
    request = promotion.begin(project, tracker, model, version=version, actor=actor, reason=reason, force=force)
    _look_at_gates(tracker, entry, request)
    found = tracker.model_version(model, request.version)
    if entry.gates.champion is not None:
        compare_fairly(project, tracker, found)
    table = checks.check_gates(project, tracker, found, entry.gates)
    return promotion.preview(project, tracker, request, table)


def promote_automatically(project: Project, entries: list[ModelEntry]) -> list[PromotionResult]:
    """Promote the candidates of ``entries`` whose params say `auto: true`; one that a person has to approve is only told of.

    A mistake in one of them is told and a result too (`failed`), so that it does not keep the others from being promoted.
    """
    tracker = Tracker.of(project)
    actor = default_actor(project.root)
    results = []
    for entry in entries:
        if not entry.promotion.auto:
            continue
        try:
            result = _promoted(project, tracker, entry, actor)
        except UserError as error:
            result = _failed(tracker, entry.name, error)
        if result is not None:
            console.say(f"{'[green]✓[/]' if result.ok else '[yellow]![/]'} {result.message}")
            results.append(result)
    return results


def _promoted(project: Project, tracker: Tracker, entry: ModelEntry, actor: str) -> PromotionResult | None:
    """What became of the candidate; None where there is no new one, or a person has to approve it."""
    if not _is_new(project, tracker, entry.name):
        return None
    if entry.promotion.approval == "required":
        console.say(f"{entry.name}: its candidate waits for `genmill promote {entry.name}`, which asks for the approval that params.yaml requires")
        return None
    return promote(str(project.root), entry.name, None, AUTO_REASON, actor, False, True)


def _failed(tracker: Tracker, model: str, error: UserError) -> PromotionResult:
    aliases = tracker.aliases(model)
    return PromotionResult(
        model=model, kind="promote", outcome="failed", from_version=aliases.get(CHAMPION), to_version=aliases[CANDIDATE],
        message=f"{model} was not promoted: {error}",
    )  # fmt: skip


def mend(project: Project, tracker: Tracker) -> None:
    """Finish or undo what a kill interrupted, and say so."""
    for sentence in moves.mend(project, tracker):
        console.say(f"[yellow]![/] {sentence}")


def _ask_and_move(project: Project, entry: ModelEntry, request: Request, table: GatesTable) -> PromotionResult:
    try:
        answer = ask(project, request, table, entry.promotion)
    except httpx.TransportError as error:
        server_went_away(project, request, error)
    if answer is None:
        return record_no(str(project.root), request, table, "", f"nobody answered within {entry.promotion.approval_timeout_h:g} h")
    if not answer.approve:
        return record_no(str(project.root), request, table, answer.sentence(), "")
    return move_champion(str(project.root), request, table, answer.sentence())


def _look_at_gates(tracker: Tracker, entry: ModelEntry, request: Request) -> None:
    """A gate that names no figure is a mistake of params.yaml: told before anything else happens."""
    require_measured(entry.gates, stored_figures(tracker, tracker.model_version(request.model, request.version).run_id))


def _is_new(project: Project, tracker: Tracker, model: str) -> bool:
    """Whether the candidate was never champion and no person has said no to it: a rollback is not undone by the next build."""
    aliases = tracker.aliases(model)
    candidate = aliases.get(CANDIDATE)
    if candidate is None or candidate == aliases.get(CHAMPION):
        return False
    settled = [record for record in ledger.read(project, model) if record.to_version == candidate and record.state in ("done", "rejected")]
    return not settled
