"""A reference served over HTTP by MLflow's scoring server, and kept on the version that it means.

One process holds the socket and looks at the registry; another one, see `components.tracking.scoring_process`, answers on that socket with
the packaged code. A new version is loaded in a second such process while the old one answers, which ends only when the new one is ready.
"""

import json
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.code import module_file
from components.errors import UserError
from components.params import Strict
from components.project import Project
from components.registry.loading import clean_environment, package_folder
from components.registry.package import file_hashes, files_digest
from components.registry.references import is_run_id, resolve
from components.tracking import ModelVersion, Tracker

SCRIPT = "components.tracking.scoring_process"
EXAMPLE_FILE = "serving_input_example.json"
REQUEST_TIMEOUT_S = 600
"""Of a request where MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT says nothing else; MLflow's own minute is short for many pictures drawn on a CPU."""
END_S = 40.0
"""A process that is asked to end may first answer what it has in hand."""


class About(Strict):
    """What `/model` tells, besides since when."""

    reference: str
    """As it was asked for."""
    version: str
    """`MODEL/3`."""
    run_id: str
    family: str
    data: str
    """Dataset and version."""
    package_sha256: str

    @classmethod
    def of(cls, version: ModelVersion, reference: str) -> "About":
        return cls(
            reference=reference, version=version.ref, run_id=version.run_id, family=version.tag("family"),
            data=f"{version.tag('dataset')}@{version.tag('data_version')}", package_sha256=version.tag("package_sha256"),
        )  # fmt: skip


class Replica:
    """A process that answers on ``listener`` with one version; it is ready when this is made.

    Raises:
        UserError: the model cannot be loaded here.
    """

    def __init__(self, package: Path, listener: socket.socket, about: About, log: Path) -> None:
        self.about, self.package = about, package
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-P", str(module_file(SCRIPT)), str(package), str(listener.fileno()), about.model_dump_json()]
        with log.open("ab") as errors:
            # A session of its own: Ctrl-C asks the parent, which lets it finish what it has in hand.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=log.parent, pass_fds=[listener.fileno()], start_new_session=True,
                env=_environment(),
            )  # fmt: skip
        try:
            self._wait_ready(log)
        except BaseException:
            self.end()
            raise

    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        """Let it answer what it has accepted, and wait until it is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def _wait_ready(self, log: Path) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        said: dict[str, Any] = json.loads(line) if line else {"error": f"its process ended with exit code {self._process.wait()}, see {log}"}
        if "error" in said:
            raise UserError(
                f"{self.about.version} cannot be served here ({said['error']}): "
                f"install the versions in {self.package}/requirements.txt, or train the model again."
            )


class ModelServer:
    """Serves what ``ref`` means on ``listener``; ``say`` is told what happens."""

    def __init__(self, project: Project, tracker: Tracker, ref: str, listener: socket.socket, log: Path, *, follow: bool, say: Callable[[str], None]) -> None:
        """Load the version and answer.

        Raises:
            UserError: ``ref`` means nothing, or the version cannot be served here.
        """
        self._project, self._tracker, self._ref, self._listener, self._log = project, tracker, ref, listener, log
        self.follows, self._say, self._told = follow and names_no_version(ref), say, ""
        self._refused = ""
        self._replica = self._start(resolve(tracker, ref))

    @property
    def about(self) -> About:
        return self._replica.about

    def example(self) -> dict[str, Any]:
        """A request that this very version answers."""
        return example_request(self._replica.package)

    def check(self) -> None:
        """Start the process again where it ended, and move on to the version that the reference means now.

        Raises:
            UserError: it ended, and does not start again.
        """
        if not self._replica.alive():
            self._say(f"The process that served {self.about.version} ended (see {self._log}): starting it again.")
            self._replica.end()
            self._replica = Replica(self._replica.package, self._listener, self.about, self._log)
        if self.follows:
            self._follow()

    def close(self) -> None:
        self._replica.end()

    def _follow(self) -> None:
        try:
            wanted = resolve(self._tracker, self._ref)
        except Exception as error:  # noqa: BLE001 - what answers must not end because the registry has a bad moment
            self._tell_once(f"{self.about.version} goes on being served, for {self._ref} cannot be looked up: {error}")
            return
        self._told = ""
        if wanted.ref == self.about.version:
            self._refused = ""
        elif wanted.ref != self._refused:
            self._move_on(wanted)

    def _move_on(self, wanted: ModelVersion) -> None:
        try:
            replacement = self._start(wanted)
        except UserError as error:
            self._refused = wanted.ref
            self._say(f"{self._ref} moved, but {self.about.version} goes on being served: {error}")
            return
        before, self._replica = self._replica, replacement
        before.end()
        self._say(f"{self._ref} moved: {wanted.ref} is served in place of {before.about.version}.")

    def _start(self, version: ModelVersion) -> Replica:
        return Replica(checked_package(self._project, self._tracker, version), self._listener, About.of(version, self._ref), self._log)

    def _tell_once(self, sentence: str) -> None:
        if sentence != self._told:
            self._say(sentence)
        self._told = sentence


def _environment() -> dict[str, str]:
    defaults = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": str(REQUEST_TIMEOUT_S)}
    return {**defaults, **clean_environment(), "PYTHONDONTWRITEBYTECODE": "1"}


def names_no_version(ref: str) -> bool:
    """Whether ``ref`` may mean another version later: `MODEL` and `MODEL@ALIAS` do, `MODEL/3` and a run id do not."""
    return not is_run_id(ref) and "/" not in ref


def checked_package(project: Project, tracker: Tracker, version: ModelVersion) -> Path:
    """The package of ``version``, whose code is about to run.

    Raises:
        UserError: it is gone, or no longer what was registered.
    """
    folder = package_folder(project, tracker, version)
    if files_digest(file_hashes(folder)) != version.tag("package_sha256"):
        raise UserError(f"The package of {version.ref} in {folder} is not what was registered (`genmill audit {version.ref}` says what differs): restore it.")
    return folder


def example_request(package: Path) -> dict[str, Any]:
    """A small request that the model in ``package`` answered when it was packaged, as the scoring server takes it."""
    stored = json.loads((package / EXAMPLE_FILE).read_text(encoding="utf-8"))
    table = stored["dataframe_split"]
    return {"dataframe_records": [dict(zip(table["columns"], row, strict=True)) for row in table["data"]], "params": stored["params"]}


def curl_command(address: str, request: dict[str, Any]) -> str:
    """A line for a shell that sends ``request`` to the server at ``address``."""
    return f"curl -s {address}/invocations -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(request))}"
