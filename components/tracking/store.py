"""Where a store is, how it is opened, and what its failures mean to the user."""

import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from components.errors import UserError
from components.project import Project

LOCK_ATTEMPTS = 2
"""MLflow's SQLite store itself waits 20 s for a lock before it gives up."""


def embedded_uri(project: Project) -> str:
    """The address of the project's own store."""
    folder = str(project.mlflow.resolve())
    if any(sign in folder for sign in "%?#"):
        raise UserError(f"The address of a SQLite store cannot carry the characters %, ? and # of {folder}: move the project to a path without them.")
    return f"sqlite:///{folder}/mlflow.db"


def default_artifacts(uri: str) -> Path | None:
    """Where a store without a server keeps artifacts: beside its database."""
    return Path(uri.removeprefix("sqlite:///")).parent / "artifacts" if uri.startswith("sqlite:///") else None


class GuardedClient:
    """An MlflowClient whose errors are told to the user, and that tries again where a second try can help."""

    def __init__(self, client: Any, uri: str) -> None:
        self._inner, self._uri = client, uri

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return _guarded(lambda: method(*args, **kwargs), self._uri)

        return call


def _guarded(action: Callable[[], Any], uri: str) -> Any:
    for attempt in range(LOCK_ATTEMPTS):
        try:
            return action()
        except Exception as error:  # noqa: BLE001 - raised again below, as a UserError or as it is
            if "database is locked" in str(error) and attempt + 1 < LOCK_ATTEMPTS:
                time.sleep(1)
                continue
            _tell(error, uri)
    raise AssertionError("unreachable")


def connect(uri: str) -> GuardedClient:
    """An MlflowClient of ``uri``; the environment is set before MLflow is imported, since it reads it then."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
    }.items():
        os.environ.setdefault(name, value)
    if uri.startswith("http"):
        _probe_server(uri)
    from mlflow import MlflowClient

    # Its errors are raised as well, so that its log would only print each one twice, as a traceback.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    database = default_artifacts(uri)
    if database is not None:
        _make_folder(database.parent)
    return GuardedClient(_guarded(lambda: MlflowClient(tracking_uri=uri, registry_uri=uri), uri), uri)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The MLflow store cannot be made in {folder} ({error.strerror}): make the folder writable or set MLFLOW_TRACKING_URI.") from None


def _probe_server(uri: str) -> None:
    """Fail within seconds when nobody answers; MLflow itself would try for minutes."""
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=5).close()  # noqa: S310 - an http address, the caller saw to it
    except urllib.error.HTTPError as error:
        error.close()
    except (urllib.error.URLError, OSError):
        raise UserError(_server_down(uri)) from None


def _server_down(uri: str) -> str:
    return f"The MLflow server at {uri} does not answer: start it (`genmill up` starts the embedded one) or unset MLFLOW_TRACKING_URI."


def _tell(error: Exception, uri: str) -> NoReturn:
    """Raise ``error`` as a UserError where the store's state is to blame, else as it is."""
    text = str(error)
    known = {
        "database is locked": f"The MLflow store {uri} stays locked by another process: wait until that is done or stop it, then run again.",
        "out-of-date database schema": f"The MLflow store {uri} was written by an older MLflow: back it up, then run `mlflow db upgrade {uri}`.",
        "Can't locate revision": f"The MLflow store {uri} was written by a newer MLflow: install that version, or move the file away to begin a new store.",
        "file is not a database": f"The MLflow store {uri} is no SQLite database: move that file away to begin a new store.",
        "unable to open database file": f"The MLflow store {uri} cannot be opened: check that its folder exists and is writable.",
        "readonly database": f"The MLflow store {uri} is read-only: make the file and its folder writable.",
        "disk is full": f"The disk that holds the MLflow store {uri} is full: free some space, then run again.",
        "Invalid Host header": f"The MLflow server at {uri} refuses this host name: start it with `--allowed-hosts` naming the host.",
        "Max retries exceeded": _server_down(uri),
        "Connection refused": _server_down(uri),
    }
    for sign, message in known.items():
        if sign in text:
            raise UserError(message) from error
    raise error


def absolute_uri(uri: str) -> str:
    """``uri`` without a path that depends on the current folder."""
    if uri.startswith("sqlite:///"):
        return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).resolve()}"
    if "://" not in uri or uri.startswith("file:"):
        raise UserError(f"MLFLOW_TRACKING_URI={uri} is a folder, which MLflow no longer takes: give sqlite:////absolute/path/mlflow.db or http://HOST:PORT.")
    return uri
