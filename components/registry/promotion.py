"""Moves a version into production and back: gates, ledger, aliases, in an order that survives a kill at any point."""

from typing import Literal

from pydantic import computed_field

from components.errors import UserError
from components.params import Block, Strict
from components.project import Project
from components.registry import ledger
from components.registry.gates import GateRow, describe, evaluate_gates, have_passed, load_gates
from components.registry.ledger import Mirror, Record
from components.registry.references import resolve
from components.registry.registration import CHAMPION, PREVIOUS
from components.registry.stored import stored_figures
from components.tracking import ModelVersion, Tracker

LEDGER_TAG = "ledger"

Outcome = Literal["done", "refused", "unchanged", "dry-run"]


class PromotionResult(Strict):
    """What became of a promotion or a rollback."""

    model: str
    kind: ledger.Kind
    outcome: Outcome
    from_version: int | None
    to_version: int
    gates: tuple[GateRow, ...] = ()
    record: int | None = None
    """Number of the last record that was written."""
    message: str
    """One sentence for the user."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """Whether the gates were passed."""
        return have_passed(self.gates)


def promote(
    project: Project, tracker: Tracker, model: str, *, gates: Block, actor: str, version: int | None = None, reason: str = "", dry_run: bool = False
) -> PromotionResult:
    """Make ``version`` (default: the candidate) the champion, if it passes ``gates`` (the model's block in params.yaml).

    A refusal is a record of the ledger too; a dry run writes nothing.

    Raises:
        UserError: no such model or version, or a gate that names no figure.
    """
    target = resolve(tracker, f"{model}/{version}" if version is not None else f"{model}@candidate")
    verdicts = evaluate_gates(load_gates(gates), stored_figures(tracker, target.run_id))
    with project.lock("promotion", f"genmill promote {model}"):
        if not dry_run:
            recover(project, tracker)
        champion = tracker.alias(model, CHAMPION)
        plan = _plan(target, "promote", champion=champion, reason=reason, actor=actor, gates=verdicts)
        if champion == target.version and ledger.champions(ledger.read(project, model))[-1:] == [champion]:
            return _outcome(plan, "unchanged", verdicts, f"{target.ref} is the champion already.")
        if dry_run:
            verdict = "would become champion" if have_passed(verdicts) else "would be refused"
            return _outcome(plan, "dry-run", verdicts, f"{target.ref} {verdict}: {describe(verdicts)}.")
        if not have_passed(verdicts):
            written = ledger.append(project, plan.model_copy(update={"state": "refused"}))
            _mirror(tracker, written)
            return _outcome(written, "refused", verdicts, f"{target.ref} stays out of production: {describe(verdicts)}.")
        written = _carry_out(project, tracker, plan)
    return _outcome(written, "done", verdicts, f"{target.ref} is the champion now: {describe(verdicts)}.")


def rollback(project: Project, tracker: Tracker, model: str, *, actor: str, reason: str = "", dry_run: bool = False) -> PromotionResult:
    """Put the champion before the present one back; going back needs no gate.

    Raises:
        UserError: there is no champion, none before it, or the alias was moved past the ledger.
    """
    with project.lock("promotion", f"genmill rollback {model}"):
        if not dry_run:
            recover(project, tracker)
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
        target = resolve(tracker, f"{model}/{stack[-2]}")
        plan = _plan(target, "rollback", champion=champion, reason=reason, actor=actor, gates=())
        if dry_run:
            return _outcome(plan, "dry-run", (), f"{target.ref} would be the champion again, after {model}/{champion}.")
        written = _carry_out(project, tracker, plan)
    return _outcome(written, "done", (), f"{target.ref} is the champion again, after {model}/{champion}.")


def recover(project: Project, tracker: Tracker) -> list[str]:
    """Finish or undo what a kill interrupted; one sentence per case. Call it under the lock `promotion`."""
    told = []
    for intent in ledger.open_intents(ledger.read(project)):
        if tracker.alias(intent.model, CHAMPION) == intent.to_version:
            _close(project, tracker, intent)
            told.append(f"Finished an interrupted {intent.kind} of {intent.model} to version {intent.to_version} (record {intent.number}).")
        else:
            _point(tracker, intent.model, PREVIOUS, intent.previous_version)
            written = ledger.append(project, intent.model_copy(update={"state": "undone", "intent": intent.number}))
            _mirror(tracker, written)
            told.append(f"Undid an interrupted {intent.kind} of {intent.model} to version {intent.to_version} (record {intent.number}).")
    return told


def mirrors(tracker: Tracker) -> list[Mirror]:
    """What the registry remembers of the ledger, for every model that was ever promoted."""
    found = (Mirror.parse(model, tracker.model_tag(model, LEDGER_TAG)) for model in tracker.model_names())
    return [mirror for mirror in found if mirror is not None]


def _carry_out(project: Project, tracker: Tracker, plan: Record) -> Record:
    intent = ledger.append(project, plan.model_copy(update={"previous_version": tracker.alias(plan.model, PREVIOUS)}))
    tracker.set_alias(plan.model, CHAMPION, plan.to_version)
    return _close(project, tracker, intent)


def _close(project: Project, tracker: Tracker, intent: Record) -> Record:
    """What follows once the champion has moved: `previous`, the closing record, and the registry's mirror of it."""
    done = intent.model_copy(update={"state": "done", "intent": intent.number})
    stack = ledger.champions([*ledger.read(project, intent.model), done])
    _point(tracker, intent.model, PREVIOUS, stack[-2] if len(stack) > 1 else None)
    written = ledger.append(project, done)
    _mirror(tracker, written)
    what = "promoted" if written.kind == "promote" else "returned to"
    note = f"{what} by {written.who} at {written.when}, record {written.number}" + (f": {written.reason}" if written.reason else "")
    tracker.set_version_tags(written.model, written.to_version, {"promotion": note})
    return written


def _mirror(tracker: Tracker, record: Record) -> None:
    tracker.set_model_tag(record.model, LEDGER_TAG, str(Mirror(record.model, record.number, record.sha256)))


def _point(tracker: Tracker, model: str, alias: str, version: int | None) -> None:
    if version is not None:
        tracker.set_alias(model, alias, version)
    elif tracker.alias(model, alias) is not None:
        tracker.delete_alias(model, alias)


def _plan(target: ModelVersion, kind: ledger.Kind, *, champion: int | None, reason: str, actor: str, gates: tuple[GateRow, ...]) -> Record:
    return Record(
        who=actor,
        model=target.name,
        kind=kind,
        state="intent",
        reason=reason,
        from_version=champion,
        to_version=target.version,
        gates=gates,
        data_version=f"{target.tag('dataset')}@{target.tag('data_version')}",
        data_sha256=target.tag("data_sha256"),
        run_id=target.run_id,
        identity=target.tag("identity"),
        package_sha256=target.tag("package_sha256"),
    )


def _outcome(record: Record, outcome: Outcome, gates: tuple[GateRow, ...], message: str) -> PromotionResult:
    return PromotionResult(
        model=record.model,
        kind=record.kind,
        outcome=outcome,
        from_version=record.from_version,
        to_version=record.to_version,
        gates=gates,
        record=record.number or None,
        message=message,
    )
