"""What serves in a user's terminal: its port, its entry among the project's servers, and its clean end."""

import contextlib
import errno
import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import psutil

from components.atomic import write_text
from components.errors import UserError
from components.project import Project
from pipelines.servers import Server

LOOPBACK = "127.0.0.1"
BACKLOG = 128
SCRIPT_NAME = "scoring_process.py"
"""Of those who answer on a socket that their parent, whom a user knows, has opened."""


def open_socket(host: str, port: int | None, *, first: int) -> socket.socket:
    """A socket that listens on ``port`` of ``host``; without a port on the first free one from ``first`` on.

    Who connects before anybody accepts waits: while a model is loaded, or one process takes the place of another.

    Raises:
        UserError: the port is taken, or this machine has no such address.
    """
    if port is not None:
        return _bound(host, port)
    for candidate in range(first, first + 100):
        with contextlib.suppress(_TakenError):
            return _bound(host, candidate)
    raise UserError(f"The ports {first} to {first + 99} are all taken: give a free one with --port.")


class _TakenError(UserError):
    pass


def _bound(host: str, port: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((host, port))
        opened.listen(BACKLOG)  # at once: until then another process may bind the same port
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            raise _TakenError(f"Port {port} is taken{_by_whom(port)}: give a free one with --port, or leave --port out to have one chosen.") from None
        if error.errno == errno.EACCES:
            raise UserError(f"Port {port} is not yours to open: give one above 1023 with --port.") from None
        raise UserError(f"{host} is no address of this machine ({error.strerror}): give --host {LOOPBACK}, or 0.0.0.0 for all of its addresses.") from None
    return opened


def _by_whom(port: int) -> str:
    """` by process 12 (its command)`, or nothing where that is not ours to know."""
    try:
        for found in psutil.net_connections("tcp"):
            if found.pid and found.status == psutil.CONN_LISTEN and getattr(found.laddr, "port", None) == port:
                process = psutil.Process(found.pid)
                if any(SCRIPT_NAME in word for word in process.cmdline()):
                    process = process.parent() or process
                return f" by process {process.pid} ({' '.join(process.cmdline())[:80]})"
    except psutil.Error:
        pass
    return ""


def url_of(listener: socket.socket) -> str:
    """The address for a browser on this machine."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - read, not bound
        host = LOOPBACK
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def open_to_others(listener: socket.socket) -> bool:
    """Whether another machine can reach it."""
    return not ipaddress.ip_address(listener.getsockname()[0]).is_loopback


@contextlib.contextmanager
def registered(project: Project, kind: str, listener: socket.socket) -> Iterator[Callable[[str], None]]:
    """`genmill status` shows this process and `genmill down` ends it; call what is given with what it serves, now and whenever that changes."""
    url = url_of(listener)
    name = f"{kind}-{listener.getsockname()[1]}"
    state = project.state / "servers" / f"{name}.json"
    state.parent.mkdir(parents=True, exist_ok=True)
    server = Server(name=name, pid=os.getpid(), created=psutil.Process().create_time(), url=url)

    def tell(serves: str) -> None:
        write_text(state, server.model_copy(update={"serves": serves}).model_dump_json())  # others read it meanwhile

    try:
        yield tell
    finally:
        state.unlink(missing_ok=True)


@contextlib.contextmanager
def until_stopped() -> Iterator[None]:
    """Run what is inside until Ctrl-C, SIGTERM or the end of its terminal, which are a good end."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
