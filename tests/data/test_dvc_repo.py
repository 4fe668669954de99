"""The set-up of DVC: the same in the clone and in a new project, and by hand it just works."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.data.dvc_repo import ensure_repo
from components.data.lockfile import locked_outputs, merged_lock
from components.project import Project

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_new_project_is_set_up_like_this_repository(tmp_path: Path) -> None:
    written = ensure_repo(Project(tmp_path))
    assert {path.relative_to(tmp_path).as_posix() for path in written} == {".dvc/config", ".dvc/.gitignore", ".dvcignore", "dvc.yaml"}
    for path in written:
        assert path.read_text() == (REPOSITORY / path.relative_to(tmp_path)).read_text(), path


def test_what_a_user_has_changed_is_left_alone(tmp_path: Path) -> None:
    ensure_repo(Project(tmp_path))
    (tmp_path / ".dvc" / "config").write_text("[core]\n    remote = mine\n")
    assert ensure_repo(Project(tmp_path)) == []
    assert "mine" in (tmp_path / ".dvc" / "config").read_text()


@pytest.mark.parametrize("where", ["clone", "project"])
def test_dvc_by_hand_finds_the_stages_and_only_those(where: str, project: Project) -> None:
    folder = REPOSITORY if where == "clone" else project.root
    dvc = Path(sys.executable).with_name("dvc")
    done = subprocess.run([str(dvc), "stage", "list", "--name-only"], cwd=folder, env={**os.environ}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    stages = {line.partition("@")[0] for line in done.stdout.split()}
    assert stages == {"probe", "collect", "clean", "augment", "validate"}


def test_a_merged_lock_takes_one_dataset_and_keeps_the_others() -> None:
    def lock(**md5: str) -> bytes:
        stages = "".join(f"  collect@{name}:\n    cmd: x\n    outs:\n    - path: data/raw/{name}\n      md5: {value!r}\n" for name, value in md5.items())
        return f"schema: '2.0'\nstages:\n{stages}".encode()

    merged = merged_lock(lock(a="1", b="1"), lock(a="2", b="12e4", c="2"), "b")
    assert locked_outputs(merged, "a") == [("data/raw/a", "1")]
    assert locked_outputs(merged, "b") == [("data/raw/b", "12e4")]
    assert locked_outputs(merged, "c") == []
    assert locked_outputs(merged_lock(None, lock(a="2"), "a"), "a") == [("data/raw/a", "2")]
