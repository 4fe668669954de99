"""The page of an audit says what is known of a version to somebody who knows nothing, and says plainly what is broken or was not looked at."""

import json
from pathlib import Path

import pytest

from components.evaluation.evidence import Evidence
from components.project import Project
from components.registry import ledger
from components.registry.audit.rows import AuditRow
from components.registry.ledger import Record
from components.registry.lineage import AuditReport
from components.registry.package import Package
from components.report.audit import write_audit_page
from components.tracking import ENVIRONMENT_ARTIFACT, GATES_ARTIFACT, Tracker
from tests.conftest import make_project
from tests.report.test_run import PNG, parse
from tests.stores import figure, register, tracker_in

HELD = AuditRow(link="package files", expected="abc", found="12 files, all as recorded", ok=True)
BROKEN = AuditRow(link="shards", expected="the bytes", found="data/x.parquet is <damaged>", ok=False)
UNSEEN = AuditRow(link="environment", expected="def", found="not re-hashed", ok=None)


@pytest.fixture
def registered(tmp_path: Path, empty_store: Path, package: Package, monkeypatch: pytest.MonkeyPatch) -> tuple[Project, Tracker]:
    """A project whose one version has evidence, verdicts of gates, an environment and a record in the ledger."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project = make_project(tmp_path / "project")
    tracker = tracker_in(project, empty_store)
    evidence = Evidence((figure(value=9.5, floor=5.2).model_copy(update={"spread": 0.4}),), {"samples": PNG}, {"rows": "some words"})
    version = register(tracker, package, evidence=evidence, tags={"machine": "Linux x86_64, a processor, 2 cores", "libraries": '{"torch": "2.13.0"}'})
    rows = [{"rule": "limit", "figure": "fid_own", "value": 9.5, "limit": "at most 10", "verdict": "passed", "note": "close"}]
    tracker.log_text(version.run_id, json.dumps({"model": "vae-digits", "version": 1, "passed": True, "rows": rows}), GATES_ARTIFACT)
    tracker.log_text(version.run_id, "numpy==2.4.6\n", ENVIRONMENT_ARTIFACT)
    ledger.append(
        project,
        Record(
            who="ann",
            model="vae-digits",
            kind="promote",
            state="done",
            reason="sharper",
            from_version=None,
            to_version=1,
            forced=True,
            approval="approved by bob",
        ),
    )
    return project, tracker


def page(registered: tuple[Project, Tracker], *rows: AuditRow, rehashed: bool = True, to: Path | None = None) -> str:
    report = write_audit_page(*registered, AuditReport(ref="vae-digits", version="vae-digits/1", rows=rows, rehashed=rehashed), to)
    assert report.page is not None
    assert all(address.startswith("data:") for address in parse(report.page).fetched)
    return report.page.read_text()


def test_a_stranger_finds_figures_samples_gates_promotions_and_environment(registered: tuple[Project, Tracker]) -> None:
    html = page(registered, HELD)
    for words in (
        "fid_own",
        "9.5",
        "± 0.4",
        "real images",
        "sharper",
        "ann",
        "approved by bob",
        "forced past its gates",
        "at most 10",
        "close",
        "numpy==2.4.6",
        "a processor",
        "some words",
        "torch==2.13.0",
    ):
        assert words in html, words
    assert "Every link holds" in html
    assert "genmill reproduce vae-digits/1" in html


def test_a_broken_link_is_in_a_banner_and_a_red_row_and_nothing_claims_that_all_holds(registered: tuple[Project, Tracker]) -> None:
    html = page(registered, HELD, BROKEN)
    assert 'role="alert"' in html
    assert html.count("data/x.parquet is &lt;damaged&gt;") == 2
    assert html.count('<tr class="broken">') == 1
    assert html.count('<tr class="holds">') == 1
    assert "Every link holds" not in html


def test_what_was_not_hashed_is_neither_green_nor_red(registered: tuple[Project, Tracker]) -> None:
    html = page(registered, UNSEEN, rehashed=False)
    assert '<tr class="unseen">' in html
    assert "Nothing was re-hashed" in html
    assert "Every link holds" not in html


def test_the_page_goes_where_it_is_told(registered: tuple[Project, Tracker], tmp_path: Path) -> None:
    page(registered, HELD, to=tmp_path / "deep" / "for-you.html")
    assert (tmp_path / "deep/for-you.html").is_file()
    assert not registered[0].reports.exists()
