"""The joined story on two small models: run → reuse → compare → gate → promote → roll back → audit to the raw bytes."""

import json
import re
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.workshop import Workshop

pytestmark = pytest.mark.slow

Built = tuple[Workshop, subprocess.CompletedProcess[str]]


def test_a_good_run_prints_no_warning_and_no_traceback(built: Built) -> None:
    _, done = built
    assert "Traceback" not in done.stderr + done.stdout
    assert "warning" not in (done.stderr + done.stdout).lower()


def test_a_run_ends_with_the_models_and_where_to_look(built: Built) -> None:
    shop, done = built
    assert "vae-digits" in done.stdout
    assert "bits_per_byte" in done.stdout
    assert f"{shop.root}/reports/run.html" in done.stdout
    assert re.search(r"Prefect UI +http://127", done.stdout)
    assert f"genmill down --project {shop.root}" in done.stdout


def test_the_report_is_one_file_with_pictures(built: Built) -> None:
    page = (built[0].root / "reports" / "run.html").read_text()
    assert "data:image/png;base64," in page
    assert not re.search(r'(src|href)="https?://(?!127\.0\.0\.1)', page)


def test_both_models_are_candidates(shop: Workshop) -> None:
    found = {row["model"]: row for row in shop.json("models")}
    assert found["vae-digits"]["candidate"] == 1
    assert found["gpt-pydocs"]["candidate"] == 1


def test_a_second_run_reuses_everything(shop: Workshop) -> None:
    outcomes = shop.json("run")
    assert {outcome["status"] for outcome in outcomes} == {"reused"}
    assert all(outcome["figures"] for outcome in outcomes)


def test_plan_says_that_nothing_would_run(shop: Workshop) -> None:
    assert {row["action"] for row in shop.json("plan")} == {"reuse"}


def test_the_users_branch_and_index_are_untouched(shop: Workshop) -> None:
    status = subprocess.run(["git", "status", "--porcelain"], cwd=shop.root, capture_output=True, text=True, check=True).stdout
    assert {line[3:] for line in status.splitlines()} <= {"dvc.lock", "params.yaml"}


def test_the_data_version_is_a_tag_and_verifies(shop: Workshop) -> None:
    versions = shop.json("data", "log", "digits")
    assert versions[-1]["tag"] == "data/digits/v1"
    assert shop.json("data", "verify", "digits")["ok"]


def test_promote_rollback_and_history_tell_one_story(shop: Workshop) -> None:
    shop.edit_params(models__vae_DASH_digits__gates={"bits_per_dim": {"max": 1000.0}})
    shop.run("promote", "vae-digits", "--reason", "first")
    assert {row["model"]: row for row in shop.json("models")}["vae-digits"]["champion"] == 1
    refused = shop.run("rollback", "vae-digits", code=2)
    assert "had no champion before version 1" in refused.stderr
    assert [record["reason"] for record in shop.json("history", "vae-digits")][0:1] == ["first"]


def test_a_failed_gate_refuses_and_names_the_figure(shop: Workshop) -> None:
    shop.edit_params(models__gpt_DASH_pydocs__gates={"bits_per_byte": {"max": 0.001}})
    refused = shop.run("promote", "gpt-pydocs", code=1)
    assert "bits_per_byte" in refused.stdout
    assert {row["model"]: row for row in shop.json("models")}["gpt-pydocs"]["champion"] is None


def test_audit_follows_the_model_to_the_raw_bytes_and_names_a_broken_link(shop: Workshop) -> None:
    assert shop.json("audit", "vae-digits/1")["ok"]
    shard = next((shop.root / "data" / "clean" / "digits").glob("train-*.parquet"))
    whole = shard.read_bytes()
    broken = bytearray(whole)
    broken[len(broken) // 2] ^= 0xFF
    mode = shard.stat().st_mode
    try:
        shard.unlink()
        shard.write_bytes(bytes(broken))
        report = shop.json("audit", "vae-digits/1", code=1)
        assert any(shard.name in str(row) for row in report["rows"] if not row["ok"])
    finally:
        shard.unlink()
        shard.write_bytes(whole)
        shard.chmod(mode)


def test_sampling_from_the_registry_repeats_with_the_seed(shop: Workshop, tmp_path: Path) -> None:
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        shop.run("sample", "vae-digits", "-n", "4", "--seed", seed, "--out", str(tmp_path / f"{name}.png"))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()


def test_text_is_continued_from_a_prompt(shop: Workshop) -> None:
    done = shop.run("sample", "gpt-pydocs", "-n", "1", "--prompt", "The function returns")
    assert "The function returns" in done.stdout


def test_more_rows_make_a_new_version_and_only_the_vae_trains_again(shop: Workshop) -> None:
    shop.edit_params(datasets__digits__source__rows=500)
    outcomes = {outcome["model"]: outcome for outcome in shop.json("run")}
    assert (outcomes["vae-digits"]["status"], outcomes["vae-digits"]["data_version"]) == ("trained", "v2")
    assert outcomes["gpt-pydocs"]["status"] == "reused"
    compared = shop.json("compare", "vae-digits/1", "vae-digits/2")
    assert "data" in str(compared)
    assert Path(compared["page"]).is_file()


def test_other_seeds_give_the_figures_their_uncertainty_and_register_nothing(shop: Workshop) -> None:
    (outcome,) = shop.json("run", "vae-digits", "--seeds", "2")
    values = {figure["name"]: figure["trainings"] for figure in outcome["figures"]}
    assert len(values["fid_own"]) == 2
    assert values["fid_own"][0] != values["fid_own"][1]
    found = {row["model"]: row for row in shop.json("models")}
    assert found["vae-digits"]["candidate"] == outcome["version"] == 2
    assert {row["action"] for row in shop.json("plan", "vae-digits", "--seeds", "2")} == {"reuse"}
    (again,) = shop.json("run", "vae-digits", "--seeds", "2")
    assert again["status"] == "reused"
    assert {figure["name"]: figure["trainings"] for figure in again["figures"]} == values


def test_a_schedule_is_run_by_the_worker(shop: Workshop) -> None:
    shop.edit_params(schedules__nightly={"cron": "0 3 * * *", "models": ["vae-digits"]})
    assert shop.json("deploy") == {"nightly": "created"}
    assert shop.json("deploy") == {"nightly": "updated"}
    shop.run("up")
    run_id = shop.json("trigger", "nightly")["flow_run_id"]
    assert wait_for_state(shop, run_id, 120) == "COMPLETED"


def test_a_cron_schedule_fires_by_itself(shop: Workshop) -> None:
    shop.edit_params(schedules__nightly={"cron": "* * * * *", "models": ["vae-digits"]})
    asked_before = {run["id"] for run in deployed_runs(shop)}
    assert shop.json("deploy") == {"nightly": "updated"}
    shop.run("up")
    deadline = time.monotonic() + 150
    states: set[str] = set()
    while "COMPLETED" not in states and time.monotonic() < deadline:
        time.sleep(1)
        states = {run["state_type"] for run in deployed_runs(shop) if run["auto_scheduled"] and run["id"] not in asked_before}
    assert "COMPLETED" in states
    shop.edit_params(schedules={})
    assert shop.json("deploy") == {"nightly": "removed"}


def deployed_runs(shop: Workshop) -> list[dict[str, Any]]:
    """The flow runs that belong to a deployment, read from the server's API."""
    body = json.dumps({"flow_runs": {"deployment_id": {"is_null_": False}}}).encode()
    request = urllib.request.Request(f"{prefect_address(shop)}/api/flow_runs/filter", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        found: list[dict[str, Any]] = json.load(response)
    return found


def prefect_address(shop: Workshop) -> str:
    return next(row["address"] for row in shop.json("status") if row["name"] == "prefect")


def wait_for_state(shop: Workshop, run_id: str, timeout_s: float) -> str:
    """The final state of a flow run, read from the server's API."""
    address = prefect_address(shop)
    deadline = time.monotonic() + timeout_s
    state = "UNKNOWN"
    while time.monotonic() < deadline and state not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
        time.sleep(1)
        with urllib.request.urlopen(f"{address}/api/flow_runs/{run_id}") as response:
            state = json.load(response)["state_type"]
    return state
