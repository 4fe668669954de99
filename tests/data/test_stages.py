"""The stages through DVC: what changed runs, what did not costs milliseconds, and by hand gives the same bytes."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from components.data.__main__ import main
from components.data.dataset import Dataset, stage_folder
from components.data.stages import STAGES, probe, run_stage
from components.errors import UserError
from components.project import Project
from tests.conftest import git, make_project
from tests.data.workbench import files, folder_project, png, write_images

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def ran(project: Project, name: str, stages: tuple[str, ...] = STAGES) -> list[str]:
    """The stages that ran."""
    probe(project, name)
    return [stage for stage in stages if run_stage(project, name, stage).ran]


def change(project: Project, old: str, new: str) -> None:
    text = project.params.read_text()
    assert old in text
    project.params.write_text(text.replace(old, new))


def by_hand(project: Project, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`dvc ARGUMENTS` as a user with an activated environment types it."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(["dvc", *arguments], cwd=project.root, env=environment, capture_output=True, text=True, check=False)


def contents(project: Project) -> dict[str, bytes]:
    folders = [project.data / folder for folder in ("raw", "clean", "augmented", "validation", "probe")]
    return {path.relative_to(project.root).as_posix(): path.read_bytes() for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()}


def test_nothing_runs_when_nothing_changed_and_that_is_quick(published: Project) -> None:
    ran(published, "digits")
    started = time.monotonic()
    assert ran(published, "digits") == []
    assert ran(published, "pydocs") == []
    assert time.monotonic() - started < 3


def test_a_change_runs_the_stages_that_depend_on_it_and_no_others(published: Project) -> None:
    change(published, "noise: 0.02", "noise: 0.03")
    assert ran(published, "pydocs") == []
    assert ran(published, "digits") == ["augment", "validate"]
    change(published, "rows: 1797", "rows: 1790")
    assert ran(published, "digits", ("collect", "clean")) == ["collect", "clean"]


def test_dvc_repro_by_hand_gives_the_same_bytes_as_the_flow(published_project: Project, project: Project) -> None:
    done = by_hand(project, "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    assert contents(project) == contents(published_project)
    assert ran(project, "digits") == []
    assert ran(project, "pydocs") == []


def test_dvc_repro_by_hand_sees_new_params_without_a_flow(published: Project) -> None:
    change(published, "rows: 1797", "rows: 1500")
    done = by_hand(published, "repro", "clean@digits")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "collect digits: raw 1,500 rows" in done.stdout
    assert "clean digits:" in done.stdout


def test_dvc_repro_by_hand_shows_a_failed_validation_and_fails(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image", expect=[{"rule": "expect_column_values_to_not_be_null", "column": "caption"}])
    write_images(project, 60)
    done = by_hand(project, "repro")
    assert done.returncode != 0
    assert "expect_column_values_to_not_be_null on column 'caption'" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_new_files_in_a_source_folder_are_seen(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    write_images(project, 60)
    stages = ("collect", "clean", "augment")
    assert ran(project, "mine", stages) == list(stages)
    assert ran(project, "mine", stages) == []
    (files(project) / "a" / "new.png").write_bytes(png(4711))
    assert ran(project, "mine", stages) == list(stages)


def test_a_stages_own_message_reaches_the_flow(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    write_images(project, 60)
    (files(project) / "a" / "wide.png").write_bytes(png(99, size=(40, 20)))
    with pytest.raises(UserError, match=r"2 different sizes .* set clean.image.size"):
        ran(project, "mine")


def test_a_mistake_in_one_dataset_does_not_stop_another(published: Project) -> None:
    change(published, "clean: {min_chars: 200}", "clean: {min_charz: 200}")
    assert ran(published, "digits") == []
    with pytest.raises(UserError, match="unknown key 'min_charz'"):
        ran(published, "pydocs")


def test_a_full_disk_is_said_to_be_full_and_nothing_is_left_half_done(
    project: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    probe(project, "digits")
    folder = stage_folder(project, "digits", "collect")
    folder.mkdir(parents=True)
    # The kernel's own ENOSPC. Never through DVC: it would copy the endless file that it finds in its output.
    (folder / "raw-00000.parquet.part").symlink_to("/dev/full")
    monkeypatch.chdir(project.root)
    assert main(["collect", "digits"]) == 2
    assert re.search(r"The disk of .* is full \(.* MiB free\): make room and run again", capfd.readouterr().err)
    assert not (folder / "manifest.json").exists()
    (folder / "raw-00000.parquet.part").unlink(missing_ok=True)
    assert ran(project, "digits", ("collect",)) == ["collect"]


def test_another_python_first_on_the_path_is_not_used(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "bin" / "python").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert ran(project, "digits", ("collect",)) == ["collect"]


def test_it_works_from_any_current_folder(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ran(project, "digits", ("collect",)) == ["collect"]


def test_a_second_process_waits_and_says_for_whom_and_the_stage_runs_once(project: Project) -> None:
    probe(project, "digits")
    code = (
        "import sys; from pathlib import Path; from components.project import Project; from components.data.stages import run_stage;"
        "print(run_stage(Project(Path(sys.argv[1])), 'digits', 'collect').ran)"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code, str(project.root)]
    with project.lock("data", "the test"):
        environment.pop("GENMILL_LOCK_DATA", None)
        both = [
            subprocess.Popen(command, env={k: v for k, v in environment.items() if not k.startswith("GENMILL_LOCK")}, stdout=-1, stderr=-1, text=True)
            for _ in range(2)
        ]
        time.sleep(2)
    answers = [process.communicate(timeout=60) for process in both]
    assert sorted(out.strip() for out, _ in answers) == ["False", "True"], answers
    assert all("Waiting for `" in error for _, error in answers)
    assert "Waiting for `the test` (process" in answers[0][1] + answers[1][1]


def test_threads_of_one_process_run_a_stage_once(project: Project) -> None:
    probe(project, "digits")
    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.append(run_stage(project, "digits", "collect").ran)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [False, True]


def test_a_stage_that_was_killed_is_run_again_next_time(project: Project) -> None:
    probe(project, "digits")
    run_stage(project, "digits", "collect")
    good = {path.name: path.read_bytes() for path in stage_folder(project, "digits", "collect").iterdir()}
    # What a kill leaves: half a file beside the whole ones, and DVC without an entry for the stage.
    (project.root / "dvc.lock").unlink()
    (stage_folder(project, "digits", "collect") / "raw-00001.parquet.part").write_bytes(b"half")
    assert run_stage(project, "digits", "collect").ran
    assert {path.name: path.read_bytes() for path in stage_folder(project, "digits", "collect").iterdir()} == good


def test_a_folder_without_dvc_is_answered_with_the_command(project: Project) -> None:
    shutil.rmtree(project.root / ".dvc")
    with pytest.raises(UserError, match=r"is not set up for DVC: run `genmill init"):
        ran(project, "digits", ("collect",))


def test_a_folder_without_git_is_answered_with_the_command(project: Project) -> None:
    shutil.rmtree(project.root / ".git")
    with pytest.raises(UserError, match=r"git repository.*: run `git init"):
        ran(project, "digits", ("collect",))


def test_a_broken_lock_file_is_named(published: Project) -> None:
    (published.root / "dvc.lock").write_text("<<<<<<< ours\nschema: '2.0'\n=======\n")
    with pytest.raises(UserError, match=r"dvc.lock"):
        ran(published, "digits", ("collect",))


def test_it_works_before_the_first_commit(tmp_path: Path) -> None:
    project = make_project(tmp_path / "new", commit=False)
    assert ran(project, "digits", ("collect",)) == ["collect"]


def test_only_dvc_lock_changes_among_the_users_files(published: Project) -> None:
    assert git(published.root, "status", "--porcelain") == "?? dvc.lock"
    assert Dataset.open(published, "digits").table("train").num_rows > 0
