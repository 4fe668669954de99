"""The only file that talks to DVC: the repository's set-up, one stage at a time, push, and what the remote holds."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.code import PACKAGE_ROOT
from components.data.credentials import hide
from components.data.failure import disk_full
from components.data.remote_failure import explain
from components.data.stamp import STAGES
from components.data.store import Store
from components.errors import UserError
from components.project import Project

if TYPE_CHECKING:
    from dvc.repo import Repo

TEMPLATES = Path(__file__).parent / "templates"
REMOTE = ".dvc-remote"
QUIET = "GENMILL_QUIET"
"""Set for stages that a flow starts: it reads their outcome and says it itself."""
_CONFIG = f"""\
[core]
    analytics = false
    check_update = false
    remote = local
[cache]
    type = "reflink,copy"
['remote "local"']
    url = ../{REMOTE}
    verify = true
"""
_IGNORED = f"""\
# Where DVC need not look for stages and data.
/.venv
/.genmill
/{REMOTE}
/mlflow
/reports
/build
/components
/genmill
/pipelines
/tests
/docs
/benchmarks
/infra
"""
_SETUP = {
    ".dvc/config": _CONFIG,
    ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
    ".dvcignore": _IGNORED,
}


def ensure_repo(project: Project) -> list[Path]:
    """Write what `dvc init` would, a local remote and dvc.yaml, where they are missing; the files written.

    The remote lies inside the project and its path is relative, so a moved project still finds it. Links to the cache are
    copies or reflinks, never hard links: a stage that writes into its output must not change the cache.
    """
    wanted = {**_SETUP, "dvc.yaml": (TEMPLATES / "dvc.yaml").read_text(encoding="utf-8")}
    written: list[Path] = []
    for name, text in wanted.items():
        path = project.root / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


def reproduce(project: Project, target: str, say: Callable[[str], None] | None = None) -> bool:
    """Bring the one stage ``target`` up to date; True when it ran.

    Raises:
        StageError: the stage's process ended with an error.
        UserError: dvc.yaml or dvc.lock is damaged, or DVC is not set up here.
    """
    # An absolute target, because DVC looks for a bare one in the current folder.
    where = f"{project.root / 'dvc.yaml'}:{target}"
    with _repo(project) as repo:
        return bool(_when_free(lambda: repo.reproduce(where, single_item=True, run_env=_stage_environment()), say))


def push(project: Project, name: str) -> int:
    """Send the outputs of dataset ``name`` to the remote; the number of objects sent.

    Raises:
        UserError: the remote cannot be reached or written.
    """
    targets = [f"{project.root / 'dvc.yaml'}:{stage}@{name}" for stage in STAGES]
    with _repo(project) as repo, _remote_errors(project, sending=True):
        return int(_when_free(lambda: repo.push(targets=targets)))


@contextmanager
def stores(project: Project) -> Iterator[tuple[Store, Store]]:
    """The default remote and the local cache.

    Raises:
        UserError: there is no remote, or it fails while the block works with it.
    """
    from dvc.config import NoRemoteError, RemoteConfigError

    with _repo(project) as repo, _remote_errors(project):
        try:
            remote = repo.cloud.get_remote_odb()
        except (NoRemoteError, RemoteConfigError) as error:
            raise UserError(f"DVC has no usable remote in {project.root} ({hide(project, str(error))}): run `dvc remote add -d NAME URL`.") from None
        yield Store(remote, hide(project, f"the remote {_address(remote)}")), Store(repo.cache.local, "the local cache")


def forget_sent(project: Project) -> None:
    """Have DVC look anew what the remote holds: it remembers what it has sent, and would not send again what was deleted there."""
    with _repo(project) as repo, _remote_errors(project):
        remote = repo.cloud.get_remote()
        if remote.index is not None:
            remote.index.clear()


def _address(odb: Any) -> str:
    return str(odb.path if odb.fs.protocol == "local" else odb.fs.unstrip_protocol(odb.path))


class StageError(Exception):
    """A stage's process ended with an error; what it was is in its own message."""


@contextmanager
def _repo(project: Project) -> "Iterator[Repo]":
    """The project's DVC repository, quiet, with its scratch files inside the project."""
    import logging

    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo

    for name in ("dvc", "dvc_objects", "dvc_data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with Repo(str(project.root), config={"core": {"site_cache_dir": str(project.state / "dvc")}}) as repo:
            yield repo
    except NotDvcRepoError:
        raise UserError(f"{project.root} is not set up for DVC: run `genmill init {project.root}`, which leaves what is there alone.") from None
    except (DvcException, OSError) as error:
        raise disk_full(project, error) or _explained(project, error) from error


@contextmanager
def _remote_errors(project: Project, *, sending: bool = False) -> Iterator[None]:
    """What the remote's own library raises, as one sentence without credentials; a full disk here is left to be named as that.

    A missing object is an answer, not a failure of the remote, unless something is being sent.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (isinstance(error, FileNotFoundError) and not sending) or disk_full(project, error):
            raise
        sentence = explain(error)
        if sentence is None:
            raise
        raise UserError(hide(project, sentence)) from None


def _explained(project: Project, error: Exception) -> Exception:
    """What a user can do about an error of DVC's; anything else as it is."""
    from dvc.exceptions import DvcException, ReproductionError
    from dvc.scm import SCMError
    from dvc.stage.exceptions import StageCmdFailedError

    if isinstance(error, ReproductionError) and isinstance(error.__cause__, StageCmdFailedError):
        return StageError(str(error.__cause__))
    if isinstance(error, SCMError):
        return UserError(f"{project.root} is no git repository: run `git init {project.root}`.")
    if not isinstance(error, DvcException):
        return error
    cause = f": {error.__cause__}" if error.__cause__ else ""
    return UserError(f"DVC cannot go on in {project.root} ({error}{cause}): mend dvc.yaml or dvc.lock, or run `dvc status` there to see more.")


def _when_free(action: Callable[[], Any], say: Callable[[str], None] | None = None) -> Any:
    """``action()``, again and again while another DVC command (run by hand) holds DVC's own lock."""
    from dvc.lock import LockError

    told = False
    while True:
        try:
            return action()
        except LockError as error:
            if not told:
                (say or _say)(f"Waiting for another DVC command in this project to finish ({str(error).splitlines()[0]}).")
            told = True
            time.sleep(0.5)


def _stage_environment() -> dict[str, str]:
    """So that `python` and `components` are ours in a stage's process, whatever comes first on PATH and wherever the project lies."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    python_path = os.pathsep.join(part for part in [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")] if part)
    return {"PATH": path, "PYTHONPATH": python_path, QUIET: "1"}


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
