"""A stage that was killed goes on from the shards that it has done, and ends in the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.data.dataset import stage_folder
from components.project import Project
from tests.data.workbench import files, folder_project, rows, run, set_params, shard_bytes

pytestmark = pytest.mark.slow


def many_rows(tmp_path: Path, num: int = 26_000) -> Project:
    project = folder_project(tmp_path, "text", clean={"near_duplicates": {}})
    write_rows(project, "rows.csv", num)
    return project


def write_rows(project: Project, name: str, num: int) -> None:
    """``num`` texts that are like no other."""
    words = [f"word{number}" for number in range(997)]
    with (files(project) / name).open("w") as file:
        file.write("text\n")
        for number in range(num):
            file.write(" ".join(random.Random(f"{name} {number}").choices(words, k=40)) + "\n")


def examined(project: Project) -> dict[str, int]:
    """The shards that were examined, with the time at which each was written."""
    return {path.name: path.stat().st_mtime_ns for path in (project.cache / "clean" / "mine").glob("*.parquet")}


def converted(project: Project) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in stage_folder(project, "mine", "clean").glob("*-0*.parquet")}


def killed(project: Project, done: str) -> None:
    """`clean`, killed with its processes as soon as one of what ``done`` finds is there."""
    process = subprocess.Popen([sys.executable, "-m", "components.data", "clean", "mine"], cwd=project.root, start_new_session=True, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not list(project.root.glob(done)):
        assert process.poll() is None, "it has ended already"
        assert time.monotonic() < until
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("done", [".genmill/cache/clean/mine/*.parquet", "data/clean/mine/train-*.parquet"])
def test_what_was_done_before_a_kill_is_not_done_again(tmp_path: Path, done: str) -> None:
    project = many_rows(tmp_path)
    run(project, stages=["collect"])
    killed(project, done)
    before = examined(project) | converted(project)
    assert before
    run(project, stages=["clean"])
    after = examined(project) | converted(project)
    assert len(after) > len(before)
    assert {name: after[name] for name in before} == before
    resumed = shard_bytes(stage_folder(project, "mine", "clean"))
    (tmp_path / "again").mkdir()
    whole = many_rows(tmp_path / "again")
    run(whole, stages=["collect", "clean"])
    assert shard_bytes(stage_folder(whole, "mine", "clean")) == resumed


def test_a_change_of_params_does_all_again_and_forgets_the_old(tmp_path: Path) -> None:
    project = many_rows(tmp_path, 6_000)
    run(project, stages=["collect", "clean"])
    before = examined(project)
    set_params(project, clean={"near_duplicates": {"jaccard": 0.7}})
    run(project, stages=["clean"])
    assert not before.keys() & examined(project).keys()


def test_rows_that_are_added_leave_the_shards_that_are_there_alone(tmp_path: Path) -> None:
    project = many_rows(tmp_path, 11_000)
    run(project, stages=["collect", "clean"])
    before, num = examined(project) | converted(project), len(rows(project))
    write_rows(project, "so_more.csv", 50)
    run(project, stages=["collect", "clean"])
    after = examined(project) | converted(project)
    assert {name: after[name] for name in before} == before
    assert len(rows(project)) == num + 50


def test_a_damaged_shard_is_made_again(tmp_path: Path) -> None:
    project = many_rows(tmp_path, 6_000)
    run(project, stages=["collect", "clean"])
    good = shard_bytes(stage_folder(project, "mine", "clean"))
    path = stage_folder(project, "mine", "clean") / "train-00000.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    run(project, stages=["clean"])
    assert shard_bytes(stage_folder(project, "mine", "clean")) == good
