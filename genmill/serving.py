"""Verbs that answer others: serve, playground."""

import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.errors import UserError
from genmill.options import ProjectOption, open_project
from genmill.registry import RefArgument

if TYPE_CHECKING:
    import socket

    from components.project import Project
    from components.registry.playing import Playground
    from components.registry.serving import ModelServer

HostOption = Annotated[str, typer.Option("--host", help="The address to open; any but 127.0.0.1 lets others in.")]
SERVE_PORT = 5001
PLAYGROUND_PORT = 7860
LOOK_EVERY_S = 1.0


def add_to(app: typer.Typer) -> None:
    for verb in (serve, playground):
        app.command()(verb)


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
    from pipelines.serving import open_socket, registered, until_stopped

    with until_stopped(), open_socket(host, port, first=SERVE_PORT) as listener, registered(where, "serve", listener) as tell:
        _warn_of_others(listener)
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


def playground(
    port: Annotated[int | None, typer.Option("--port", help=f"Default: the first free one from {PLAYGROUND_PORT} on.", min=1, max=65535)] = None,
    host: HostOption = "127.0.0.1",
    project: ProjectOption = None,
) -> None:
    """A page to try the registered models on, champion and candidate side by side, until Ctrl-C.

    Example: [bold]genmill playground[/]
    """
    if importlib.util.find_spec("gradio") is None:
        raise UserError("The playground needs Gradio: in the clone run `pip install --constraint requirements.lock --editable '.[playground]'`.")
    where = open_project(project)
    from components.registry.playing import Playground
    from components.tracking import Tracker
    from genmill.console import err, out
    from pipelines.serving import open_socket, registered, until_stopped

    with until_stopped(), open_socket(host, port, first=PLAYGROUND_PORT) as listener, registered(where, "playground", listener) as tell:
        _warn_of_others(listener)
        err.print("Starting the playground (some seconds)")
        tell("the playground")
        tracker = Tracker.of(where)
        tracker.prepare()
        models = Playground(where, tracker)
        try:
            _run_page(models, listener, where)
        finally:
            models.close()
    out.print("Stopped.")


def _run_page(models: "Playground", listener: "socket.socket", where: "Project") -> None:
    import uvicorn

    from components.report.playground import playground_app
    from pipelines.serving import url_of

    with tempfile.TemporaryDirectory(prefix="genmill-playground-") as scratch:
        app = playground_app(models, Path(scratch))
        print(f"Page       {url_of(listener)}\nStop       Ctrl-C, or genmill down --project {where.root}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)).run(sockets=[listener])


def _warn_of_others(listener: "socket.socket") -> None:
    from genmill.console import err
    from pipelines.serving import open_to_others

    if open_to_others(listener):
        err.print(f"Everyone who reaches {listener.getsockname()[0]} can use this: it asks for no password.", soft_wrap=True)


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
