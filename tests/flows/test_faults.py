"""What goes wrong while the chain runs: interruptions, kills, two at once, bad data. Nothing is lost and the next run goes on."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.workshop import GENMILL, Workshop, clean_environment, make_workshop

pytestmark = pytest.mark.slow

LONG = {"max_steps": 3000, "sample_every": 20, "validate_every": 20, "checkpoint_every": 20, "warmup_steps": 5}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A project of its own, whose vae takes long enough to be interrupted."""
    workshop = make_workshop(tmp_path_factory.mktemp("faults") / "project")
    try:
        yield workshop
    finally:
        workshop.run("down", code=None)
        shutil.rmtree(workshop.root, ignore_errors=True)


def start(shop: Workshop) -> subprocess.Popen[str]:
    command = [str(GENMILL), "run", "vae-digits"]
    return subprocess.Popen(command, cwd=shop.root, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_checkpoint(shop: Workshop, running: subprocess.Popen[str], seed: int) -> Path:
    """The folder of the run with that seed, once it has a checkpoint."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        for spec in (shop.root / ".genmill" / "runs").glob("*/RUN.json"):
            if f'"seed": {seed}' in spec.read_text() and list(spec.parent.rglob("*.ckpt")):
                return spec.parent
        assert running.poll() is None, running.communicate()
        time.sleep(0.2)
    raise AssertionError("no checkpoint within 180 s")


def children_of(running: subprocess.Popen[str]) -> list[psutil.Process]:
    found = psutil.Process(running.pid).children(recursive=True)
    return [child for child in found if "components.training" in " ".join(child.cmdline())]


def finish(shop: Workshop, run_dir: Path) -> dict[str, object]:
    """Let the interrupted run end soon, by leaving it one checkpoint's worth of work, and give its outcome."""
    return next(outcome for outcome in shop.json("run", "vae-digits") if outcome["identity"].startswith(run_dir.name))


def set_seed(shop: Workshop, seed: int, steps: int) -> None:
    shop.edit_params(models__vae_DASH_digits__seed=seed, models__vae_DASH_digits__config={**LONG, "max_steps": steps})


def test_ctrl_c_keeps_the_checkpoint_and_the_next_run_goes_on_in_the_same_mlflow_run(shop: Workshop) -> None:
    set_seed(shop, 11, 600)
    running = start(shop)
    run_dir = wait_for_checkpoint(shop, running, 11)
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in stderr
    assert "go on with: genmill run vae-digits" in stderr
    before = (run_dir / "RUN.json").read_text()
    outcome = finish(shop, run_dir)
    assert outcome["status"] == "resumed"
    assert str(outcome["run_id"]) in before


def test_a_killed_parent_takes_its_child_along_and_the_next_run_goes_on(shop: Workshop) -> None:
    set_seed(shop, 12, 600)
    running = start(shop)
    run_dir = wait_for_checkpoint(shop, running, 12)
    children = children_of(running)
    assert children
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    outcome = finish(shop, run_dir)
    assert outcome["status"] == "resumed"
    versions = [row for row in shop.json("models") if row["model"] == "vae-digits"]
    assert len(versions) == 1


def test_a_killed_child_is_tried_again_from_its_checkpoint(shop: Workshop) -> None:
    set_seed(shop, 13, 600)
    running = start(shop)
    wait_for_checkpoint(shop, running, 13)
    for child in children_of(running):
        child.kill()
    stdout, stderr = running.communicate(timeout=240)
    assert running.returncode == 0, stderr
    assert "vae-digits" in stdout


def test_the_second_of_two_runs_waits_and_says_for_whom(shop: Workshop) -> None:
    set_seed(shop, 14, 300)
    first = start(shop)
    wait_for_checkpoint(shop, first, 14)
    second = start(shop)
    first_out, first_err = first.communicate(timeout=240)
    _, second_err = second.communicate(timeout=240)
    assert (first.returncode, second.returncode) == (0, 0), first_err + second_err
    assert f"Waiting for `genmill run` (process {first.pid}" in " ".join(second_err.split())
    assert "reused" in second_err
    assert "vae-digits" in first_out


def test_a_critical_rule_stops_the_flow_and_the_last_good_version_stays(shop: Workshop) -> None:
    before = shop.json("data", "log", "digits")
    rule = {"rule": "expect_column_values_to_be_between", "column": "width", "min_value": 100, "severity": "critical"}
    shop.edit_params(datasets__digits__expect=[rule])
    done = shop.run("run", "vae-digits", code=2)
    told = " ".join(done.stderr.split())
    assert "expect_column_values_to_be_between" in told
    assert "width" in told
    assert "Traceback" not in done.stderr
    assert shop.json("data", "log", "digits") == before
    report = (shop.root / "data" / "validation" / "digits" / "report.html").read_text()
    assert "expect_column_values_to_be_between" in report
    shop.edit_params(datasets__digits__expect=[{**rule, "severity": "warning"}])
    assert shop.json("run", "vae-digits")[0]["data_version"] == "v1"


def test_a_project_is_left_with_nothing_running_after_down(shop: Workshop) -> None:
    shop.run("down")
    inside = [process for process in psutil.process_iter(["cmdline"]) if str(shop.root) in " ".join(process.info["cmdline"] or [])]
    assert not inside
