"""Verbs that answer others: serve."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from genmill.options import ProjectOption, open_project
from genmill.registry import RefArgument

if TYPE_CHECKING:
    import socket

    from components.project import Project
    from components.registry.serving import ModelServer

HostOption = Annotated[str, typer.Option("--host", help="The address to open; any but 127.0.0.1 lets others in.")]
SERVE_PORT = 5001
LOOK_EVERY_S = 1.0


def add_to(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    ref: RefArgument,
    port: Annotated[int | None, typer.Option("--port", help=f"Default: the first free one from {SERVE_PORT} on.", min=1, max=65535)] = None,
    host: HostOption = "127.0.0.1",
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Move on to the version that MODEL or MODEL@ALIAS means, within seconds after it changed.")
    ] = True,
    project: ProjectOption = None,
) -> None:
    """Answer requests over HTTP with MLflow's scoring server until Ctrl-C; /ping says whether it answers, /model which version does.

    Example: [bold]genmill serve vae-digits@champion --port 5001[/]
    """
    where = open_project(project)
    from components.registry.serving import ModelServer
    from components.tracking import Tracker
    from genmill.console import err, out
    from pipelines.serving import open_socket, open_to_others, registered, until_stopped

    with until_stopped(), open_socket(host, port, first=SERVE_PORT) as listener, registered(where, "serve", listener) as tell:
        if open_to_others(listener):
            err.print(f"Everyone who reaches {host} can use this server: it asks for no password.", soft_wrap=True)
        err.print(f"Loading {ref} (some seconds)")
        tell(f"{ref}, still loading")
        log = where.state / "servers" / f"serve-{listener.getsockname()[1]}.log"
        server = ModelServer(where, Tracker.of(where), ref, listener, log, follow=follow, say=lambda sentence: err.print(sentence, soft_wrap=True))
        try:
            for line in _opening_lines(server, listener, where):
                print(line, flush=True)  # as it is: brackets are no styles here, and a pipe gets it at once
            _watch(server, tell)
        finally:
            server.close()
    out.print("Stopped.")


def _opening_lines(server: "ModelServer", listener: "socket.socket", where: "Project") -> list[str]:
    from components.registry.serving import curl_command
    from pipelines.serving import url_of

    about, address = server.about, url_of(listener)
    follows = f"{about.reference}: a version that it means later is served seconds after" if server.follows else "nothing: this version stays"
    return [
        f"Serves     {about.version} (data {about.data}, run {about.run_id})",
        f"Address    {address}   /invocations, /ping, /model",
        f"Follows    {follows}",
        f"Try        {curl_command(address, server.example())}",
        f"Stop       Ctrl-C, or genmill down --project {where.root}",
    ]


def _watch(server: "ModelServer", tell: "Callable[[str], None]") -> None:
    """Until stopped: what the registry says now is served, and what is served is told."""
    told = ""
    while True:
        about = server.about
        if about.version != told:
            told = about.version
            tell(f"{about.version} ({about.reference})" if server.follows else about.version)
        time.sleep(LOOK_EVERY_S)
        server.check()
