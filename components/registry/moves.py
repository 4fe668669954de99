"""Moves the aliases of production, with a record before and after; finishes or undoes what a kill interrupted in between."""

from components.project import Project
from components.registry import ledger
from components.registry.ledger import Mirror, Record
from components.registry.registration import CHAMPION, PREVIOUS
from components.tracking import Tracker

LEDGER_TAG = "ledger"


def carry_out(project: Project, tracker: Tracker, plan: Record) -> Record:
    """Intent, alias, `previous`, done, in this order; returns the closing record. Call it under the lock `promotion`."""
    intent = ledger.append(project, plan.model_copy(update={"previous_version": tracker.alias(plan.model, PREVIOUS)}))
    tracker.set_alias(plan.model, CHAMPION, plan.to_version)
    return _close(project, tracker, intent)


def mend(project: Project, tracker: Tracker) -> list[str]:
    """`recover` where there is anything to mend; takes the lock only then, so that it costs a read."""
    if not ledger.open_intents(ledger.read(project)):
        return []
    with project.lock("promotion", "genmill (mending an interrupted promotion)"):
        return recover(project, tracker)


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
            mirror(tracker, written)
            told.append(f"Undid an interrupted {intent.kind} of {intent.model} to version {intent.to_version} (record {intent.number}).")
    return told


def mirror(tracker: Tracker, record: Record) -> None:
    """Let the registry remember ``record``, so that a ledger that was rewritten shows."""
    tracker.set_model_tag(record.model, LEDGER_TAG, str(Mirror(record.model, record.number, record.sha256)))


def _close(project: Project, tracker: Tracker, intent: Record) -> Record:
    """What follows once the champion has moved: `previous`, the closing record, and the registry's mirror of it."""
    done = intent.model_copy(update={"state": "done", "intent": intent.number})
    stack = ledger.champions([*ledger.read(project, intent.model), done])
    _point(tracker, intent.model, PREVIOUS, stack[-2] if len(stack) > 1 else None)
    written = ledger.append(project, done)
    mirror(tracker, written)
    what = ("promoted by force" if written.forced else "promoted") if written.kind == "promote" else "returned to"
    note = f"{what} by {written.who} at {written.when}, record {written.number}" + (f": {written.reason}" if written.reason else "")
    tracker.set_version_tags(written.model, written.to_version, {"promotion": note})
    return written


def _point(tracker: Tracker, model: str, alias: str, version: int | None) -> None:
    if version is not None:
        tracker.set_alias(model, alias, version)
    elif tracker.alias(model, alias) is not None:
        tracker.delete_alias(model, alias)
