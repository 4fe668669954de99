"""The joined story on two small models: run → reuse → compare → gate → promote → roll back → audit to the raw bytes."""

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workshop import GENMILL, Workshop, clean_environment

pytestmark = pytest.mark.slow

LENIENT = {"fid_own": False, "active_units": False, "collapse": False, "memorisation": False, "champion": False, "bits_per_dim": {"max": 1000.0}}
"""Gates that even a model of forty steps passes; data and lineage are looked at all the same."""

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
    shop.edit_params(models__vae_DASH_digits__gates=LENIENT)
    promoted = shop.run("promote", "vae-digits", "--reason", "first")
    assert "bytes re-hashed" in promoted.stdout
    assert {row["model"]: row for row in shop.json("models")}["vae-digits"]["champion"] == 1
    refused = shop.run("rollback", "vae-digits", code=2)
    assert "had no champion before version 1" in refused.stderr
    assert [record["reason"] for record in shop.json("history", "vae-digits")][0:1] == ["first"]
    assert ("vae-digits", "first") in [(record["model"], record["reason"]) for record in shop.json("history")]
    assert "vae-digits" in shop.run("history").stdout


def test_a_failed_gate_refuses_and_names_the_figure(shop: Workshop) -> None:
    shop.edit_params(models__gpt_DASH_pydocs__gates={"bits_per_byte": {"max": 0.001}})
    for reference in ("gpt-pydocs", "gpt-pydocs/1", "gpt-pydocs@candidate"):
        refused = shop.run("promote", reference, code=1)
        assert "Gates of gpt-pydocs/1" in refused.stdout
        assert "bits_per_byte" in refused.stdout
    assert {row["model"]: row for row in shop.json("models")}["gpt-pydocs"]["champion"] is None


def test_a_promotion_waits_for_a_person_and_a_no_and_silence_are_recorded(shop: Workshop) -> None:
    shop.edit_params(
        models__gpt_DASH_pydocs__gates={"bits_per_byte": {"max": 100}}, models__gpt_DASH_pydocs__promotion={"approval": "required", "approval_timeout_h": 0.001}
    )
    silence = shop.run("promote", "gpt-pydocs", code=1)
    assert "waits for approval" in " ".join(silence.stderr.split())
    assert "nobody answered within 0.001 h" in silence.stdout
    shop.edit_params(models__gpt_DASH_pydocs__promotion={"approval": "required"})
    with waiting_promotion(shop, "gpt-pydocs") as promotion:
        told = shop.run("approve", "gpt-pydocs", "--reject", "--reason", "blurry")
        assert "stays out of production: rejected by" in told.stdout
        assert "rejected by" in promotion.communicate(timeout=120)[0]
        assert promotion.returncode == 1
    assert [(record["state"], record["reason"]) for record in shop.json("history", "gpt-pydocs")][:2] == [("rejected", ""), ("refused", "")]
    assert "No promotion of gpt-pydocs waits" in shop.run("approve", "gpt-pydocs", code=2).stderr


def test_what_fails_its_gates_goes_into_production_by_force_alone_and_only_with_approval(shop: Workshop) -> None:
    shop.edit_params(models__gpt_DASH_pydocs__gates={"bits_per_byte": {"max": 0.001}})
    assert "say why with --reason" in shop.run("promote", "gpt-pydocs", "--force", code=2).stderr
    with waiting_promotion(shop, "gpt-pydocs", "--force", "--reason", "the demo is tonight") as promotion:
        assert "waits for approval already" in shop.run("promote", "gpt-pydocs", code=2).stderr
        shop.run("approve", "gpt-pydocs")
        assert "by force" in promotion.communicate(timeout=120)[0]
        assert promotion.returncode == 0
    last = shop.json("history", "gpt-pydocs")[0]
    assert (last["state"], last["forced"], last["reason"]) == ("done", True, "the demo is tonight")
    assert any(row["figure"] == "bits_per_byte" and row["verdict"] == "failed" for row in last["gates"])
    assert "done, forced" in shop.run("history", "gpt-pydocs").stdout


@contextlib.contextmanager
def waiting_promotion(shop: Workshop, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`genmill promote ARGUMENTS` in a process of its own, once it waits."""
    command = [str(GENMILL), "promote", *arguments]
    running = subprocess.Popen(command, cwd=shop.root, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    note, deadline = shop.root / ".genmill" / "approvals" / f"{arguments[0]}.json", time.monotonic() + 120
    try:
        while not note.exists() and time.monotonic() < deadline:
            assert running.poll() is None, running.communicate()
            time.sleep(0.1)
        yield running
    finally:
        running.kill()
        running.communicate()


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
    shop.edit_params(datasets__digits__source__rows=500, models__vae_DASH_digits__promotion={"auto": True})
    outcomes = {outcome["model"]: outcome for outcome in shop.json("run")}
    assert (outcomes["vae-digits"]["status"], outcomes["vae-digits"]["data_version"]) == ("trained", "v2")
    assert outcomes["gpt-pydocs"]["status"] == "reused"
    assert outcomes["vae-digits"]["promotion"].startswith("vae-digits/2 is the champion now")
    assert shop.json("history", "vae-digits")[0]["reason"] == "auto: passed its gates"
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
