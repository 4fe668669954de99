"""The pages of MLflow as a person sees them: a real server, driven in a real browser."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from components.project import Project
from components.report.mlflow_pages import COMPARISON, lay_out_version
from components.tracking import GATES_ARTIFACT
from pipelines.servers import start_mlflow, stop_servers, wait_ready
from tests.browser import BROWSER_MARKS, expect, expect_pictures
from tests.stores import register_two_runs, tracker_in

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.slow, *BROWSER_MARKS]
GATES = {
    "model": "vae-digits", "version": 2, "passed": True,
    "rows": [{"rule": "limit", "figure": "fid_own", "value": 9.25, "limit": "at most 10", "verdict": "passed", "note": ""}],
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[tuple[str, str]]:
    """The address of a server on a store with two runs, and that of their comparison; the better one is champion."""
    project = Project(tmp_path_factory.mktemp("browser"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracker = tracker_in(project, empty_store)
    _, better = register_two_runs(tracker, project.root / "packages")
    tracker.log_text(better.run_id, json.dumps(GATES), GATES_ARTIFACT)
    lay_out_version(tracker, better)
    tracker.set_alias("vae-digits", "champion", better.version)
    tracker.end_run(tracker.start_run("digits", "vae-digits trial 1", {"study": "vae-digits-1"}, {"width": 8}))
    started = start_mlflow(project, tracker.uri)
    try:
        wait_ready(project, started, "/health")
        yield started.url, tracker.view_urls(COMPARISON, started.url)["digits"]
    finally:
        stop_servers(project)


def test_the_comparison_shows_headline_figures_and_comparing_two_runs_shows_metrics_and_samples(server: tuple[str, str], page: "Page") -> None:
    page.goto(server[1])
    for text in ("vae-digits v1 · seed 0", "vae-digits v2 · seed 1", "test/fid_own", "12.5", "9.25", "genmill.family"):
        expect(page.get_by_text(text, exact=True))
    assert page.get_by_text("vae-digits trial 1").count() == 0, "the trial of a search is no model to compare"
    page.get_by_role("checkbox", name="Select all runs").check()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_text("Comparing 2 Runs"))
    for text in ("test/fid_own", "12.5", "9.25", "latent_dim"):
        expect(page.get_by_text(text, exact=True))
    page.get_by_text("samples.png", exact=True).click()
    expect_pictures(page.get_by_role("img", name="samples.png"), 2)


def test_the_charts_show_the_samples_of_runs_of_different_length_side_by_side(server: tuple[str, str], page: "Page") -> None:
    page.goto(server[1] + "&compareRunsMode=CHART")
    expect(page.get_by_text("test/fid_own", exact=True))
    row = page.get_by_role("row").filter(has_text="evidence/samples")
    expect_pictures(row.locator("img"), 2)


def test_a_registered_model_shows_its_champion_and_a_version_its_card_and_gates(server: tuple[str, str], page: "Page") -> None:
    page.goto(f"{server[0]}/#/models/vae-digits")
    expect(page.get_by_text("@\u00a0champion"))
    expect(page.get_by_text("is in production"))
    page.get_by_role("link", name="Version 2").click()
    expect(page.get_by_text("Gates passed", exact=True))
    expect(page.get_by_text("at most 10"))
    expect(page.get_by_role("heading", name="vae-digits", level=1))
