"""What the tracking store promises to training, the registry and the UI."""

import io
import os
import platform
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from components.errors import UserError
from components.project import Project
from components.tracking import PROCESS_TAG, MetricPoint, Tracker
from tests.stores import empty_store, tracker

__all__ = ["empty_store", "tracker"]


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (16, 16), 128).save(buffer, "PNG")
    return buffer.getvalue()


def start(tracker: Tracker, **tags: str) -> str:
    return tracker.start_run("digits", "a-run", {"identity": "abc", "model": "vae-digits", **tags}, {"a": 1, "nested": {"b": [1, 2]}})


def test_a_run_keeps_its_params_tags_and_status(tracker: Tracker) -> None:
    run_id = start(tracker)
    assert tracker.get_run(run_id).status == "RUNNING"
    tracker.end_run(run_id)
    run = tracker.get_run(run_id)
    assert (run.status, run.name, run.experiment) == ("FINISHED", "a-run", "digits")
    assert run.params == {"a": "1", "nested.b": "[1, 2]"}
    assert run.tag("identity") == "abc"
    assert run.tags["genmill.identity"] == "abc"
    assert run.start_ms <= (run.end_ms or 0)


def test_params_that_have_a_persons_own_words_as_keys_stay_whole(tracker: Tracker) -> None:
    run_id = tracker.start_run("digits", "asked", {}, {"config": {"questions": {"what is it?": "label"}, "nested": {"b-c": 1}}})
    assert tracker.get_run(run_id).params == {"config.questions": "{'what is it?': 'label'}", "config.nested.b-c": "1"}


def test_more_params_than_one_batch_takes_are_all_logged(tracker: Tracker) -> None:
    run_id = tracker.start_run("digits", "many", {}, {f"p{index}": index for index in range(230)})
    assert len(tracker.get_run(run_id).params) == 230


def test_a_run_is_found_by_identity_and_the_newest_wins(tracker: Tracker) -> None:
    start(tracker)
    time.sleep(0.01)
    newest = start(tracker)
    found = tracker.find_run("digits", "abc")
    assert found is not None
    assert found.run_id == newest
    assert tracker.find_run("digits", "another") is None
    assert tracker.find_run("no such experiment", "abc") is None


def test_the_latest_run_of_a_model_is_found_whatever_its_identity(tracker: Tracker) -> None:
    run_id = start(tracker, identity="another")
    latest = tracker.latest_run("digits", "vae-digits")
    assert latest is not None
    assert latest.run_id == run_id
    assert tracker.latest_run("digits", "gpt-pydocs") is None


def test_metrics_beyond_one_batch_are_kept_and_a_repeated_point_stands_once(tracker: Tracker) -> None:
    run_id = start(tracker)
    points = [MetricPoint("train/loss", 1 / (step + 1), step, 1000 + step) for step in range(1500)]
    tracker.log_metrics(run_id, points)
    tracker.log_metrics(run_id, points[-10:])
    assert tracker.metric_history(run_id, "train/loss") == points


def test_pictures_are_named_as_the_image_grid_of_the_ui_reads_them_and_each_step_has_one(tracker: Tracker) -> None:
    run_id = start(tracker)
    for step in (0, 10, 10):
        tracker.log_image(run_id, "samples", png(), step)
    names = [path for path in tracker.list_artifacts(run_id, "images") if path.endswith(".png")]
    assert [name.split("+timestamp")[0] for name in names] == ["images/samples+step+0", "images/samples+step+10"]
    assert tracker.get_run(run_id).tags["mlflow.loggedImages"] == "True"


def test_artifacts_are_read_back_and_a_missing_one_is_none(tracker: Tracker) -> None:
    run_id = start(tracker)
    tracker.log_bytes(run_id, b"\x00\x01", "evaluation/pictures/a.bin")
    tracker.log_text(run_id, "text", "run.json")
    assert tracker.read_artifact(run_id, "evaluation/pictures/a.bin") == b"\x00\x01"
    assert tracker.read_artifact(run_id, "run.json") == b"text"
    assert tracker.read_artifact(run_id, "evaluation/nothing.json") is None
    assert tracker.list_artifacts(run_id) == ["run.json"]


def test_the_dataset_input_carries_the_data_version_as_its_digest(tracker: Tracker) -> None:
    run_id = start(tracker)
    tracker.log_dataset(run_id, name="digits", digest="v3", source="data/augmented/digits", context="training", profile={"rows": 900})
    database = sqlite3.connect(tracker.uri.removeprefix("sqlite:///"))
    try:
        assert database.execute("select name, digest from datasets").fetchall() == [("digits", "v3")]
    finally:
        database.close()


def test_everything_of_the_embedded_store_lies_in_the_project(tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    run_id = start(tracker)
    tracker.log_text(run_id, "x", "x.txt")
    assert tracker.uri == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    assert tracker.get_run(run_id).artifact_uri.startswith(f"file://{tmp_path}/mlflow/artifacts/")
    assert not list(elsewhere.iterdir())


def test_a_path_with_spaces_and_accents_works(tmp_path: Path, empty_store: Path) -> None:
    project = Project(tmp_path / "my prøject")
    project.mlflow.mkdir(parents=True)
    shutil.copyfile(empty_store, project.mlflow / "mlflow.db")
    tracker = Tracker.of(project)
    run_id = start(tracker)
    tracker.log_text(run_id, "x", "folder/x.txt")
    assert tracker.read_artifact(run_id, "folder/x.txt") == b"x"


def test_a_path_that_no_address_can_carry_is_refused_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="move the project"):
        Tracker.of(Project(tmp_path / "100%"))


def test_the_variable_names_another_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other/mlflow.db")
    assert Tracker.of(Project(tmp_path / "project")).uri == f"sqlite:///{tmp_path}/other/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    with pytest.raises(UserError, match="is a folder"):
        Tracker.of(Project(tmp_path / "project"))


def test_reopening_a_run_sets_it_running_and_keeps_what_it_logged(tracker: Tracker) -> None:
    run_id = start(tracker)
    tracker.log_metrics(run_id, [MetricPoint("train/loss", 1.0, 0, 1000)])
    tracker.end_run(run_id, "KILLED")
    tracker.reopen_run(run_id, {"resumed_from": "step 0"})
    run = tracker.get_run(run_id)
    assert (run.status, run.tag("resumed_from"), run.metrics) == ("RUNNING", "step 0", {"train/loss": 1.0})


def test_runs_of_dead_processes_are_swept_and_others_are_left_alone(tracker: Tracker) -> None:
    mine, dead, foreign = start(tracker), start(tracker), start(tracker)
    tracker.set_tags(dead, {PROCESS_TAG: f"{platform.node()}/{os.getpid()}/1"})
    tracker.set_tags(foreign, {PROCESS_TAG: "another-machine/1/1"})
    assert tracker.sweep_running() == [dead]
    assert [tracker.get_run(run_id).status for run_id in (mine, dead, foreign)] == ["RUNNING", "KILLED", "RUNNING"]


def test_a_model_is_registered_once_per_run_and_aliases_are_seen(tracker: Tracker, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    run_id = start(tracker)
    tracker.log_metrics(run_id, [MetricPoint("test/fid_own", 9.0, 10, 1000)])
    source = tracker.log_model(run_id, folder, name="vae-digits")
    first = tracker.register("vae-digits", source, run_id, {"data_version": "v1"}, "# Card")
    again = tracker.register("vae-digits", source, run_id, {"data_version": "v1"}, "# Card")
    assert first == again
    assert (first.version, first.tag("data_version"), first.description, first.ref) == (1, "v1", "# Card", "vae-digits/1")
    assert tracker.alias("vae-digits", "candidate") is None
    tracker.set_alias("vae-digits", "candidate", 1)
    assert tracker.model_versions("vae-digits")[0].aliases == ("candidate",)
    assert tracker.alias("vae-digits", "candidate") == 1
    tracker.delete_alias("vae-digits", "candidate")
    assert tracker.aliases("vae-digits") == {}
    assert tracker.model_names() == ["vae-digits"]


def test_the_files_of_a_version_are_found_and_can_be_copied(tracker: Tracker, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "weights").write_bytes(b"w")
    run_id = start(tracker)
    source = tracker.log_model(run_id, folder, name="vae-digits")
    version = tracker.register("vae-digits", source, run_id, {})
    local = tracker.local_path(version.source)
    assert local is not None
    assert (local / "deep" / "weights").read_bytes() == b"w"
    for uri in (source, version.source, "models:/vae-digits/1"):
        assert (tracker.download(uri, tmp_path / "copy") / "deep" / "weights").read_bytes() == b"w"


def test_a_model_that_is_not_registered_has_no_versions(tracker: Tracker) -> None:
    assert tracker.model_versions("nothing") == []
    assert tracker.alias("nothing", "champion") is None


def test_an_unknown_run_is_named(tracker: Tracker) -> None:
    with pytest.raises(UserError, match=r"no MLflow run 'f+'"):
        tracker.get_run("f" * 32)


def test_the_address_of_a_run_in_the_ui(tracker: Tracker) -> None:
    run_id = start(tracker)
    assert tracker.run_url(run_id) == ""
    assert tracker.run_url(run_id, "http://127.0.0.1:5000/") == f"http://127.0.0.1:5000/#/experiments/1/runs/{run_id}?workflowType=machine_learning"


def test_a_server_that_is_down_is_named_within_seconds() -> None:
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9 does not answer.*genmill up"):
        Tracker("http://127.0.0.1:9").prepare()
    assert time.monotonic() - begun < 15


def test_a_file_that_is_no_database_is_named_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(UserError, match="no SQLite database"):
        Tracker(f"sqlite:///{tmp_path}/mlflow.db").prepare()


def test_a_store_of_another_schema_is_named_with_the_fix(tmp_path: Path, empty_store: Path) -> None:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("update alembic_version set version_num = '451aebb31d03'")
    database.close()
    with pytest.raises(UserError, match=f"mlflow db upgrade sqlite:///{tmp_path}/mlflow.db"):
        Tracker(f"sqlite:///{tmp_path}/mlflow.db").prepare()


@pytest.mark.slow
def test_a_store_locked_for_long_is_named_and_nothing_is_half_written(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.tracking.store.LOCK_ATTEMPTS", 1)
    run_id = start(tracker)
    holder = sqlite3.connect(tracker.uri.removeprefix("sqlite:///"), isolation_level=None)
    try:
        holder.execute("begin exclusive")
        with pytest.raises(UserError, match="stays locked"):
            tracker.set_tags(run_id, {"a": "b"})
        holder.execute("rollback")
    finally:
        holder.close()
    tracker.set_tags(run_id, {"a": "b"})
    assert tracker.get_run(run_id).tag("a") == "b"


@pytest.mark.slow
def test_everything_works_the_same_through_a_server(tmp_path: Path, empty_store: Path) -> None:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--artifacts-destination", str(tmp_path / "artifacts")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True)
    try:
        tracker = Tracker(f"http://127.0.0.1:{port}")
        wait_for(tracker)
        run_id = start(tracker)
        tracker.log_metrics(run_id, [MetricPoint("train/loss", 1.0, step, 1000 + step) for step in range(1500)])
        tracker.log_image(run_id, "samples", png(), 10)
        tracker.log_text(run_id, "text", "evaluation/figures.json")
        (tmp_path / "model").mkdir()
        (tmp_path / "model/weights").write_bytes(b"w")
        source = tracker.log_model(run_id, tmp_path / "model", name="vae-digits")
        version = tracker.register("vae-digits", source, run_id, {"data_version": "v1"})
        tracker.set_alias("vae-digits", "candidate", version.version)
        assert tracker.read_artifact(run_id, "evaluation/figures.json") == b"text"
        assert len(tracker.metric_history(run_id, "train/loss")) == 1500
        assert tracker.model_version("vae-digits", 1).aliases == ("candidate",)
        assert tracker.local_path(version.source) is None
        assert (tracker.download(version.source, tmp_path / "copy") / "weights").read_bytes() == b"w"
        assert tracker.run_url(run_id).startswith(tracker.uri)
    finally:
        os.killpg(server.pid, 15)
        server.wait(20)


def wait_for(tracker: Tracker) -> None:
    for _ in range(120):
        try:
            return tracker.prepare()
        except UserError:
            time.sleep(0.5)
    raise AssertionError("the server did not come up")


@pytest.mark.slow
def test_a_first_run_says_nothing_on_the_terminal(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom components.project import Project\nfrom components.tracking import Tracker\n"
        f"tracker = Tracker.of(Project(Path({str(tmp_path)!r})))\ntracker.end_run(tracker.start_run('e', 'n', {{}}, {{}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
    assert (done.stdout, done.stderr) == ("", "")


def test_importing_the_tracker_does_not_import_mlflow() -> None:
    code = "import sys, components.tracking; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parent.parent).returncode == 0
