"""The records of flow runs: which of them can be gone on with, and by which params."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from components.errors import UserError
from components.project import Project
from pipelines import flow_runs
from pipelines.flow_runs import FlowRunRecord, State, find_record, params_of, records


class Ran:
    """What Prefect hands to a hook of a flow run."""

    def __init__(self, project: Project, number: int, *, called: bool = False, **parameters: Any) -> None:
        self.id = f"0000000{number}-aaaa"
        self.parameters = {"project": str(project.root), **parameters}
        self.parent_task_run_id = "x" if called else None
        self.deployment_id = None


def build() -> None:
    """Stands for a flow's function."""


class Build:
    name = "build"
    fn = staticmethod(build)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "params.yaml").write_text("run: []\n")
    return Project(tmp_path)


def record(project: Project, number: int, state: State, *, pid: int | None = None, created: float | None = None) -> FlowRunRecord:
    process = psutil.Process(pid or os.getpid())
    made = FlowRunRecord(
        id=f"0000000{number}-aaaa", flow="build", entrypoint="pipelines.build.build", began=datetime.now(UTC) + timedelta(minutes=number), pid=process.pid,
        created=process.create_time() if created is None else created, state=state,
    )  # fmt: skip
    flow_runs.close(project, made, state)
    return made


def test_a_run_that_begins_leaves_its_process_and_the_params_it_began_with(project: Project) -> None:
    flow_runs.note_begin(Build, Ran(project, 1), None)
    (project.root / "params.yaml").write_text("run: [changed]\n")
    (found,) = records(project)
    assert (found.flow, found.state, found.pid, found.alive) == ("build", "running", os.getpid(), True)
    assert found.entrypoint == f"{__name__}.build"
    assert params_of(project, found.id).read_text() == "run: []\n"


def test_what_another_flow_called_leaves_no_record(project: Project) -> None:
    flow_runs.note_begin(Build, Ran(project, 1, called=True), None)
    assert records(project) == []


def test_a_run_that_goes_on_with_another_keeps_its_params_and_its_data(project: Project) -> None:
    first = Ran(project, 1)
    flow_runs.note_begin(Build, first, None)
    flow_runs.remember_versions(project, first.id, {"digits": "v3"})
    (project.root / "params.yaml").write_text("run: [changed]\n")
    flow_runs.note_begin(Build, Ran(project, 2, resumes=first.id), None)
    again = find_record(project, "00000002")
    assert again.versions == {"digits": "v3"}
    assert params_of(project, again.id).read_text() == "run: []\n"


def test_without_a_name_the_newest_that_did_not_complete_is_meant(project: Project) -> None:
    for number, state in enumerate(("failed", "crashed", "completed", "resumed", "running"), start=1):
        record(project, number, state)  # type: ignore[arg-type]
    assert find_record(project, None).id.startswith("00000002")


def test_a_run_is_named_by_the_beginning_of_its_id_and_an_unknown_one_gets_the_list(project: Project) -> None:
    record(project, 1, "failed")
    record(project, 2, "completed")
    assert find_record(project, "00000002").state == "completed"
    with pytest.raises(UserError, match="the beginning of 2 runs"):
        find_record(project, "0000000")
    with pytest.raises(UserError, match=r"no flow run 'x'(?s:.*)00000002-aaaa  completed"):
        find_record(project, "x")


def test_where_nothing_failed_there_is_nothing_to_resume(project: Project) -> None:
    record(project, 1, "completed")
    with pytest.raises(UserError, match="nothing to resume"):
        find_record(project, None)


def test_a_process_that_ended_or_whose_number_another_has_by_now_is_not_alive(project: Project) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    living = record(project, 1, "running", pid=child.pid)
    assert living.alive
    assert not record(project, 2, "running", pid=child.pid, created=living.created - 100).alive
    child.communicate(b"\n")
    assert not living.alive


def test_old_records_are_forgotten_and_the_living_kept(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_runs, "KEPT", 2)
    record(project, 1, "running")
    for number in range(2, 6):
        record(project, number, "completed")
    flow_runs.note_begin(Build, Ran(project, 9), None)
    # The one that has just begun bears the time of now, which is before that of the others.
    assert {found.id[:8] for found in records(project)} == {"00000001", "00000004", "00000005", "00000009"}
