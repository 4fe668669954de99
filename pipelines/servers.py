"""The embedded Prefect and MLflow servers and the worker: start, find, stop. State lives in the project."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil

from components.errors import UserError
from components.params import Strict
from components.project import Project
from pipelines.processes import still_runs

START_TIMEOUT_S = 90.0
NAMES = ("prefect", "mlflow", "worker")


class Server(Strict):
    """A process that this project left running."""

    name: str
    pid: int
    created: float
    """Start time of the process; with the pid it names the process beyond doubt."""
    url: str = ""
    serves: str = ""
    """Of a process in a terminal: what it serves there."""
    started_now: bool = False

    def alive(self) -> bool:
        return still_runs(self.pid, self.created)


def find_server(project: Project, name: str) -> Server | None:
    """The running server ``name`` of this project, if any."""
    try:
        server = Server.model_validate_json(_state_file(project, name).read_text())
    except (OSError, ValueError):
        return None
    return server if server.alive() else None


def running_servers(project: Project) -> dict[str, Server]:
    """Every server of this project that runs, by name."""
    found = {name: find_server(project, name) for name in NAMES}
    return {name: server for name, server in found.items() if server is not None}


def terminal_servers(project: Project) -> list[Server]:
    """What runs in the terminals of this project's users, see `pipelines.serving`."""
    found = (find_server(project, file.stem) for file in sorted((project.state / "servers").glob("*-*.json")))
    return [server for server in found if server is not None]


def start_prefect(project: Project, port: int | None = None) -> Server:
    """Start (or find) the embedded Prefect server; does not wait for it, see `wait_ready`."""
    found = find_server(project, "prefect")
    if found:
        return found
    chosen = _choose_port(project, "prefect", port)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(chosen)]
    environment = {**os.environ, "PREFECT_HOME": str(project.state / "prefect"), "PREFECT_UI_API_URL": f"http://127.0.0.1:{chosen}/api"}
    environment.pop("PREFECT_API_URL", None)
    return _start(project, "prefect", command, f"http://127.0.0.1:{chosen}", environment)


def start_mlflow(project: Project, store_uri: str, port: int | None = None) -> Server:
    """Start (or find) the embedded MLflow server on the project's own store; does not wait for it."""
    found = find_server(project, "mlflow")
    if found:
        return found
    chosen = _choose_port(project, "mlflow", port)
    artifacts = (project.mlflow / "artifacts").as_uri()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(chosen), "--workers", "1"]
    command += ["--backend-store-uri", store_uri, "--default-artifact-root", artifacts, "--serve-artifacts", "--artifacts-destination", artifacts]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    return _start(project, "mlflow", command, f"http://127.0.0.1:{chosen}", environment)


def start_worker(project: Project, pool: str) -> Server:
    """Start (or find) the worker that runs what the schedules ask for."""
    found = find_server(project, "worker")
    if found:
        return found
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process", "--limit", "1"]
    environment = {**os.environ, "PREFECT_WORKER_QUERY_SECONDS": "2", "PREFECT_WORKER_PREFETCH_SECONDS": "1"}
    return _start(project, "worker", command, "", environment)


def wait_ready(project: Project, server: Server, path: str, say: Callable[[str], None] | None = None) -> None:
    """Return when ``server`` answers on ``path``.

    Raises:
        UserError: it ended or did not answer in time; names its log.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    log = _log_file(project, server.name)
    while not answers(server.url + path):
        if not server.alive():
            raise UserError(f"The {server.name} server ended while starting ({_last_line(log)}): see {log}, then run `genmill up`.")
        if time.monotonic() > deadline:
            raise UserError(f"The {server.name} server did not answer at {server.url} within {START_TIMEOUT_S:.0f} s: see {log}.")
        time.sleep(0.15)


def answers(url: str, timeout_s: float = 2.0) -> bool:
    """True when ``url`` answers at all with a status below 500."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:  # noqa: S310 - http URLs of our own servers
            return int(response.status) < 500
    except urllib.error.HTTPError as error:
        return error.code < 500
    except (OSError, ValueError):
        return False


def stop_servers(project: Project) -> list[str]:
    """Stop what serves models, the worker, then the servers, each with its children; returns the names of those that ran."""
    stopped = []
    for name in (*(server.name for server in terminal_servers(project)), "worker", "mlflow", "prefect"):
        server = find_server(project, name)
        if server:
            end_process_tree(server.pid)
            stopped.append(name)
        _state_file(project, name).unlink(missing_ok=True)
    return stopped


def end_process_tree(pid: int, grace_s: float = 10.0) -> None:
    """Ask the process and all that it started to end, and kill what is left after ``grace_s`` seconds."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        _signal(process.terminate)
    _, left = psutil.wait_procs(family, timeout=grace_s)
    for process in left:
        _signal(process.kill)
    psutil.wait_procs(left, timeout=5)


def _signal(send: Callable[[], None]) -> None:
    try:
        send()
    except psutil.NoSuchProcess:
        return


def _start(project: Project, name: str, command: list[str], url: str, environment: dict[str, str]) -> Server:
    log = _log_file(project, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=project.root, env=environment, start_new_session=True
        )
    server = Server(name=name, pid=process.pid, created=psutil.Process(process.pid).create_time(), url=url)
    _state_file(project, name).write_text(server.model_dump_json())
    return server.model_copy(update={"started_now": True})


def _choose_port(project: Project, name: str, wanted: int | None) -> int:
    """The port params.yaml asks for, else the one used last time, else a free one."""
    if wanted is not None:
        if not _is_free(wanted):
            raise UserError(f"Port {wanted} is taken: set servers.{name}_port in params.yaml to a free port, or remove it to have one chosen.")
        return wanted
    remembered = project.state / "servers" / f"{name}.port"
    remembered.parent.mkdir(parents=True, exist_ok=True)
    if remembered.is_file() and _is_free(int(remembered.read_text())):
        return int(remembered.read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    remembered.write_text(str(port))
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _state_file(project: Project, name: str) -> Path:
    return project.state / "servers" / f"{name}.json"


def _log_file(project: Project, name: str) -> Path:
    return project.state / "servers" / f"{name}.log"


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no output"
