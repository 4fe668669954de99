"""What serves in a terminal: its port, and its entry among the project's servers."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from components.errors import UserError
from components.project import Project
from pipelines import servers
from pipelines.servers import running_servers, stop_servers, terminal_servers
from pipelines.serving import open_socket, open_to_others, registered, until_stopped, url_of


def test_a_taken_port_is_refused_with_who_has_it_and_the_fix() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"Port {port} is taken by process {os.getpid()} \(.*\): give a free one with --port"):
            open_socket("127.0.0.1", port, first=5001)


def test_without_a_port_the_first_free_one_is_opened() -> None:
    with open_socket("127.0.0.1", None, first=47_000) as one:
        assert one.getsockname()[1] >= 47_000
        with open_socket("127.0.0.1", None, first=one.getsockname()[1]) as third:
            assert third.getsockname()[1] > one.getsockname()[1]


def test_an_address_of_another_machine_is_refused_with_the_fix() -> None:
    with pytest.raises(UserError, match=r"192\.0\.2\.1 is no address of this machine .* give --host 127\.0\.0\.1"):
        open_socket("192.0.2.1", 0, first=5001)


@pytest.mark.parametrize(("host", "others"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_only_loopback_is_closed_to_others(host: str, others: bool) -> None:
    with open_socket(host, 0, first=5001) as listener:
        assert open_to_others(listener) is others
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_what_serves_is_among_the_projects_servers_until_it_ends(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with open_socket("127.0.0.1", 0, first=5001) as one, open_socket("127.0.0.1", 0, first=5001) as other:
        with registered(project, "serve", one) as tell, registered(project, "serve", other) as tell_other:
            tell("vae-digits/1")
            tell_other("gan-digits/2")
            tell("vae-digits/2")
            found = {server.url: server.serves for server in terminal_servers(project)}
            assert found == {url_of(one): "vae-digits/2", url_of(other): "gan-digits/2"}
            assert not running_servers(project)
        assert not terminal_servers(project)


def test_what_serves_is_ended_with_the_other_servers(tmp_path: Path) -> None:
    project = Project(tmp_path)
    started = servers._start(project, "serve-5001", [sys.executable, "-c", "import time; time.sleep(60)"], "http://127.0.0.1:5001", {})
    assert [server.name for server in terminal_servers(project)] == ["serve-5001"]
    assert stop_servers(project) == ["serve-5001"]
    assert not started.alive()
    assert not terminal_servers(project)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_being_asked_to_end_is_a_good_end(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with until_stopped():
        os.kill(os.getpid(), number)
        raise AssertionError("the signal did not arrive")
    assert signal.getsignal(number) is before
