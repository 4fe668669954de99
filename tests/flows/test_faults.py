"""What goes wrong while the chain runs: interruptions, kills, two at once, bad data. Nothing is lost and the next run goes on."""

import json
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

STEPS = {"max_steps": 400, "sample_every": 400, "validate_every": 40, "checkpoint_every": 20, "warmup_steps": 5}
"""Long enough to be interrupted three times; each run goes on where the one before was stopped."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A project of its own, whose vae takes long enough to be interrupted."""
    workshop = make_workshop(tmp_path_factory.mktemp("faults") / "project")
    try:
        yield workshop
    finally:
        workshop.run("down", code=None)
        shutil.rmtree(workshop.root, ignore_errors=True)


def start(shop: Workshop, *arguments: str) -> subprocess.Popen[str]:
    command = [str(GENMILL), "run", "vae-digits", *arguments]
    return subprocess.Popen(command, cwd=shop.root, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_folder(shop: Workshop, seed: int) -> Path | None:
    for spec in (shop.root / ".genmill" / "runs").glob("*/RUN.json"):
        if f'"seed": {seed}' in spec.read_text():
            return spec.parent
    return None


def wait_for_checkpoint(shop: Workshop, running: subprocess.Popen[str], seed: int) -> Path:
    """The folder of the run with that seed, once it has a checkpoint that it did not have before."""
    known = checkpoints(run_folder(shop, seed))
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        folder = run_folder(shop, seed)
        if folder is not None and checkpoints(folder) - known:
            return folder
        assert running.poll() is None, running.communicate()
        time.sleep(0.1)
    raise AssertionError("no checkpoint within 180 s")


def checkpoints(folder: Path | None) -> set[str]:
    return {path.name for path in folder.rglob("*.ckpt")} if folder else set()


def children_of(running: subprocess.Popen[str]) -> list[psutil.Process]:
    found = psutil.Process(running.pid).children(recursive=True)
    return [child for child in found if "components.training" in " ".join(child.cmdline())]


def mlflow_run(folder: Path) -> str:
    return str(json.loads((folder / "RUN.json").read_text())["mlflow_run_id"])


def test_ctrl_c_keeps_the_checkpoint_and_says_how_to_go_on(shop: Workshop) -> None:
    shop.edit_params(models__vae_DASH_digits__seed=11, models__vae_DASH_digits__config=STEPS)
    running = start(shop)
    folder = wait_for_checkpoint(shop, running, 11)
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in stderr
    assert "go on with: genmill run vae-digits" in stderr
    assert checkpoints(folder)


def test_the_next_run_goes_on_in_the_same_mlflow_run_and_a_killed_parent_takes_its_child_along(shop: Workshop) -> None:
    folder = run_folder(shop, 11)
    assert folder is not None
    before = mlflow_run(folder)
    running = start(shop)
    assert wait_for_checkpoint(shop, running, 11) == folder
    assert mlflow_run(folder) == before
    children = children_of(running)
    assert children
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def test_a_killed_child_is_tried_again_from_its_checkpoint_and_there_is_one_version(shop: Workshop) -> None:
    folder = run_folder(shop, 11)
    assert folder is not None
    running = start(shop, "--json")
    wait_for_checkpoint(shop, running, 11)
    for child in children_of(running):
        child.kill()
    stdout, stderr = running.communicate(timeout=240)
    assert running.returncode == 0, stderr
    (outcome,) = json.loads(stdout)
    assert (outcome["status"], outcome["run_id"]) == ("resumed", mlflow_run(folder))
    assert [row["candidate"] for row in shop.json("models")] == [1]


def test_the_second_of_two_runs_waits_and_says_for_whom(shop: Workshop) -> None:
    shop.edit_params(models__vae_DASH_digits__seed=14, models__vae_DASH_digits__config={**STEPS, "max_steps": 100})
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
