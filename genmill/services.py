"""Verbs around what runs in the background: up, down, status, deploy, trigger."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from genmill.options import JsonOption, ProjectOption, complete_deployment, open_project

if TYPE_CHECKING:
    from components.project import Project
    from pipelines.catalog import Catalog


def add_to(app: typer.Typer) -> None:
    for verb in (up, down, status, deploy, trigger):
        app.command()(verb)


def require_repository(where: "Project") -> None:
    """Data versions live in git and DVC: say so before anything starts rather than after minutes of work."""
    from components import git

    git.require_repository(where.root)


def ensure_servers(where: "Project", catalog: "Catalog", say: Callable[[str], None]) -> None:
    """The Prefect server ready and PREFECT_API_URL set, the MLflow store created and its server starting."""
    from components.errors import UserError
    from components.tracking import Tracker
    from pipelines.servers import answers, start_mlflow, start_prefect, wait_ready

    named = os.environ.get("PREFECT_API_URL")
    if named and not answers(f"{named.rstrip('/')}/health"):
        raise UserError(f"The Prefect server at PREFECT_API_URL={named} does not answer: start it, or unset PREFECT_API_URL to use the embedded one.")
    prefect = None if named else start_prefect(where, catalog.ports.prefect_port)
    if prefect and prefect.started_now:
        say("Starting the embedded Prefect and MLflow servers (about 10 s, once)")
    tracker = Tracker.of(where)
    tracker.prepare()
    if tracker.uri.startswith("sqlite:"):
        start_mlflow(where, tracker.uri, catalog.ports.mlflow_port)
    if prefect:
        wait_ready(where, prefect, "/api/health")
        os.environ["PREFECT_API_URL"] = f"{prefect.url}/api"


def running_lines(where: "Project") -> list[str]:
    """What is left running, with its address, the pages that compare runs, and the command that stops it."""
    from components.report.mlflow_pages import COMPARISON
    from components.tracking import Tracker
    from pipelines.servers import running_servers

    servers = running_servers(where)
    titles = {"prefect": "Prefect UI", "mlflow": "MLflow UI", "worker": "Worker"}
    lines = [f"{titles[name]:<10} {server.url or f'process {server.pid}'}" for name, server in servers.items()]
    comparisons = Tracker.of(where).view_urls(COMPARISON, servers["mlflow"].url if "mlflow" in servers else None)
    lines += [f"{'Compare':<10} {address}   (runs on {dataset})" for dataset, address in comparisons.items()]
    if lines:
        lines.append(f"Stop       genmill down --project {where.root}")
    return lines


def up(project: ProjectOption = None) -> None:
    """Start the embedded servers and the worker that runs schedules; print their addresses.

    Example: [bold]genmill up[/]
    """
    where = open_project(project)
    from genmill.console import err, out
    from pipelines.catalog import load_catalog
    from pipelines.servers import find_server, wait_ready

    catalog = load_catalog(where)
    ensure_servers(where, catalog, err.print)
    _mend(where)
    _start_worker(where, catalog)
    mlflow = find_server(where, "mlflow")
    if mlflow:
        wait_ready(where, mlflow, "/health")
    for line in running_lines(where):
        out.print(line, soft_wrap=True)


def _start_worker(where: "Project", catalog: "Catalog") -> None:
    """The worker, and before it what the one before left: runs that were killed, and times that passed while there was none."""
    from genmill.console import err
    from pipelines import flow_runs
    from pipelines.deployments import POOL, ensure_pool, make_up_for_missed
    from pipelines.servers import find_server, start_worker
    from pipelines.sweep import describe, sweep

    dead = sweep(where)
    if find_server(where, "worker") is None:
        ensure_pool()
        told = make_up_for_missed(where, catalog, {record.deployment for record in dead if record.deployment})
        start_worker(where, POOL)
    else:
        told = []
    for record in dead:
        if record.deployment:
            flow_runs.close(where, record, "resumed", "made up for at the next start")
    for sentence in [*describe(where, [record for record in dead if not record.deployment]), *told]:
        err.print(sentence, soft_wrap=True)


def _mend(where: "Project") -> None:
    """Finish or undo a promotion that a kill interrupted, and say so; a broken ledger keeps no server from starting."""
    from components.errors import UserError
    from components.registry.moves import mend
    from components.tracking import Tracker
    from genmill.console import err

    try:
        told = mend(where, Tracker.of(where))
    except UserError as error:
        told = [str(error)]
    for sentence in told:
        err.print(sentence, soft_wrap=True)


def down(project: ProjectOption = None) -> None:
    """Stop the worker with the run that it has, and the embedded servers of this project; the next `genmill up` makes up for that run.

    Example: [bold]genmill down[/]
    """
    where = open_project(project)
    from genmill.console import err, out
    from pipelines import flow_runs
    from pipelines.servers import end_process_tree, stop_servers

    for record in flow_runs.records(where):
        if record.state != "running" or not record.alive:
            continue
        if record.deployment:  # it lives on without a worker that was killed
            end_process_tree(record.pid)
        else:
            err.print(f"{record} still runs (process {record.pid}) and fails at its next step without its server; go on with: genmill resume", soft_wrap=True)
    stopped = stop_servers(where)
    out.print(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")


def status(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """What runs, where, and whether it answers; and which runs failed, with the command that goes on.

    Example: [bold]genmill status --json[/]
    """
    where = open_project(project)
    from genmill.console import out, print_json, print_table
    from pipelines import flow_runs
    from pipelines.servers import NAMES, answers, running_servers, terminal_servers

    servers = running_servers(where)
    health = {"prefect": "/api/health", "mlflow": "/health"}
    rows = []
    for name in NAMES:
        server = servers.get(name)
        state = "stopped" if server is None else "runs" if name == "worker" or answers(server.url + health[name]) else "starting or stuck"
        rows.append({"name": name, "state": state, "address": server.url if server else "", "process": server.pid if server else None, "serves": ""})
    for server in terminal_servers(where):
        state = "runs" if answers(f"{server.url}/ping") else "starting or stuck"
        rows.append({"name": server.name, "state": state, "address": server.url, "process": server.pid, "serves": server.serves})
    if as_json:
        print_json(rows)
        return
    print_table(f"Services of {where.root}", ("name", "state", "address", "process", "serves"), [tuple(row.values()) for row in rows])
    for record in [record for record in flow_runs.records(where) if record.state in flow_runs.UNFINISHED][:3]:
        out.print(f"[red]✗[/] {record} {record.state}: {record.message}\n  Go on with: {flow_runs.resume_command(where, record.id)}", soft_wrap=True)


def deploy(
    pool: Annotated[
        str, typer.Option("--pool", help="The Prefect work pool that runs them (default: the one that the worker of `genmill up` serves).")
    ] = "genmill",
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make Prefect's deployments and automations match the schedules and triggers of params.yaml.

    Example: [bold]genmill deploy[/]
    """
    where = open_project(project)
    from genmill.console import err, print_json, print_table
    from pipelines.catalog import load_catalog
    from pipelines.servers import find_server

    catalog = load_catalog(where)
    ensure_servers(where, catalog, err.print)
    from pipelines import deployments

    done = deployments.deploy(where, catalog, pool)
    if as_json:
        print_json(done)
        return
    rows = [(name, change, *_deployed_cells(catalog, name)) for name, change in done.items()]
    print_table("Schedules and triggers", ("name", "deployment", "flow", "when", "what", "active"), rows, whole=["name"])
    if pool == deployments.POOL and find_server(where, "worker") is None:
        err.print("No worker runs here yet: start it with `genmill up`.")


def trigger(
    name: Annotated[str, typer.Argument(help="A schedule or trigger of params.yaml.", autocompletion=complete_deployment)],
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one of the schedules or triggers now; the worker of `genmill up` picks it up.

    Example: [bold]genmill trigger nightly[/]
    """
    where = open_project(project)
    from genmill.console import err, out, print_json
    from pipelines.catalog import load_catalog
    from pipelines.servers import find_server

    catalog = load_catalog(where)
    ensure_servers(where, catalog, err.print)
    from pipelines import deployments

    run_id = deployments.trigger(where, catalog, name)
    if as_json:
        print_json({"flow_run_id": str(run_id)})
        return
    out.print(f"Asked for {name}: flow run {run_id}")
    if find_server(where, "worker") is None:
        err.print("No worker runs here yet: start it with `genmill up`.")


def _deployed_cells(catalog: "Catalog", name: str) -> tuple[str, str, str, str]:
    if name in catalog.triggers:
        trigger = catalog.triggers[name]
        return ("build", f"a new version of {trigger.dataset}", ", ".join(trigger.models), str(trigger.active).lower())
    schedule = catalog.schedules.get(name)
    if schedule is None:
        return ("", "", "", "")
    what = ", ".join(schedule.models or schedule.datasets) or "default set"
    return (schedule.flow, str(schedule), what, str(schedule.active).lower())
