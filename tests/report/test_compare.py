"""A comparison shows what may be compared, and names what may not."""

import re
from pathlib import Path

import pytest

from components.errors import UserError
from components.evaluation.evidence import Evidence
from components.project import Project
from components.registry.package import Package
from components.registry.stored import store_rescored
from components.report.compare import Comparison, compare
from components.tracking import MetricPoint, Tracker
from tests.report.test_run import PNG, parse
from tests.stores import figure, register

GIF = b"GIF89a not really"


@pytest.fixture
def two(tracker: Tracker, package: Package) -> Tracker:
    """Version 1 and 2, on other data and params, with one figure under the same and one under another protocol."""
    first = Evidence((figure(value=20, floor=5), figure("active_units", 3, goal="max", num_samples=100)), {"samples": PNG + b"1"}, {})
    second = Evidence((figure(value=10, floor=5), figure("active_units", 9, goal="max", num_samples=200)), {"samples": PNG + b"2"}, {"samples": "words"})
    register(tracker, package, fid=1, evidence=first, tags={"git_commit": "a" * 40, "wall_s": "60", "family": "vae"})
    register(tracker, package, fid=2, evidence=second, tags={"git_commit": "b" * 40, "data_version": "v2", "wall_s": "90", "family": "vae"})
    return tracker


def compared(tracker: Tracker, tmp_path: Path, *refs: str) -> Comparison:
    return compare(Project(tmp_path), tracker, refs or ["vae-digits/1", "vae-digits/2"])


def test_figures_of_the_same_protocol_stand_side_by_side_with_the_best_marked(two: Tracker, tmp_path: Path) -> None:
    result = compared(two, tmp_path)
    assert result.refs == ("vae-digits/1", "vae-digits/2")
    assert result.figure_rows == [("fid_own", "20", "10 *", "5 real images", "spread unknown")]
    assert result.figures[0].group == "Headline figures"


def test_figures_of_another_protocol_are_refused_and_the_field_is_named(two: Tracker, tmp_path: Path) -> None:
    result = compared(two, tmp_path)
    assert result.notes[0].startswith("active_units of vae-digits/1 and vae-digits/2 are not compared: num_samples differs: 100 / 200.")
    assert "num_samples differs: 100 / 200" in result.page.read_text()


def test_a_champion_that_was_scored_again_is_compared_under_the_later_protocol(two: Tracker, tmp_path: Path) -> None:
    store_rescored(two, two.model_version("vae-digits", 1).run_id, "later", [figure("active_units", 4, goal="max", num_samples=200)])
    result = compared(two, tmp_path)
    assert ("active_units", "4", "9 *", "", "spread unknown") in result.figure_rows
    assert result.refused == ()


def test_what_differs_is_listed_and_what_is_the_same_is_counted(two: Tracker, tmp_path: Path) -> None:
    result = compared(two, tmp_path)
    assert result.difference_rows == [
        ("data", "digits@v1", "digits@v2"), ("git_commit", "a" * 12, "b" * 12), ("fid_hint", "1", "2"), ("wall time", "1 min 0 s", "1 min 30 s"),
    ]  # fmt: skip
    assert result.same_params == 1


def test_how_the_runs_were_evaluated_is_compared_too(two: Tracker, tmp_path: Path) -> None:
    for number, steps in ((1, 10), (2, 20)):
        run_id = two.model_version("vae-digits", number).run_id
        two.log_text(run_id, f'{{"evaluation": {{"num_samples": 0, "sampling_steps": {steps}}}}}', "run.json")
    assert ("evaluation.sampling_steps", "10", "20") in compared(two, tmp_path).difference_rows


def test_the_page_shows_stored_samples_of_both_and_fetches_nothing(two: Tracker, tmp_path: Path) -> None:
    result = compared(two, tmp_path)
    assert result.page == tmp_path / "reports/compare-vae-digits-1-vae-digits-2.html"
    fetched = parse(result.page).fetched
    assert len(fetched) == 2
    assert all(address.startswith("data:image/png") for address in fetched)
    assert "words" in result.page.read_text()
    assert "stored none" in result.page.read_text()


def test_the_page_is_with_every_run_in_mlflow(two: Tracker, tmp_path: Path) -> None:
    result = compared(two, tmp_path)
    for side in result.sides:
        assert two.read_artifact(side.run_id, f"comparisons/{result.page.name}") == result.page.read_bytes()


def test_the_page_goes_where_it_is_wanted(two: Tracker, tmp_path: Path) -> None:
    result = compare(Project(tmp_path), two, ["vae-digits/1", "vae-digits/2"], out=tmp_path / "here" / "page.html")
    assert result.page.is_file()
    assert not (tmp_path / "reports").exists()


def test_the_comparison_as_json_leaves_the_pictures_out(two: Tracker, tmp_path: Path) -> None:
    found = compared(two, tmp_path).model_dump(mode="json")
    assert "pictures" not in found["sides"][0]
    assert (found["figures"][0]["verdict"], found["figures"][0]["best"]) == ("spread unknown", 1)


def test_five_references_share_a_page_with_curves_cost_gates_and_code(tracker: Tracker, package: Package, tmp_path: Path) -> None:
    for number in range(1, 6):
        evidence = Evidence((figure(value=number),), {"samples": PNG}, {"samples": f"words {number}"}, animations={"orbit": GIF} if number == 3 else {})
        version = register(tracker, package, evidence=evidence, tags={"flops": "6783447859200", "peak_memory_bytes": str(number * 2**20)})
        tracker.log_metrics(version.run_id, [MetricPoint("train/loss", number + 1 / step, step, step) for step in (1, 2, 3)])
    row = '{"rule": "limit", "figure": "fid_own", "value": 2.0, "limit": "at most 1", "verdict": "failed"}'
    gates = f'{{"model": "m", "version": 2, "passed": false, "rows": [{row}]}}'
    tracker.log_text(tracker.model_version("vae-digits", 2).run_id, gates, "evaluation/gates.json")
    result = compared(tracker, tmp_path, *(f"vae-digits/{number}" for number in range(1, 6)))
    parsed, html = parse(result.page), result.page.read_text()
    assert len(parsed.fetched) == 6
    assert all(address.startswith("data:image/") for address in parsed.fetched)
    assert not re.search(r"https?://|url\(|@import|<script", html)
    assert len(re.findall("<polyline", html)) == 5
    for part in ("vae-digits/5", "6.78T", "5.0 MiB", "failed: fid_own", "not asked yet", "against vae-digits/1", "words 5"):
        assert part in html
    assert [row.name for row in result.figures] == ["fid_own"]


def test_a_run_without_figures_is_compared_in_what_it_has(two: Tracker, tmp_path: Path) -> None:
    run_id = two.start_run("digits", "unfinished", {}, {"latent_dim": 8})
    two.end_run(run_id, "FAILED")
    result = compared(two, tmp_path, "vae-digits@candidate", run_id)
    assert [side.label for side in result.sides] == ["vae-digits/2", f"unfinished ({run_id[:6]})"]
    assert ("latent_dim", "4", "8") in result.difference_rows
    assert "failed" in result.page.read_text()


def test_the_id_of_a_registered_run_means_its_version(two: Tracker, tmp_path: Path) -> None:
    run_id = two.model_version("vae-digits", 1).run_id
    assert compared(two, tmp_path, run_id, "vae-digits/2").refs == ("vae-digits/1", "vae-digits/2")


def test_one_reference_is_not_enough_and_an_unknown_one_is_named(two: Tracker, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least two"):
        compared(two, tmp_path, "vae-digits")
    with pytest.raises(UserError, match="no version 9"):
        compared(two, tmp_path, "vae-digits/1", "vae-digits/9")
    with pytest.raises(UserError, match="There is no MLflow run"):
        compared(two, tmp_path, "vae-digits/1", "f" * 32)


def test_the_same_run_twice_is_named(two: Tracker, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"vae-digits/2 and vae-digits@candidate are both vae-digits/2: name two that differ"):
        compared(two, tmp_path, "vae-digits/2", "vae-digits@candidate")


def test_verdicts_and_params_that_are_damaged_are_left_out(two: Tracker, tmp_path: Path) -> None:
    run_id = two.model_version("vae-digits", 1).run_id
    for text in ("{", "[]"):
        two.log_text(run_id, text, "evaluation/gates.json")
        two.log_text(run_id, text, "run.json")
        side = compared(two, tmp_path).sides[0]
        assert side.gates is None
        assert not any(name.startswith("evaluation.") for name in side.params)
