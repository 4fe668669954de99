"""The verb that goes on with a run that failed or was killed."""

import shlex
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components.errors import UserError
from genmill.options import JsonOption, ProjectOption, open_project

if TYPE_CHECKING:
    from components.project import Project
    from pipelines.flow_runs import FlowRunRecord

RunArgument = Annotated[
    str | None, typer.Argument(help="A flow run's id or its beginning, or an MLflow run's id (default: the newest run that did not complete).")
]


def add_to(app: typer.Typer) -> None:
    app.command()(resume)


def resume(run: RunArgument = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Go on with a run that failed or was killed, by the params and data versions that it began with; what was finished is reused.

    Example: [bold]genmill resume[/]
    """
    where = open_project(project)
    from genmill.console import LiveListener
    from genmill.services import ensure_servers, require_repository
    from pipelines.catalog import load_catalog

    require_repository(where)
    record = _wanted(where, run)
    with LiveListener() as listener:
        ensure_servers(where, load_catalog(where), listener.say)
        from pipelines import flow_runs
        from pipelines.console import listening
        from pipelines.flow_runs import of_project
        from pipelines.outcomes import RunInterrupted

        try:
            with listening(listener), of_project(where):
                listener.say(f"Going on with {record}")
                result = _go_on(record)
        except KeyboardInterrupt:
            again = shlex.join(["genmill", *sys.argv[1:]])
            raise RunInterrupted("Interrupted; what was finished, and the last checkpoint, are kept.", resume=again) from None
    if not (record.flow == "build" and any(outcome.status == "failed" for outcome in result)):
        flow_runs.close(where, record, "resumed", "another run went on with it")
    _show(where, record, result, as_json)


def _wanted(where: "Project", reference: str | None) -> "FlowRunRecord":
    from pipelines.flow_runs import find_record

    record = find_record(where, _flow_run_of(where, reference) if reference else None)
    if record.state == "running" and record.alive:
        raise UserError(f"{record} still runs (process {record.pid}): wait for it, or stop it first.")
    if record.state in ("completed", "resumed"):
        happened = "completed" if record.state == "completed" else "was resumed already"
        raise UserError(f"{record} {happened}: there is nothing to go on with; `genmill run` starts anew.")
    return record


def _flow_run_of(where: "Project", reference: str) -> str:
    """The flow run of an MLflow run; anything else is taken for a flow run's id."""
    from components.registry.references import is_run_id
    from components.tracking import Tracker

    return Tracker.of(where).get_run(reference).tag("flow_run_id") if is_run_id(reference) else reference


def _go_on(record: "FlowRunRecord") -> Any:
    from pipelines.outcomes import BuildFailed

    module, _, name = record.entrypoint.rpartition(".")
    flow = getattr(import_module(module), name)
    # The other flows take up what is there by themselves: a stage or a sample that is finished is not made again.
    resumes = {"resumes": record.id} if record.flow == "build" else {}
    try:
        return flow(**{**record.parameters, **resumes})
    except BuildFailed as failed:
        return failed.outcomes


def _show(where: "Project", record: "FlowRunRecord", result: Any, as_json: bool) -> None:
    from genmill.console import out, print_json
    from genmill.run import show_outcomes

    if record.flow == "build":
        show_outcomes(where, result, as_json)
    elif as_json:
        print_json(result)
    else:
        out.print(f"{record} is finished.", soft_wrap=True)
