"""A promotion waits for a person: the flow run pauses, and an answer comes from the Prefect UI or from `genmill approve`."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import psutil
from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.exceptions import FlowPauseTimeout, PrefectHTTPStatusError
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from pydantic import Field

from components.errors import UserError
from components.params import Strict
from components.project import Project
from components.registry import ledger
from components.registry.gates import describe
from components.registry.ledger import Record
from components.registry.promotion import Request
from components.registry.verdicts import GatesTable
from pipelines import console
from pipelines.catalog import PromotionSettings
from pipelines.processes import still_runs
from pipelines.servers import find_server

POLL_S = 1
PAUSED_TIMEOUT_S = 10.0
ANSWERED_TIMEOUT_S = 120.0
"""How long `answer` waits for the flow to carry out what was answered."""


class Answer(RunInput):
    """What a person says to a promotion that waits."""

    approve: bool = Field(title="Approve", description="Yes makes the version champion; no records that it was rejected.")
    who: str = Field(title="Who", description="Your name; it stands in the ledger.")
    reason: str = Field("", title="Reason", description="Why; it stands in the ledger.")

    def sentence(self) -> str:
        """As the ledger keeps it."""
        return f"{'approved' if self.approve else 'rejected'} by {self.who}" + (f": {self.reason}" if self.reason else "")


class Waiting(Strict):
    """A promotion that waits for an answer, and the process that does."""

    flow_run_id: str
    request: str
    """Id of the wish, by which the ledger tells its records from those of others."""
    version: int
    actor: str
    pid: int
    created: float
    """Start time of the process; with the pid it names the process beyond doubt."""

    def alive(self) -> bool:
        return still_runs(self.pid, self.created)


def ask(project: Project, request: Request, table: GatesTable, settings: PromotionSettings) -> Answer | None:
    """Pause this flow run until a person answers; None when nobody did in time.

    Raises:
        UserError: another promotion of the model waits for its answer already, or the server went away.
    """
    described: Any = Answer.with_initial_data(description=_question(request, table))
    with _noted(project, request):
        console.say(_how_to_answer(project, request, settings))
        try:
            answer = pause_flow_run(wait_for_input=described, timeout=round(settings.approval_timeout_h * 3600), poll_interval=POLL_S)
        except FlowPauseTimeout:
            _go_on()
            return None
    assert isinstance(answer, Answer)
    return answer


def refuse_second(project: Project, model: str) -> None:
    """Only one promotion of a model may wait, so that an answer cannot go to the wrong one."""
    found = waiting(project, model)
    if found is not None:
        raise UserError(f"{model}/{found.version} waits for approval already (asked by {found.actor}): answer it with `genmill approve {model}` first.")


def waiting(project: Project, model: str) -> Waiting | None:
    """The promotion of ``model`` that waits; one whose process is gone is withdrawn."""
    try:
        found = Waiting.model_validate_json(_note(project, model).read_text())
    except OSError:
        return None
    except ValueError:  # notes appear whole, so this one is nobody's
        _note(project, model).unlink(missing_ok=True)
        return None
    if found.alive():
        return found
    _withdraw(found.flow_run_id)
    _remove_note(project, model, found.flow_run_id)
    return None


def answer(project: Project, model: str, *, approve: bool, who: str, reason: str) -> Record:
    """Answer the promotion of ``model`` that waits; returns the record of what became of it.

    Raises:
        UserError: nothing waits.
    """
    found = waiting(project, model)
    if found is None:
        raise UserError(f"No promotion of {model} waits for approval: `genmill promote {model}` asks for one, where params.yaml requires it.")
    before = len(ledger.read(project, model))
    with get_client(sync_client=True) as client:
        _resume(client, found, Answer(approve=approve, who=who, reason=reason), model)
        deadline = time.monotonic() + ANSWERED_TIMEOUT_S
        while time.monotonic() < deadline:
            state = client.read_flow_run(UUID(found.flow_run_id)).state
            if state is not None and state.is_final():
                break
            time.sleep(0.5)
    settled = _settled(ledger.read(project, model)[before:], found)
    if settled is None:
        raise UserError(f"The promotion of {model} was answered, but left no record: see flow run {found.flow_run_id} in the Prefect UI.")
    return settled


def _settled(records: list[Record], found: Waiting) -> Record | None:
    """What became of the promotion that waited; ``records`` may hold those of others, e.g. of a rollback in the meantime."""
    return next((record for record in reversed(records) if record.request == found.request and record.state != "intent"), None)


def _resume(client: Any, found: Waiting, given: Answer, model: str) -> None:
    """Hand the answer over; the note of who waits is written a moment before the server knows that the run is paused."""
    deadline, why = time.monotonic() + PAUSED_TIMEOUT_S, "it is not paused"
    while time.monotonic() < deadline:
        try:
            outcome = client.resume_flow_run(UUID(found.flow_run_id), run_input=given.model_dump())
        except PrefectHTTPStatusError as error:
            why = f"the server says {error.response.status_code}"
        else:
            if outcome.status.value == "ACCEPT":
                return
            why = getattr(outcome.details, "reason", None) or outcome.status.value
        time.sleep(0.5)
    raise UserError(f"The promotion of {model} no longer waits ({why}): see `genmill history {model}`.")


@contextlib.contextmanager
def _noted(project: Project, request: Request) -> Iterator[None]:
    """A note of who waits, for as long as this process does.

    Raises:
        UserError: there is one already; of two that come at the same time one gets it.
    """
    this, flow_run_id = psutil.Process(), str(runtime.flow_run.id)
    found = Waiting(
        flow_run_id=flow_run_id, request=request.id, version=request.version, actor=request.actor, pid=this.pid, created=this.create_time()
    )  # fmt: skip
    while not _written(_note(project, request.model), found):
        refuse_second(project, request.model)
    try:
        yield
    finally:
        _remove_note(project, request.model, flow_run_id)


def _written(note: Path, found: Waiting) -> bool:
    """Whether ``note`` was not there and is now, whole: a link is made at once or not at all."""
    note.parent.mkdir(parents=True, exist_ok=True)
    partial = note.with_suffix(f".{found.flow_run_id}.partial")
    partial.write_text(found.model_dump_json())
    try:
        os.link(partial, note)
    except FileExistsError:
        return False
    finally:
        partial.unlink()
    return True


def _remove_note(project: Project, model: str, flow_run_id: str) -> None:
    """Unless it is by now another's."""
    note = _note(project, model)
    with contextlib.suppress(OSError, ValueError):
        if Waiting.model_validate_json(note.read_text()).flow_run_id == flow_run_id:
            note.unlink(missing_ok=True)


def _go_on() -> None:
    """Let this flow run end as completed: the server would make of one whose pause ran out a failed one, whatever it did afterwards."""
    from prefect.states import Running

    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(str(runtime.flow_run.id)), Running(), force=True)


def _withdraw(flow_run_id: str) -> None:
    """Cancel a flow run that nobody carries on, so that the UI offers no answer to it."""
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Cancelled

    with get_client(sync_client=True) as client, contextlib.suppress(ObjectNotFound):
        client.set_flow_run_state(UUID(flow_run_id), Cancelled(message="Its process ended while it waited for approval."), force=True)


def _question(request: Request, table: GatesTable) -> str:
    """Markdown above the form of the Prefect UI."""
    rows = "\n".join(f"- {row.verdict}: {row}" for row in table.rows)
    because = f" because: {request.reason}" if request.reason else ""
    return f"**{request.actor}** wants **{request.model}/{request.version}** in production{because}.\n\n{describe(table.rows)}\n\n{rows}"


def _how_to_answer(project: Project, request: Request, settings: PromotionSettings) -> str:
    server = find_server(project, "prefect")
    page = f"{server.url}/runs/flow-run/{runtime.flow_run.id}" if server else f"flow run {runtime.flow_run.id} in the Prefect UI"
    model, hours = request.model, f"{settings.approval_timeout_h:g} h"
    return (
        f"{model}/{request.version} waits for approval, {hours} at most. Answer with\n"
        f'  genmill approve {model} --project {project.root}   (--reject for no, --reason "…" for why)\n'
        f"  or press Resume on {page}"
    )


def _note(project: Project, model: str) -> Path:
    return project.state / "approvals" / f"{model}.json"


def server_went_away(project: Project, request: Request, error: Exception) -> NoReturn:
    raise UserError(
        f"The Prefect server stopped while {request.model}/{request.version} waited for approval ({type(error).__name__}), so nothing was moved: "
        f"run `genmill promote {request.model} --project {project.root}` again."
    ) from error
