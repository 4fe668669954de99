"""What this machine remembers of the flow runs that it began: their process, their params, and how they ended.

A process that is killed tells nobody. The next start finds its record, sees that nothing runs under it, and closes what it left open.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil
from prefect.logging.loggers import flow_run_logger

from components.atomic import write_text
from components.errors import UserError
from components.params import Strict
from components.project import Project
from pipelines.processes import still_runs

KEPT = 50
"""Records, the newest; the flow runs themselves stay in Prefect."""
State = Literal["running", "completed", "failed", "crashed", "cancelled", "resumed"]
"""`resumed`: it did not complete, and another run went on with it to its end."""
UNFINISHED = ("failed", "crashed", "cancelled")


class FlowRunRecord(Strict):
    """A flow run that nobody else called."""

    id: str
    flow: str
    entrypoint: str
    """Where its function is found, e.g. `pipelines.build.build`."""
    parameters: dict[str, Any] = {}
    began: datetime
    pid: int
    created: float
    """Start time of the process; with the pid it names the process beyond doubt."""
    deployment: str = ""
    """Id of the schedule or trigger that a worker began it for; empty for a person's."""
    state: State = "running"
    message: str = ""
    versions: dict[str, str] = {}
    """The version of each dataset that it worked with."""

    @property
    def alive(self) -> bool:
        return still_runs(self.pid, self.created)

    def __str__(self) -> str:
        what = " ".join(str(value) for key in ("dataset", "model") if (value := self.parameters.get(key)))
        return f"{self.flow}{f' {what}' if what else ''} of {self.began:%Y-%m-%d %H:%M} UTC"


def project_tag(project: Project) -> str:
    """Of a project's deployments, automations and flow runs: several projects may share one Prefect server."""
    return f"project:{project.root}"


def of_project(project: Project) -> AbstractContextManager[Any]:
    """What a person's command runs its flows in: they carry the project's tag from the start, as those of a deployment do."""
    from prefect import tags

    return tags(project_tag(project))


def resume_command(project: Project, run_id: str) -> str:
    return f"genmill resume {run_id} --project {project.root}"


def params_of(project: Project, run_id: str) -> Path:
    """The params.yaml that a flow run began with."""
    return _folder(project) / run_id / "params.yaml"


def records(project: Project) -> list[FlowRunRecord]:
    """Every record, the newest first; one that cannot be read is left out."""
    return sorted(_read_all(project), key=lambda record: record.began, reverse=True)


def find_record(project: Project, reference: str | None) -> FlowRunRecord:
    """The record that ``reference``, a flow run's id or its beginning, means; without one the newest that did not complete.

    Raises:
        UserError: there is none, or several begin so.
    """
    known = records(project)
    if reference is None:
        unfinished = [record for record in known if record.state in UNFINISHED]
        if not unfinished:
            raise UserError("No run of this project failed or was killed: there is nothing to resume; `genmill run` starts one.")
        return unfinished[0]
    found = [record for record in known if record.id.startswith(reference)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{reference!r} is the beginning of {len(found)} runs: give more of it.")
    listed = "\n".join(f"  {record.id}  {record.state:<9}  {record}" for record in known[:10])
    raise UserError(f"There is no flow run {reference!r} on this machine; " + (f"the newest are:\n{listed}" if known else "`genmill run` starts one."))


def remember_versions(project: Project, run_id: str, versions: dict[str, str]) -> None:
    """Note which data a flow run works with, so that going on with it uses the same."""
    for record in _read_all(project):
        if record.id == run_id:
            _write(project, record.model_copy(update={"versions": {**record.versions, **versions}}))


def close(project: Project, record: FlowRunRecord, state: State, message: str = "") -> None:
    _write(project, record.model_copy(update={"state": state, "message": message}))


def note_begin(flow: Any, flow_run: Any, _state: Any) -> None:
    """Hook of a flow that starts: keep its params and its process."""
    project = _project_of(flow_run)
    if project is None:
        return
    process = psutil.Process(os.getpid())
    resumed = _read(_folder(project) / str(flow_run.parameters.get("resumes")))
    record = FlowRunRecord(
        id=str(flow_run.id), flow=flow.name, entrypoint=f"{flow.fn.__module__}.{flow.fn.__name__}", parameters=flow_run.parameters,
        began=datetime.now(UTC), pid=process.pid, created=process.create_time(),
        deployment=str(flow_run.deployment_id or ""), versions=resumed.versions if resumed else {},
    )  # fmt: skip
    _write(project, record)
    _keep_params(project, record)
    _forget_old(project)


def note_end(flow: Any, flow_run: Any, state: Any) -> None:
    """Hook of a flow that ends in any way: close its record; where it did not complete, say how to go on."""
    project = _project_of(flow_run)
    record = _read(_folder(project) / str(flow_run.id)) if project else None
    if project is None or record is None:
        return
    kind = state.type.value.lower()
    ended: State = kind if kind in ("completed", "failed", "crashed", "cancelled") else "crashed"
    close(project, record, ended, state.message or "")
    if ended in ("failed", "crashed"):
        flow_run_logger(flow_run, flow).error("%s %s: %s Go on with: %s", record, ended, state.message or "no message", resume_command(project, record.id))


HOOKS: dict[str, Any] = {
    "on_running": [note_begin], "on_completion": [note_end], "on_failure": [note_end], "on_crashed": [note_end], "on_cancellation": [note_end],
}  # fmt: skip
"""Of every flow that a person, a schedule or a trigger starts."""


def _project_of(flow_run: Any) -> Project | None:
    """None for the run of a subflow: it ends with the one that called it."""
    if flow_run.parent_task_run_id is not None or "project" not in flow_run.parameters:
        return None
    return Project(Path(flow_run.parameters["project"]))


def _folder(project: Project) -> Path:
    return project.state / "flow_runs"


def _read_all(project: Project) -> Iterator[FlowRunRecord]:
    for folder in _folder(project).glob("*"):
        record = _read(folder)
        if record is not None:
            yield record


def _read(folder: Path) -> FlowRunRecord | None:
    try:
        return FlowRunRecord.model_validate_json((folder / "run.json").read_text())
    except (OSError, ValueError):
        return None


def _write(project: Project, record: FlowRunRecord) -> None:
    write_text(_folder(project) / record.id / "run.json", record.model_dump_json())


def _keep_params(project: Project, record: FlowRunRecord) -> None:
    """A run that goes on with another keeps the params of that one, whatever stands in params.yaml by now."""
    resumed = record.parameters.get("resumes")
    source = params_of(project, resumed) if resumed else project.params
    if source.is_file():
        shutil.copyfile(source, params_of(project, record.id))


def _forget_old(project: Project) -> None:
    for record in records(project)[KEPT:]:
        if not (record.state == "running" and record.alive):
            shutil.rmtree(_folder(project) / record.id, ignore_errors=True)
