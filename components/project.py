"""A project: the folder that holds params.yaml, dvc.yaml and every byte of local state."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from components.errors import UserError


@dataclass(frozen=True)
class Project:
    """The folders of one project. Two projects on one machine share nothing."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> "Project":
        """The nearest project at or above ``start`` (default: the current folder)."""
        here = (start or Path.cwd()).resolve()
        if not here.is_dir():
            raise UserError(f"There is no folder {here}: give --project an existing folder, or run `genmill init {here}`.")
        for folder in (here, *here.parents):
            if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
                return cls(folder)
        raise UserError(f"No project at or above {here}: run `genmill init {here}` to make one, or give --project DIR.")

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def data(self) -> Path:
        """What DVC versions: raw/, clean/, augmented/, validation/ and probe/, one folder per dataset in each."""
        return self.root / "data"

    @property
    def state(self) -> Path:
        """Local state that may be deleted while nothing runs: servers, locks, runs in progress, caches."""
        return self.root / ".genmill"

    @property
    def runs(self) -> Path:
        return self.state / "runs"

    @property
    def cache(self) -> Path:
        """Derived files keyed by content: tokenizers, feature extractors, reference features."""
        return self.state / "cache"

    @property
    def mlflow(self) -> Path:
        return self.root / "mlflow"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @contextlib.contextmanager
    def lock(self, name: str, purpose: str, say: Callable[[str], None] | None = None) -> Iterator[None]:
        """Hold the project's lock ``name``; whoever comes second waits and says for whom.

        The lock is the kernel's (fcntl), so a killed holder frees it. Re-entrant within one process tree through
        the environment: a child of the holder does not wait for its own parent.
        """
        from filelock import FileLock, Timeout

        marker = f"GENMILL_LOCK_{name.upper()}"
        if os.environ.get(marker) == str(self.root):
            yield
            return
        folder = self.state / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        lock, holder = FileLock(folder / f"{name}.lock"), folder / f"{name}.json"
        try:
            lock.acquire(timeout=0)
        except Timeout:
            (say or _say)(f"Waiting for {_describe_holder(holder)} to finish (lock '{name}' of {self.root}).")
            lock.acquire(poll_interval=0.2)
        os.environ[marker] = str(self.root)
        try:
            holder.write_text(json.dumps({"pid": os.getpid(), "purpose": purpose, "since": time.strftime("%H:%M:%S")}))
            yield
        finally:
            os.environ.pop(marker, None)
            holder.unlink(missing_ok=True)
            lock.release()


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _describe_holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
    except (OSError, ValueError):
        return "another process"
    return f"`{holder['purpose']}` (process {holder['pid']}, since {holder['since']})"
