"""What a start finds of those before it: flow runs whose process was killed, and times of a schedule that passed meanwhile."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterId,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Cancelled, Crashed

from components.project import Project
from components.tracking import Tracker
from pipelines import flow_runs, limits
from pipelines.flow_runs import FlowRunRecord, resume_command

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

KILLED = "Its process was killed."


def sweep(project: Project) -> list[FlowRunRecord]:
    """Close what killed processes left open in MLflow, in Prefect and on this machine; returns the flow runs that were killed.

    A run on another machine is left alone: nothing here can tell whether it lives.
    """
    Tracker.of(project).sweep_running()
    dead = [record for record in flow_runs.records(project) if record.state == "running" and not record.alive]
    if not dead:
        return []
    with get_client(sync_client=True) as client:
        for record in dead:
            _crash(client, record)
            flow_runs.close(project, record, "crashed", KILLED)
    return dead


def describe(project: Project, dead: Sequence[FlowRunRecord]) -> list[str]:
    """A sentence for each run that was killed, with the command that goes on with it."""
    return [f"{record} was killed; go on with: {resume_command(project, record.id)}" for record in dead]


def close_unbegun(client: "SyncPrefectClient", deployment_id: UUID) -> int:
    """Close the runs that a worker had taken and not yet begun when it was killed; returns how many."""
    taken = _runs_of(client, deployment_id, [StateType.PENDING])
    for run in taken:
        client.set_flow_run_state(run.id, Crashed(message=KILLED), force=True)
    return len(taken)


def cancel_missed(client: "SyncPrefectClient", deployment_id: UUID, why: str, *, keep_newest: bool) -> int:
    """Cancel the runs of a deployment whose time passed without their being started, all but the newest with ``keep_newest``; returns how many are left."""
    missed = _missed(client, deployment_id)
    kept = missed[-1:] if keep_newest else []
    for run in missed[: len(missed) - len(kept)]:
        _cancel(client, run, why)
    return len(kept)


def stand_for_missed() -> None:
    """Called by a flow as it starts: a scheduled run does the work of every time that passed, so those runs are cancelled."""
    if not runtime.deployment.id:
        return
    own = str(runtime.flow_run.id)
    with get_client(sync_client=True) as client:
        for run in _missed(client, UUID(str(runtime.deployment.id))):
            if str(run.id) != own:
                _cancel(client, run, f"its time had passed when run {own} started, which does its work")


def _missed(client: "SyncPrefectClient", deployment_id: UUID) -> "list[FlowRun]":
    """The oldest first."""
    return _runs_of(client, deployment_id, [StateType.SCHEDULED], FlowRunFilterNextScheduledStartTime(before_=datetime.now(UTC)))


def _runs_of(
    client: "SyncPrefectClient", deployment_id: UUID, states: list[StateType], due: FlowRunFilterNextScheduledStartTime | None = None
) -> "list[FlowRun]":
    wanted = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)),
        next_scheduled_start_time=due,
    )
    return client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=200)


def _cancel(client: "SyncPrefectClient", run: "FlowRun", why: str) -> None:
    client.set_flow_run_state(run.id, Cancelled(message=f"Missed: {why}."), force=True)


def _crash(client: "SyncPrefectClient", record: FlowRunRecord) -> None:
    """The flow run, what it called and their tasks, where Prefect still believes that they run."""
    state: Any = Crashed(message=KILLED)
    wanted = UUID(record.id)
    family = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[wanted])))
    family += client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[wanted])))
    open_tasks = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING])))
    for run in family:
        of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        for task in client.read_task_runs(flow_run_filter=of_run, task_run_filter=open_tasks):
            client.set_task_run_state(task.id, state, force=True)
        if run.state is None or not run.state.is_final():
            client.set_flow_run_state(run.id, state, force=True)
            if "model" in run.parameters:
                limits.free(client, run.parameters["model"])
