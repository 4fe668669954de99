"""Opens a package for use: in this process when its code is the code at hand, else in a child with the packaged code."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from components.cache import mark_used
from components.code import code_digest, module_file
from components.errors import UserError
from components.models.capabilities import DataSpec
from components.project import Project
from components.registry import wire
from components.registry.continuing import OnText
from components.registry.runtime import PackageSpec, Runtime, read_spec
from components.tracking import ModelVersion, Tracker


class LoadedModel:
    """A package that answers requests. Close it (or use `with`): a child process may stand behind it."""

    def __init__(self, spec: PackageSpec, backend: "Runtime | Child") -> None:
        self.spec, self._backend = spec, backend

    @property
    def model(self) -> Any | None:
        """The LightningModule itself; None where the package runs in a child."""
        return self._backend.model if isinstance(self._backend, Runtime) else None

    @property
    def data_spec(self) -> DataSpec:
        return DataSpec.from_dict(self.spec.data_spec)

    def predict(
        self, rows: Sequence[Mapping[str, Any]], params: Mapping[str, Any] | None = None, on_text: OnText | None = None, steer: Any = None
    ) -> wire.Rows:
        """Answer one request in the wire format; raises BadRequestError as `wire.parse_request` does.

        ``on_text`` gets the pieces of the first text while it grows; a package of older code may tell nothing. ``steer`` moves what is drawn
        from text, and only a model of the code at hand takes it.
        """
        if steer is None:
            return self._backend.predict(rows, params, on_text)
        if isinstance(self._backend, Child):
            raise UserError(f"{self.spec.model} was packaged by another version of Genmill, and such a model cannot be steered: train it again.")
        return self._backend.predict(rows, params, on_text, steer)

    def close(self) -> None:
        if isinstance(self._backend, Child):
            self._backend.close()

    def __enter__(self) -> "LoadedModel":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def load_package(folder: Path) -> LoadedModel:
    """Open the package in ``folder``.

    Raises:
        UserError: the folder is no package, or its code does not start on this machine.
    """
    artifacts = folder / "artifacts"
    if not (artifacts / "spec.json").is_file():
        raise UserError(f"{folder} is no packaged model: it has no artifacts/spec.json.")
    spec = read_spec(artifacts)
    return LoadedModel(spec, Runtime.open(artifacts) if is_same_code(spec) else Child(folder))


def package_folder(project: Project, tracker: Tracker, version: ModelVersion) -> Path:
    """The package where it lies on this machine, else a copy in the project's cache.

    Raises:
        UserError: it is gone from the place that the version names.
    """
    local = tracker.local_path(version.source)
    if local is not None:
        return local
    cached = project.cache / "packages" / version.tag("package_sha256")
    if not cached.is_dir():
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as scratch:
            found = tracker.download(version.source, Path(scratch) / "package")
            # What is gone comes as an empty folder, and one in the cache would hide the package when it is back.
            if not (found / "artifacts/spec.json").is_file():
                raise UserError(f"The package of {version.ref} is gone from {version.source}: restore that folder, or train the model again.")
            found.rename(cached)
    mark_used(cached)
    return cached


def is_same_code(spec: PackageSpec) -> bool:
    """Whether the package was made with the code that runs here."""
    return all(module_file(module).is_file() for module in spec.modules) and code_digest(*spec.modules) == spec.code_sha256


class Child:
    """A package in a process of its own, see `components.registry.child`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._errors = tempfile.TemporaryFile(mode="w+", encoding="utf-8")  # noqa: SIM115 - closed with the child
        self._process = subprocess.Popen(
            [sys.executable, "-m", "components.registry.child", str(self._folder / "artifacts")],
            cwd=self._folder / "code",
            env={**clean_environment(), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
        )
        self._read()

    def predict(self, rows: Sequence[Mapping[str, Any]], params: Mapping[str, Any] | None = None, on_text: OnText | None = None) -> wire.Rows:
        assert self._process.stdin is not None
        try:
            request = {"rows": list(rows), "params": dict(params or {}), "streams": on_text is not None}
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._dead() from None
        answer = self._read()
        while "piece" in answer:
            assert on_text is not None, "pieces come only where they were asked for"
            on_text(answer["piece"])
            answer = self._read()
        if "error" in answer:
            raise wire.BadRequestError(answer["error"])
        rows_out: wire.Rows = answer["rows"]
        return rows_out

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._dead()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _dead(self) -> UserError:
        self._process.wait()
        self._errors.seek(0)
        last = (self._errors.read().strip().splitlines() or [f"exit code {self._process.returncode}"])[-1]
        self.close()
        return UserError(f"The packaged code of {self._folder} does not run here ({last}): install the versions in its requirements.txt.")


def clean_environment() -> dict[str, str]:
    """The environment without what would put other code before the packaged one."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
