"""Moves a version into production and back: ledger and aliases, in an order that survives a kill at any point.

A promotion has two halves: `begin` notes what is wanted and how production stood then, `promote` carries it out under the lock. What lies
between them (gates, an approval that may take a day) holds no lock, so `promote` looks whether anybody else came first.
"""

import uuid
from typing import Literal

from pydantic import computed_field

from components.errors import UserError
from components.params import Strict
from components.project import Project
from components.registry import ledger
from components.registry.gates import GateRow, describe, have_passed
from components.registry.ledger import Mirror, Record
from components.registry.moves import LEDGER_TAG, carry_out, mirror, recover
from components.registry.references import resolve
from components.registry.registration import CHAMPION
from components.registry.verdicts import GatesTable
from components.tracking import ModelVersion, Tracker

Outcome = Literal["done", "refused", "rejected", "overtaken", "unchanged", "dry-run", "failed"]
"""`failed`: a mistake, e.g. in params.yaml, kept it from being decided."""


class Request(Strict):
    """What somebody wants to be in production, and how production stood when they asked."""

    id: str
    model: str
    kind: ledger.Kind = "promote"
    version: int
    actor: str
    reason: str = ""
    force: bool = False
    """Promote in spite of failed gates."""
    auto: bool = False
    """Nobody asked: the same refusal is not recorded again and again."""
    champion: int | None
    """The champion then."""
    seen: int = 0
    """Number of the record of the last change of the champion then; 0 where there was none."""


class PromotionResult(Strict):
    """What became of a promotion or a rollback."""

    model: str
    kind: ledger.Kind
    outcome: Outcome
    from_version: int | None
    to_version: int
    gates: tuple[GateRow, ...] = ()
    forced: bool = False
    record: int | None = None
    """Number of the last record that was written."""
    message: str
    """One sentence for the user."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """Whether what was asked for stands, or would."""
        return self.outcome in ("done", "unchanged") or (self.outcome == "dry-run" and (self.forced or have_passed(self.gates)))


def begin(
    project: Project,
    tracker: Tracker,
    model: str,
    *,
    actor: str,
    version: int | None = None,
    reason: str = "",
    force: bool = False,
    auto: bool = False,
) -> Request:
    """The wish to promote ``version`` (default: the candidate).

    Raises:
        UserError: no such model or version, or force without a reason.
    """
    if force and not reason.strip():
        raise UserError("--force puts a version into production in spite of its gates: say why with --reason.")
    target = resolve(tracker, f"{model}/{version}" if version is not None else f"{model}@candidate")
    return _request(project, tracker, "promote", target, actor=actor, reason=reason, force=force, auto=auto)


def begin_rollback(project: Project, tracker: Tracker, model: str, *, actor: str, reason: str = "") -> Request:
    """The wish to put the champion before the present one back.

    Raises:
        UserError: there is no champion, none before it, or the alias was moved past the ledger.
    """
    champion = tracker.alias(model, CHAMPION)
    if champion is None:
        resolve(tracker, model)
        raise UserError(f"{model} has no champion, so there is nothing to roll back: `genmill promote {model}` makes one.")
    stack = ledger.champions(ledger.read(project, model))
    if stack[-1:] != [champion]:
        raise UserError(
            f"The alias {CHAMPION} of {model} stands on version {champion}, but the ledger says {stack[-1] if stack else 'none'}: it was moved past "
            f"Genmill. Record what shall be in production with `genmill promote {model} --version N --reason …`."
        )
    if len(stack) < 2:
        raise UserError(f"{model} had no champion before version {champion}: promote another version with `genmill promote {model} --version N`.")
    return _request(project, tracker, "rollback", resolve(tracker, f"{model}/{stack[-2]}"), actor=actor, reason=reason)


def is_champion(project: Project, tracker: Tracker, request: Request) -> bool:
    """Whether what is asked for stands already, by the registry and by the ledger."""
    stack = ledger.champions(ledger.read(project, request.model))
    return tracker.alias(request.model, CHAMPION) == request.version == (stack[-1] if stack else None)


def promote(project: Project, tracker: Tracker, request: Request, table: GatesTable, *, approval: str = "") -> PromotionResult:
    """Carry ``request`` out if its gates were passed (or force was asked for) and nobody came first; a refusal is a record of the ledger too."""
    with project.lock("promotion", f"genmill promote {request.model}"):
        settled = _settled(project, tracker, request, table)
        if settled is not None:
            return settled
        plan = _plan(tracker, request, table.rows).model_copy(update={"approval": approval, "forced": request.force and not table.passed})
        if not table.passed and not request.force:
            return _refuse(project, tracker, request, plan, f"{request.model}/{request.version} stays out of production: {describe(table.rows)}.")
        written = carry_out(project, tracker, plan)
    return _result(request, "done", _done_message(written), written)


def reject(project: Project, tracker: Tracker, request: Request, table: GatesTable, *, approval: str = "", note: str = "") -> PromotionResult:
    """Record that nobody approved ``request``: a person's no (``approval`` says whose) is `rejected`, silence (``note``) is `refused`."""
    state: Literal["rejected", "refused"] = "rejected" if approval else "refused"
    with project.lock("promotion", f"genmill promote {request.model}"):
        recover(project, tracker)
        plan = _plan(tracker, request, table.rows).model_copy(update={"approval": approval, "note": note, "forced": request.force and not table.passed})
        written = ledger.append(project, plan.model_copy(update={"state": state}))
        mirror(tracker, written)
    return _result(request, state, f"{request.model}/{request.version} stays out of production: {approval or note}.", written)


def preview(project: Project, tracker: Tracker, request: Request, table: GatesTable) -> PromotionResult:
    """What `promote` would say; nothing is written."""
    plan = _plan(tracker, request, table.rows).model_copy(update={"forced": request.force and not table.passed})
    if is_champion(project, tracker, request):
        return _result(request, "unchanged", f"{request.model}/{request.version} is the champion already.", plan)
    verdict = "would become champion" if table.passed else "would become champion by force" if request.force else "would be refused"
    return _result(request, "dry-run", f"{request.model}/{request.version} {verdict}: {describe(table.rows)}.", plan)


def rollback(project: Project, tracker: Tracker, request: Request) -> PromotionResult:
    """Put the former champion back; going back needs no gate, also over a forced promotion."""
    with project.lock("promotion", f"genmill rollback {request.model}"):
        settled = _settled(project, tracker, request, None)
        if settled is not None:
            return settled
        written = carry_out(project, tracker, _plan(tracker, request, ()))
    return _result(request, "done", _done_message(written), written)


def mirrors(tracker: Tracker) -> list[Mirror]:
    """What the registry remembers of the ledger, for every model that was ever promoted."""
    found = (Mirror.parse(model, tracker.model_tag(model, LEDGER_TAG)) for model in tracker.model_names())
    return [mirror for mirror in found if mirror is not None]


def _settled(project: Project, tracker: Tracker, request: Request, table: GatesTable | None) -> PromotionResult | None:
    """The result where ``request`` is carried out already (a retry), holds anyway, or somebody else came first. Call it under the lock."""
    recover(project, tracker)
    plan = _plan(tracker, request, table.rows if table else ())
    last = ledger.last_move(ledger.read(project, request.model))
    if last is not None and last.request == request.id:
        return _result(request, "done", _done_message(last), last)
    overtaken = _overtaken(tracker, request, last)
    if overtaken:
        written = ledger.append(project, plan.model_copy(update={"state": "refused", "note": overtaken}))
        mirror(tracker, written)
        return _result(request, "overtaken", overtaken, written)
    if is_champion(project, tracker, request):
        return _result(request, "unchanged", f"{request.model}/{request.version} is the champion already.", plan)
    return None


def _overtaken(tracker: Tracker, request: Request, last: Record | None) -> str | None:
    """Who moved the champion since ``request`` was made, in one sentence."""
    model, wanted = request.model, f"the {request.kind} to {request.model}/{request.version} was left undone"
    look = f"look at `genmill history {model}`, then ask again if it is still wanted."
    if last is not None and last.number != request.seen:
        did = "promoted" if last.kind == "promote" else "rolled back to"
        return f"{last.who} {did} {model}/{last.to_version} meanwhile (record {last.number}), so {wanted}: {look}"
    champion = tracker.alias(model, CHAMPION)
    if champion != request.champion:
        return f"The champion of {model} became {f'version {champion}' if champion else 'none'} meanwhile, past Genmill, so {wanted}: {look}"
    return None


def _refuse(project: Project, tracker: Tracker, request: Request, plan: Record, message: str) -> PromotionResult:
    refused = plan.model_copy(update={"state": "refused"})
    known = ledger.read(project, plan.model)[-1:]
    if request.auto and known and _same_refusal(known[0], refused):
        return _result(request, "refused", message, known[0])
    written = ledger.append(project, refused)
    mirror(tracker, written)
    return _result(request, "refused", message, written)


def _same_refusal(a: Record, b: Record) -> bool:
    return (a.state, a.reason, a.from_version, a.to_version, a.gates) == (b.state, b.reason, b.from_version, b.to_version, b.gates)


def _request(
    project: Project, tracker: Tracker, kind: ledger.Kind, target: ModelVersion, *, actor: str, reason: str, force: bool = False, auto: bool = False
) -> Request:
    last = ledger.last_move(ledger.read(project, target.name))
    return Request(
        id=uuid.uuid4().hex,
        model=target.name,
        kind=kind,
        version=target.version,
        actor=actor,
        reason=reason,
        force=force,
        auto=auto,
        champion=tracker.alias(target.name, CHAMPION),
        seen=last.number if last else 0,
    )


def _plan(tracker: Tracker, request: Request, gates: tuple[GateRow, ...]) -> Record:
    target = tracker.model_version(request.model, request.version)
    return Record(
        who=request.actor,
        model=target.name,
        kind=request.kind,
        state="intent",
        reason=request.reason,
        from_version=tracker.alias(target.name, CHAMPION),
        to_version=target.version,
        gates=gates,
        request=request.id,
        data_version=f"{target.tag('dataset')}@{target.tag('data_version')}",
        data_sha256=target.tag("data_sha256"),
        run_id=target.run_id,
        identity=target.tag("identity"),
        package_sha256=target.tag("package_sha256"),
    )


def _done_message(record: Record) -> str:
    version = f"{record.model}/{record.to_version}"
    if record.kind == "rollback":
        return f"{version} is the champion again, after {record.model}/{record.from_version}."
    how = " by force" if record.forced else ""
    return f"{version} is the champion now{how}: {describe(record.gates)}."


def _result(request: Request, outcome: Outcome, message: str, record: Record) -> PromotionResult:
    return PromotionResult(
        model=request.model,
        kind=request.kind,
        outcome=outcome,
        from_version=record.from_version,
        to_version=record.to_version,
        gates=record.gates,
        forced=record.forced,
        record=record.number or None,
        message=message,
    )
