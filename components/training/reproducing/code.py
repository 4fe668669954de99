"""Brings back the code that a run was trained with, in a folder of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from components import git
from components.code import PACKAGE_ROOT
from components.params import Strict
from components.project import Project
from components.registry.audit.code import holds_code
from components.tracking import RunRecord

_DIGEST = "import sys; from components.training.identity import code_of; print(code_of(*sys.argv[1:]))"


class RestoredCode(Strict):
    """The code that a reproduction runs."""

    origin: str
    """Where it is from, in half a sentence."""
    sha256: str
    """Its digest as `code_of` has it; empty where code as old as this cannot say."""
    recorded_sha256: str
    """The digest that the run recorded."""

    @property
    def is_the_same(self) -> bool:
        return bool(self.sha256) and self.sha256 == self.recorded_sha256


def restore_code(project: Project, run: RunRecord, package: Path, batches: str, to: Path) -> RestoredCode:
    """Lay the code of ``run`` into the folder ``to``, anew where there is one: the files of its commit where the project's repository holds Genmill's
    code, else the code at hand where that is the same, and the packaged code over either where it is not."""
    part = to.with_name(f"{to.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    origin = _of_commit(project, run, package, part) or _of_here(run, package, batches, part)
    restored = RestoredCode(origin=origin, sha256=digest_of(part, run.tag("family"), batches), recorded_sha256=run.tag("code_sha256"))
    # One that was killed before it said so in its state left a whole folder here.
    shutil.rmtree(to, ignore_errors=True)
    part.replace(to)
    return restored


def digest_of(code: Path, family: str, batches: str) -> str:
    """The digest of the code in the folder ``code`` that trains ``family``, computed by itself; empty where it cannot."""
    environment = {**os.environ, "PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", _DIGEST, family, batches]
    done = subprocess.run(command, cwd=code, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _of_commit(project: Project, run: RunRecord, package: Path, to: Path) -> str | None:
    commit = run.tag("git_commit")
    if not commit or git.resolve(project.root, commit) != commit or not holds_code(project, commit):
        return None
    git.export_tree(project.root, commit, to)
    if run.tag("dirty").lower() != "true":
        return f"the files of commit {commit[:12]}"
    _lay_over(package, to)
    return f"the files of commit {commit[:12]} and the packaged code over them, for the run was made with files that were not committed"


def _of_here(run: RunRecord, package: Path, batches: str, to: Path) -> str:
    shutil.copytree(PACKAGE_ROOT / "components", to / "components", ignore=shutil.ignore_patterns("__pycache__"))
    if digest_of(to, run.tag("family"), batches) == run.tag("code_sha256"):
        return "the code at hand"
    _lay_over(package, to)
    return "the packaged code over the code at hand, which is another version"


def _lay_over(package: Path, to: Path) -> None:
    """What the model needs, as it was packaged with it."""
    shutil.copytree(package / "code", to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
