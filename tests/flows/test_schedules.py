"""What runs by itself: schedules, triggers, what was missed, and what a kill or a mistake interrupted."""

import contextlib
import http.server
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.browser import BROWSER_MARKS, expect
from tests.flows.test_chain import LENIENT, waiting_promotion
from tests.workshop import GENMILL, SMALL_VAE, Workshop, clean_environment, make_workshop

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow
NEEDS_BROWSER = BROWSER_MARKS[0]

MODELS = ["vae-digits"]
LONG = {**SMALL_VAE, "max_steps": 240}
"""Some seconds, with a checkpoint every twenty steps."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A project with its servers and its worker, and with a schedule of every kind."""
    workshop = make_workshop(tmp_path_factory.mktemp("scheduled") / "project")
    workshop.edit_params(
        datasets__digits__source__rows=300,
        schedules={
            "often": {"interval": "4s", "models": MODELS},
            "nightly": {"cron": "0 3 29 2 *", "timezone": "Europe/Berlin", "models": MODELS},
            "look": {"interval": "1d", "flow": "prepare", "datasets": ["digits"], "active": False},
        },
        triggers={"retrain": {"dataset": "digits", "models": MODELS}},
    )
    try:
        workshop.run("up")
        yield workshop
    finally:
        workshop.run("down", code=None)
        shutil.rmtree(workshop.root, ignore_errors=True)


def test_deploying_again_changes_nothing_and_what_is_gone_is_removed(shop: Workshop) -> None:
    assert shop.json("deploy") == {"often": "created", "nightly": "created", "look": "created", "retrain": "created"}
    assert set(shop.json("deploy").values()) == {"unchanged"}
    shop.edit_params(schedules__nightly={"cron": "0 4 29 2 *", "models": MODELS})
    assert shop.json("deploy") == {"often": "unchanged", "nightly": "updated", "look": "unchanged", "retrain": "unchanged"}
    found = {one["name"]: one for one in ask(shop, "deployments/filter", {})}
    assert found["nightly"]["schedules"][0]["schedule"] == {"cron": "0 4 29 2 *", "timezone": "UTC", "day_or": True}
    assert [one["enabled"] for one in ask(shop, "automations/filter", {})] == [True]


def test_an_interval_fires_again_and_again_and_the_second_run_reuses_everything(shop: Workshop) -> None:
    """Times that pass while a run is under way are not made up for one by one: the run that starts next stands for them."""

    def reused() -> bool:
        return sum(run["state"]["message"] == "Nothing changed: 1 models reused" for run in runs_of(shop, "often", "COMPLETED")) >= 2

    wait_until(reused)
    first, second = runs_of(shop, "often", "COMPLETED")[:2]
    assert (first["state"]["message"], second["auto_scheduled"]) == (None, True)
    assert [row["candidate"] for row in shop.json("models")] == [1]
    assert all("does its work" in run["state"]["message"] for run in runs_of(shop, "often", "CANCELLED"))
    assert runs_of(shop, "often", "CANCELLED"), "while the first run trained, times passed"
    overlap = [(run["start_time"], run["end_time"]) for run in runs_of(shop, "often", "COMPLETED")]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(overlap))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@NEEDS_BROWSER
def test_the_prefect_ui_shows_the_deployment_with_its_schedule(shop: Workshop, page: "Page") -> None:
    page.goto(f"{address_of(shop)}/deployments")
    page.get_by_role("link", name="nightly").click()
    expect(page.get_by_text("At 04:00 AM on day 29 of the month, only in February"))
    expect(page.get_by_role("link", name="genmill", exact=True))
    page.get_by_text("Description", exact=True).click()
    expect(page.get_by_text("build vae-digits; 0 4 29 2 * (UTC)"))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@NEEDS_BROWSER
def test_the_prefect_ui_shows_a_finished_run_with_its_graph_its_table_and_the_link_to_mlflow(shop: Workshop, page: "Page") -> None:
    first = runs_of(shop, "often", "COMPLETED")[0]
    page.goto(f"{address_of(shop)}/runs/flow-run/{first['id']}")
    expect(page.locator("canvas"))
    expect(page.get_by_text("train (never trained)"))
    page.get_by_text("Artifacts", exact=True).click()
    page.get_by_role("link", name="models").click()
    for text in ("vae-digits", "fid_own", "trained_s"):
        expect(page.get_by_text(text).first)
    (trained,) = ask(shop, "flow_runs/filter", {"flow_runs": {"name": {"any_": ["train-vae-digits"]}}})
    page.goto(f"{address_of(shop)}/runs/flow-run/{trained['id']}")
    page.get_by_text("Artifacts", exact=True).click()
    page.get_by_role("link", name="mlflow-vae-digits").click()
    link = page.get_by_role("link", name="vae-digits in MLflow").get_attribute("href")
    assert link is not None
    page.goto(link)
    expect(page.get_by_text("test/fid_own"))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@NEEDS_BROWSER
def test_a_paused_promotion_is_answered_in_the_prefect_ui(shop: Workshop, page: "Page") -> None:
    shop.edit_params(models__vae_DASH_digits__gates=LENIENT, models__vae_DASH_digits__promotion={"approval": "required"})
    paused = {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}
    with waiting_promotion(shop, *MODELS) as promotion:
        wait_until(lambda: bool(ask(shop, "flow_runs/filter", paused)))
        page.goto(f"{address_of(shop)}/runs/flow-run/{ask(shop, 'flow_runs/filter', paused)[0]['id']}")
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_text("wants vae-digits/1 in production"))
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("switch").or_(dialog.locator("input[type=checkbox]")).first.click()
        for field, text in enumerate(("Ann", "the digits can be read")):
            dialog.locator("textarea").nth(field).fill(text)
        dialog.get_by_role("button", name="Submit").click()
        dialog.wait_for(state="hidden")
        assert "is the champion now" in promotion.communicate(timeout=300)[0]
    record = shop.json("history", "vae-digits")[0]
    assert (record["state"], record["to_version"]) == ("done", 1)
    assert "approved by Ann: the digits can be read" in record["approval"]


def test_what_is_no_longer_in_params_is_removed_and_runs_no_more(shop: Workshop) -> None:
    shop.edit_params(schedules__often={"interval": "1d", "models": MODELS, "active": False})
    assert shop.json("deploy")["often"] == "updated"
    wait_until(lambda: not runs_of(shop, "often", "RUNNING", "PENDING", "SCHEDULED"))


def test_a_new_data_version_starts_the_training_of_the_models_that_use_it(shop: Workshop) -> None:
    wait_until(lambda: len(runs_of(shop, "retrain", "COMPLETED")) == 1)  # of the first version, which the schedule's first run published
    shop.edit_params(datasets__digits__source__rows=360)
    shop.run("trigger", "look")
    wait_until(lambda: len(runs_of(shop, "retrain", "COMPLETED")) == 2)
    (looked,) = runs_of(shop, "look", "COMPLETED")
    assert looked["state"]["message"] == "New: digits v2"
    assert [(row["candidate"], row["data_version"]) for row in shop.json("models")] == [(2, "digits@v2")]
    shop.run("trigger", "look")
    wait_until(lambda: len(runs_of(shop, "look", "COMPLETED")) == 2)
    assert runs_of(shop, "look", "COMPLETED")[1]["state"]["message"] == "Nothing new in digits"
    shop.edit_params(triggers__retrain__active=False)
    shop.run("deploy")
    assert [one["enabled"] for one in ask(shop, "automations/filter", {})] == [False]


def test_a_run_that_fails_is_told_with_the_command_that_goes_on_with_it_and_one_of_another_project_is_not(shop: Workshop) -> None:
    with listening() as (address, heard):
        make_block(shop, address)
        shop.edit_params(
            notify={"block": "custom-webhook/ops"},
            models__vae_DASH_digits__evaluation={"extractor": {"kind": "dinov2", "path": "nowhere"}},
        )
        shop.run("deploy")
        fail_elsewhere(shop)
        shop.run("trigger", "nightly")
        wait_until(lambda: bool(heard))
        shop.run("run", *MODELS, code=2)
        wait_until(lambda: len(heard) == 2)
    shop.edit_params(notify={}, models__vae_DASH_digits__evaluation={})
    (failed,) = runs_of(shop, "nightly", "FAILED")
    assert "nowhere has no config.json" in failed["state"]["message"]
    resume = f"genmill resume {failed['id']} --project {shop.root}"
    assert resume in heard[0]
    by_hand = [one["id"] for one in ask(shop, "flow_runs/filter", {}) if not one["deployment_id"] and one["state_type"] == "FAILED"]
    assert any(f"genmill resume {run_id} --project {shop.root}" in heard[1] for run_id in by_hand)
    assert resume in shop.run("status").stdout
    logs = ask(shop, "logs/filter", {"logs": {"flow_run_id": {"any_": [failed["id"]]}}})
    assert any(resume in line["message"] for line in logs)
    shop.run("deploy")
    assert len(ask(shop, "automations/filter", {})) == 1


def test_when_everything_is_killed_in_the_middle_of_a_run_the_next_start_sweeps_and_finishes_it_with_one_version(shop: Workshop) -> None:
    versions, seen = [row["candidate"] for row in shop.json("models")], checkpoints(shop)
    shop.edit_params(models__vae_DASH_digits__config=LONG)
    shop.run("trigger", "nightly")
    wait_until(lambda: bool(checkpoints(shop) - seen))
    (running,) = runs_of(shop, "nightly", "RUNNING")
    kill_everything(shop)
    told = shop.run("up").stderr
    assert "nightly: a run was missed or killed while nothing ran here; it is made up for, once" in told
    assert [run["id"] for run in runs_of(shop, "nightly", "CRASHED")] == [running["id"]]
    before = len(runs_of(shop, "nightly", "COMPLETED"))
    wait_until(lambda: len(runs_of(shop, "nightly", "COMPLETED")) > before)
    assert [row["candidate"] for row in shop.json("models")] == [versions[0] + 1]
    assert shop.json("audit", "vae-digits@candidate")["ok"]
    children = ask(shop, "flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}})
    assert children == []


def test_a_killed_run_of_a_person_is_swept_and_goes_on_by_the_params_it_began_with(shop: Workshop) -> None:
    shop.edit_params(models__vae_DASH_digits__config={**LONG, "max_steps": 260})
    seen = checkpoints(shop)
    running = start(shop, "run", *MODELS)
    wait_until(lambda: bool(checkpoints(shop) - seen))
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    shop.edit_params(models__vae_DASH_digits__config={**LONG, "max_steps": 220})
    told = shop.run("up").stderr
    assert "was killed; go on with: genmill resume " in told
    (outcome,) = shop.json("resume")
    assert (outcome["status"], outcome["model"]) == ("resumed", "vae-digits")
    assert planned(shop) == "train", "220 steps were never trained"
    shop.edit_params(models__vae_DASH_digits__config={**LONG, "max_steps": 260})
    assert planned(shop) == "reuse"
    resumed = told.split("genmill resume ")[1].split()[0]
    assert "was resumed already" in shop.run("resume", resumed, code=2).stderr


def test_times_that_pass_while_nothing_runs_are_made_up_for_once_or_not_at_all(shop: Workshop) -> None:
    shop.edit_params(schedules={"often": {"interval": "2s", "models": MODELS}, "never": {"interval": "2s", "models": MODELS, "catch_up": False}})
    shop.run("deploy")
    wait_until(lambda: bool(runs_of(shop, "often", "SCHEDULED")) and bool(runs_of(shop, "never", "SCHEDULED")))
    shop.run("down")
    time.sleep(10)
    told = shop.run("up").stderr
    assert told.count("often: a run was missed") == 1
    assert "never" not in told
    shop.edit_params(schedules={}, triggers={})
    assert set(shop.json("deploy").values()) == {"removed"}


def test_a_worker_that_was_killed_is_started_again_by_up(shop: Workshop) -> None:
    pid = next(row["process"] for row in shop.json("status") if row["name"] == "worker")
    os.kill(pid, signal.SIGKILL)
    assert {row["name"]: row["state"] for row in shop.json("status")}["worker"] == "stopped"
    shop.run("up")
    states = {row["name"]: (row["state"], row["process"]) for row in shop.json("status")}
    assert states["worker"][0] == "runs"
    assert states["worker"][1] != pid


def start(shop: Workshop, *arguments: str) -> "subprocess.Popen[str]":
    command = [str(GENMILL), *arguments]
    return subprocess.Popen(command, cwd=shop.root, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def address_of(shop: Workshop) -> str:
    """Of the Prefect server; its file is read, for `genmill status` takes a second."""
    found: str = json.loads((shop.root / ".genmill" / "servers" / "prefect.json").read_text())["url"]
    return found


def ask(shop: Workshop, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """What the Prefect server answers to a filter."""
    address = address_of(shop)
    request = urllib.request.Request(f"{address}/api/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        found: list[dict[str, Any]] = json.load(response)
    return found


def runs_of(shop: Workshop, deployment: str, *states: str) -> list[dict[str, Any]]:
    """The flow runs of a deployment that are in one of ``states``, in the order they were to begin."""
    ids = [one["id"] for one in ask(shop, "deployments/filter", {}) if one["name"] == deployment]
    wanted = {"deployment_id": {"any_": ids}, "state": {"type": {"any_": list(states)}}}
    return ask(shop, "flow_runs/filter", {"flow_runs": wanted, "sort": "EXPECTED_START_TIME_ASC"})


def wait_until(condition: Callable[[], bool], timeout_s: float = 300) -> None:
    """Nothing here takes a tenth of the time that is given on a machine with nothing else to do."""
    deadline = time.monotonic() + timeout_s
    while not _holds(condition):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.5)


def _holds(condition: Callable[[], bool]) -> bool:
    """False where a server that is busy did not answer in time."""
    try:
        return condition()
    except TimeoutError:
        return False


def checkpoints(shop: Workshop) -> set[Path]:
    return set((shop.root / ".genmill" / "runs").glob("*/checkpoints/*"))


def planned(shop: Workshop) -> str:
    found: str = next(row["action"] for row in shop.json("plan", *MODELS) if row["what"] == MODELS[0])
    return found


def kill_everything(shop: Workshop) -> None:
    """Servers, worker, the run and its training: SIGKILL for all at once, as when the machine loses its power."""
    family: list[psutil.Process] = []
    for row in shop.json("status"):
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(row["process"])
            family += [root, *root.children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=10)


@contextlib.contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A server that notes what is posted to it."""
    heard: list[str] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fail_elsewhere(shop: Workshop) -> None:
    """A build of another project on the same Prefect server fails."""
    code = (
        "from prefect import flow, tags\n"
        "@flow(name='build')\ndef build(project: str):\n    raise SystemError('elsewhere')\n"
        "with tags('project:/elsewhere'):\n    build('/elsewhere', return_state=True)"
    )
    environment = {**clean_environment(), "PREFECT_API_URL": f"{address_of(shop)}/api", "PREFECT_HOME": str(shop.root / ".genmill" / "prefect")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)
    assert [one["state_type"] for one in ask(shop, "flow_runs/filter", {}) if one["parameters"].get("project") == "/elsewhere"] == ["FAILED"]


def make_block(shop: Workshop, address: str) -> None:
    """A notification block `custom-webhook/ops` in the project's Prefect server, as its page Blocks makes one."""
    code = (
        "from prefect.blocks.notifications import CustomWebhookNotificationBlock as B\n"
        f"B(name='ops', url={address!r}, json_data={{'text': '{{{{body}}}}'}}).save('ops')"
    )
    server = address_of(shop)
    environment = {**clean_environment(), "PREFECT_API_URL": f"{server}/api", "PREFECT_HOME": str(shop.root / ".genmill" / "prefect")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)
