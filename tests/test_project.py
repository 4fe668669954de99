"""Projects, their locks, and the digest of code."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from components import code
from components.errors import UserError
from components.project import Project

HOLD = """
import sys, time
from pathlib import Path
from components.project import Project
with Project(Path(sys.argv[1])).lock("build", "the first run"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def make_project(folder: Path) -> Project:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("params.yaml", "dvc.yaml"):
        (folder / name).write_text("")
    return Project(folder)


def test_the_nearest_project_upwards_is_found(tmp_path: Path) -> None:
    project = make_project(tmp_path / "outer")
    below = project.root / "a" / "b"
    below.mkdir(parents=True)
    assert Project.find(below) == project


def test_a_folder_outside_any_project_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="genmill init"):
        Project.find(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder .*missing"):
        Project.find(tmp_path / "missing")


def hold_lock(project: Project, seconds: float) -> subprocess.Popen[str]:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(project.root), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_the_second_of_two_runs_waits_and_says_for_whom(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    said: list[str] = []
    with hold_lock(project, 1.0) as holder:
        start = time.monotonic()
        with project.lock("build", "the second run", said.append):
            waited = time.monotonic() - start
        assert holder.wait(5) == 0
    assert waited > 0.5
    assert "`the first run`" in said[0]
    assert str(holder.pid) in said[0]


def test_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    with hold_lock(project, 60) as holder:
        threading.Timer(0.3, holder.kill).start()
        with project.lock("build", "the second run", lambda _: None):
            holder.wait(5)
            assert holder.returncode == -9


def test_two_projects_do_not_wait_for_each_other(tmp_path: Path) -> None:
    first, second = make_project(tmp_path / "one"), make_project(tmp_path / "two")
    with hold_lock(first, 30) as holder:
        said: list[str] = []
        with second.lock("build", "the other project", said.append):
            assert not said
        holder.kill()


def test_a_comment_or_docstring_does_not_change_the_code_digest(tmp_path: Path) -> None:
    digests = [code._normalised(write(tmp_path / f"{i}.py", text)) for i, text in enumerate(VARIANTS)]
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


VARIANTS = (
    'def f(x):\n    """Doc."""\n    return x + 1\n',
    "def f(x):\n    # why\n    return x + 1\n",
    "def f(x):\n    return x + 2\n",
)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_import_closure_stays_inside_components_and_follows_local_imports() -> None:
    closure = code.import_closure("components.training.spec")
    assert "components.params" in closure
    assert all(module.startswith("components") for module in closure)
