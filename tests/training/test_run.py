"""Real processes of runs: finished, killed, orphaned, refused; what they leave in MLflow and on disk."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

import components.training.run as run_module
from components.errors import UserError
from components.evaluation import spans
from components.registry.stored import stored_evidence
from components.tracking import Tracker
from components.training.files import checkpoint_folder, last_checkpoint
from components.training.launch import Event, launch
from components.training.run import Evaluated, Packaged, Run
from components.training.spec import Exit, RunResult, RunSpec
from components.training.stopping import StopRequest
from tests.training.conftest import MakeSpec

pytestmark = pytest.mark.slow
ENDLESS = {"max_steps": 1000, "checkpoint_every": 1000, "validate_every": 1000, "sample_every": 1000, "width": 128, "batch_size": 64}
"""Enough work for many seconds."""
PARENT = """
import json, signal, sys
from pathlib import Path
from components.training.launch import launch
from components.training.spec import RunSpec
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, the tests perhaps among them, are deaf to it
launch(RunSpec.model_validate_json(Path(sys.argv[1]).read_text()), lambda event: print(json.dumps(event), flush=True))
"""


class Watch:
    """Collects a run's events; once one fits, its process gets a signal."""

    def __init__(self, when: Callable[[Event], bool] | None = None, send: signal.Signals = signal.SIGKILL) -> None:
        self.when, self.send = when, send
        self.events: list[Event] = []
        self.pid = 0
        self.sent_at = 0.0

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self.pid = event.get("pid", self.pid)
        if self.when is not None and not self.sent_at and self.when(event):
            self.sent_at = time.monotonic()
            os.kill(self.pid, self.send)

    def phases(self) -> list[str]:
        return list(dict.fromkeys(event["phase"] for event in self.events if event["event"] == "progress"))


def at_step(step: int) -> Callable[[Event], bool]:
    return lambda event: event.get("phase") == "train" and event["step"] >= step


def tracked(spec: RunSpec, tracker: Tracker, name: str = "run") -> RunSpec:
    """``spec`` with an MLflow run and a folder of its own."""
    run_id = tracker.start_run("tests", name, {"identity": spec.identity, "validation": "passed"}, {})
    return spec.model_copy(update={"mlflow_run_id": run_id, "run_dir": spec.run_dir.with_name(name)})


def history(tracker: Tracker, spec: RunSpec, key: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in tracker.metric_history(spec.mlflow_run_id, key)]


def test_a_run_trains_evaluates_packages_and_logs(make_spec: MakeSpec, tracker: Tracker) -> None:
    spec = tracked(make_spec("vae"), tracker)
    watch = Watch()
    result = launch(spec, watch)
    assert result.status == "finished"
    assert watch.phases() == ["train", "evaluate", "package", "log"]
    assert (spec.run_dir / "log.txt").read_text() == ""  # a good run has nothing to say on stderr
    assert result == RunResult.model_validate_json((spec.run_dir / "RESULT.json").read_text())
    assert {"fid_own", "bits_per_dim"} <= {figure.name for figure in result.figures}
    assert result.package is not None
    assert (result.package / "MLmodel").is_file()
    assert result.pictures["samples"].read_bytes().startswith(b"\x89PNG")
    assert min(result.train_s, result.evaluate_s, result.package_s, result.core_s) > 0
    assert result.peak_memory_bytes > 100 * 2**20
    run = tracker.get_run(spec.mlflow_run_id)
    assert run.metrics["test/fid_own"] == next(figure.value for figure in result.figures if figure.name == "fid_own")
    assert "test/fid_own_floor" in run.metrics
    assert [step for step, _ in history(tracker, spec, "train/loss")] == [1, 2, 3, 4, 5, 6]
    assert int(run.tag("flops")) > 0
    assert run.tag("hardware.device") == "cpu"
    assert stored_evidence(tracker, spec.mlflow_run_id).figures == result.figures
    images = tracker.list_artifacts(spec.mlflow_run_id, "images")
    shown = {path.split("+")[0] for path in images}
    assert {f"images/evidence~{name}" for name in result.pictures} <= shown, "the UI shows every picture beside those of other runs"
    assert run.metrics["cost/wall_s"] == float(run.tag("wall_s"))
    assert [step for step, _ in history(tracker, spec, "test/fid_own")] == [0], "the UI draws bars of what stands at step 0"


def test_killed_in_training_it_goes_on_as_if_nothing_had_happened(make_spec: MakeSpec, tracker: Tracker) -> None:
    whole = tracked(make_spec(), tracker, "whole")
    killed = tracked(make_spec(), tracker, "killed")
    expected = launch(whole, Watch())
    first = launch(killed, Watch(at_step(6)))
    assert first.status == "failed"
    assert "killed by signal 9" in first.message
    assert first.steps in (4, 8)  # the checkpoints before and after the kill
    watch = Watch()
    result = launch(killed, watch)
    assert result.status == "finished"
    assert result.resumed
    assert watch.events[1] == {"event": "progress", "phase": "train", "step": first.steps, "max_steps": 10}
    ours, theirs = load_file(killed.run_dir / "weights.safetensors"), load_file(whole.run_dir / "weights.safetensors")
    assert all(ours[name].equal(theirs[name]) for name in theirs)
    assert [figure.value for figure in result.figures] == [figure.value for figure in expected.figures]
    for key in ("train/loss", "validation/loss", "test/bits_per_byte"):
        assert history(tracker, killed, key) == history(tracker, whole, key)


def test_killed_in_the_evaluation_it_does_not_train_again(make_spec: MakeSpec, tracker: Tracker) -> None:
    spec = tracked(make_spec(), tracker)
    assert launch(spec, Watch(lambda event: event.get("phase") == "evaluate")).status == "failed"
    trained = (spec.run_dir / "trained.json").stat().st_mtime_ns
    watch = Watch()
    result = launch(spec, watch)
    assert result.status == "finished"
    assert result.steps == 10
    assert watch.phases() == ["evaluate", "package", "log"]
    assert (spec.run_dir / "trained.json").stat().st_mtime_ns == trained
    again = Watch()
    second = launch(spec, again)
    assert second.figures == result.figures, second.message
    assert again.phases() == ["log"]  # and what is all done is only logged


def test_sigterm_stops_it_behind_a_checkpoint_within_seconds(make_spec: MakeSpec, tracker: Tracker) -> None:
    spec = tracked(make_spec(**ENDLESS), tracker)
    watch = Watch(at_step(5), signal.SIGTERM)
    result = launch(spec, watch)
    assert result.status == "interrupted"
    assert time.monotonic() - watch.sent_at < 5
    assert result.steps == last_checkpoint(checkpoint_folder(spec.run_dir))[1] >= 5
    steps = [step for step, _ in history(tracker, spec, "train/loss")]
    assert steps[-1] <= result.steps  # what was learned is logged too


def test_a_signal_to_the_parent_stops_the_run_and_then_the_parent(make_spec: MakeSpec, tracker: Tracker, tmp_path: Path) -> None:
    parent, child, spec = _orphan_to_be(make_spec, tracker, tmp_path)
    parent.send_signal(signal.SIGINT)
    assert parent.wait(15) == -signal.SIGINT
    assert not psutil.pid_exists(child)
    assert RunResult.model_validate_json((spec.run_dir / "RESULT.json").read_text()).status == "interrupted"


def test_when_its_parent_is_killed_the_run_ends_by_itself(make_spec: MakeSpec, tracker: Tracker, tmp_path: Path) -> None:
    parent, child, spec = _orphan_to_be(make_spec, tracker, tmp_path)
    parent.kill()
    parent.wait()
    psutil.wait_procs([psutil.Process(child)] if psutil.pid_exists(child) else [], timeout=10)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert last_checkpoint(checkpoint_folder(spec.run_dir))[1] > 0


def _orphan_to_be(make_spec: MakeSpec, tracker: Tracker, tmp_path: Path) -> tuple["subprocess.Popen[str]", int, RunSpec]:
    """A real parent with a run in the midst of training."""
    spec = tracked(make_spec(**ENDLESS), tracker)
    file = tmp_path / "spec.json"
    file.write_text(spec.model_dump_json())
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(file)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = 0
    for line in parent.stdout:
        event = json.loads(line)
        child = event.get("pid", child)
        if at_step(3)(event):
            break
    parent.stdout.close()
    return parent, child, spec


def test_data_that_changed_since_it_was_published_is_refused_with_a_sentence(make_spec: MakeSpec, tracker: Tracker) -> None:
    spec = tracked(make_spec(), tracker).model_copy(update={"data_sha256": "0" * 64})
    with pytest.raises(UserError, match="has changed since v1 was published"):
        launch(spec, Watch())
    assert not checkpoint_folder(spec.run_dir).exists()


def test_documents_that_a_model_cannot_be_scored_on_are_refused_before_it_is_trained(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "LEAST", 10**6)
    spec = make_spec("t5")
    with pytest.raises(UserError, match="No train document of 'pydocs' has 1000000 tokens or more"):
        Run(spec, StopRequest()).result()
    assert not spec.run_dir.exists()


def test_a_run_that_diverges_says_so(make_spec: MakeSpec, tracker: Tracker) -> None:
    wild = {"learning_rate": 1e38, "embedding_learning_rate": 1e38, "head_learning_rate": 1e38}
    spec = tracked(make_spec(max_steps=60, validate_every=60, checkpoint_every=60, **wild), tracker)
    result = launch(spec, Watch())
    assert result.status == "diverged"
    assert "lower learning_rate" in result.message


def test_a_second_process_of_the_same_run_waits_and_then_refuses(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec()
    spec.run_dir.mkdir(parents=True)
    monkeypatch.setattr(run_module, "WAIT_S", 0.5)
    began = time.monotonic()
    with run_module._alone(spec):
        code = "import sys; sys.path.insert(0, '.'); import components.training.run as r; from components.training.spec import RunSpec\n"
        code += "r.WAIT_S = 0.5\ntry:\n    r._alone(RunSpec.model_validate_json(sys.argv[1]))\nexcept r.UserError as error:\n    print(error)"
        done = subprocess.run([sys.executable, "-c", code, spec.model_dump_json()], capture_output=True, text=True, check=True)
    assert "is in progress in another process: wait for it, or stop that process." in done.stdout
    assert time.monotonic() - began > 0.5


def test_the_markers_of_the_phases_are_what_the_next_process_reads(make_spec: MakeSpec, tracker: Tracker) -> None:
    spec = tracked(make_spec(), tracker)
    result = launch(spec, Watch())
    assert Evaluated.model_validate_json((spec.run_dir / "evaluated.json").read_text()).figures == result.figures
    assert Packaged.model_validate_json((spec.run_dir / "packaged.json").read_text()).sha256 == result.package_sha256
    assert int(Exit.FINISHED) == 0
