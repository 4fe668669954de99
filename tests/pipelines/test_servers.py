"""The embedded servers: found by process, ended with their children, on ports that nobody else has."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from components.errors import UserError
from components.project import Project
from pipelines import servers
from pipelines.servers import Server


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_taken_port_is_refused_with_the_fix(project: Project) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"Port {port} is taken: set servers.prefect_port"):
            servers.start_prefect(project, port)


def test_a_chosen_port_is_kept_and_replaced_only_when_somebody_else_has_it(project: Project) -> None:
    first = servers._choose_port(project, "mlflow", None)
    assert servers._choose_port(project, "mlflow", None) == first
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert servers._choose_port(project, "mlflow", None) != first


def test_two_projects_get_two_ports(tmp_path: Path) -> None:
    one = servers._choose_port(Project(tmp_path / "one"), "mlflow", None)
    with socket.socket() as running:
        running.bind(("127.0.0.1", one))
        running.listen()
        assert servers._choose_port(Project(tmp_path / "two"), "mlflow", None) != one


def start_family(project: Project) -> Server:
    """A real process with a child of its own, recorded as the worker."""
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); time.sleep(60)"
    return servers._start(project, "worker", [sys.executable, "-c", code], "", {})


@pytest.mark.slow
def test_stopping_ends_the_process_and_its_children(project: Project) -> None:
    started = start_family(project)
    parent = psutil.Process(started.pid)
    deadline = time.monotonic() + 10
    while not parent.children() and time.monotonic() < deadline:
        time.sleep(0.05)
    child = parent.children()[0]
    assert servers.stop_servers(project) == ["worker"]
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert servers.find_server(project, "worker") is None


def test_a_recycled_pid_is_not_taken_for_the_server(project: Project) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"]) as other:
        stale = Server(name="mlflow", pid=other.pid, created=psutil.Process(other.pid).create_time() - 1000, url="http://127.0.0.1:1")
        servers._state_file(project, "mlflow").parent.mkdir(parents=True)
        servers._state_file(project, "mlflow").write_text(stale.model_dump_json())
        assert servers.find_server(project, "mlflow") is None
        servers.stop_servers(project)
        assert other.poll() is None
        other.kill()


def test_a_server_that_ends_while_starting_is_named_with_its_log(project: Project) -> None:
    started = servers._start(project, "mlflow", [sys.executable, "-c", "print('out of luck')"], "http://127.0.0.1:9", {})
    with pytest.raises(UserError, match=r"mlflow server ended while starting \(out of luck\): see .*mlflow.log"):
        servers.wait_ready(project, started, "/health")
