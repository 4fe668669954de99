"""One packaged model behind MLflow's scoring server, in a process of its own, on a socket that it is handed.

`python -P scoring_process.py PACKAGE SOCKET ABOUT`: the package's folder, the number of a listening socket, and a JSON object with the key `version`.
It is started as a file and imports nothing of Genmill, so that the code inside the package is the only `components` that it knows. Its one
line out is `{"ready": true}` when it answers, or `{"error": "..."}` when the model cannot be loaded. `/model` tells what ABOUT says, and every
answer names the version in the header `X-Genmill-Model`. It ends on SIGTERM and with its input, after it has answered what it accepted.
"""

import asyncio
import datetime
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from typing import IO, Any

import uvicorn
from fastapi import FastAPI, Request, Response

HEADER = "X-Genmill-Model"
DRAIN_S = 0.3
"""Between the last connection that is accepted and the first that is closed, so that each has sent its request."""
GRACE_S = 30
"""For requests in hand when the process is asked to end."""


class Draining(uvicorn.Server):
    """Says when it answers, and answers what it accepted before it ends: another process goes on with the same socket."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await asyncio.sleep(DRAIN_S)
        await super().shutdown(sockets)


def main() -> None:
    package, number, about = sys.argv[1:]
    # What a library prints must not get into the one line that the parent reads.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        threading.Thread(target=_end_with_input, daemon=True).start()
        try:
            app = scoring_app(package, json.loads(about))
        except Exception as error:  # noqa: BLE001 - the package's own code: whatever it raises is told in a sentence
            traceback.print_exc()
            _put(out, {"error": _root(error)})
            sys.exit(1)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE_S)
        Draining(config, lambda: _put(out, {"ready": True})).run(sockets=[socket.socket(fileno=int(number))])


def scoring_app(package: str, about: dict[str, Any]) -> FastAPI:
    """MLflow's scoring server with the model loaded, and what tells its version."""
    from mlflow.pyfunc import load_model, scoring_server

    app: FastAPI = scoring_server.init(load_model(package))
    told = {**about, "since": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}

    @app.get("/model")
    async def model() -> dict[str, Any]:
        return told

    @app.middleware("http")
    async def name_version(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers[HEADER] = about["version"]
        return response

    return app


def _root(error: BaseException) -> str:
    """What is behind ``error``, in a line; MLflow wraps what a package's code raises."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(f"{type(error).__name__}: {error}".split())


def _end_with_input() -> None:
    """A parent that was killed leaves nobody serving behind it."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _put(out: IO[str], line: dict[str, Any]) -> None:
    print(json.dumps(line), file=out, flush=True)


if __name__ == "__main__":
    main()
