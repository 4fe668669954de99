"""A comparison shows what may be compared, and names what may not."""

from pathlib import Path

import pytest

from components.errors import UserError
from components.evaluation.evidence import Evidence
from components.project import Project
from components.registry.package import Package
from components.report.compare import Comparison, compare
from components.tracking import Tracker
from tests.report.test_run import PNG, parse
from tests.stores import figure, register


@pytest.fixture
def two(tracker: Tracker, package: Package) -> Tracker:
    """Version 1 and 2, on other data and params, with one figure under the same and one under another protocol."""
    first = Evidence((figure(value=20, floor=5), figure("active_units", 3, goal="max", num_samples=100)), {"samples": PNG + b"1"}, {})
    second = Evidence((figure(value=10, floor=5), figure("active_units", 9, goal="max", num_samples=200)), {"samples": PNG + b"2"}, {"samples": "words"})
    register(tracker, package, fid=1, evidence=first, tags={"git_commit": "a" * 40})
    register(tracker, package, fid=2, evidence=second, tags={"git_commit": "b" * 40, "data_version": "v2"})
    return tracker


def compared(tracker: Tracker, tmp_path: Path) -> Comparison:
    return compare(Project(tmp_path), tracker, ["vae-digits/1", "vae-digits/2"])


def test_figures_of_the_same_protocol_stand_side_by_side_with_the_best_marked(two: Tracker, tmp_path: Path) -> None:
    result = compared(two, tmp_path)
    assert result.refs == ("vae-digits/1", "vae-digits/2")
    assert result.figure_rows[0] == ("fid_own", "20 (real images 5)", "10 * (real images 5)")


def test_figures_of_another_protocol_never_stand_in_one_row_and_the_field_is_named(two: Tracker, tmp_path: Path) -> None:
    result = compared(two, tmp_path)
    assert result.figure_rows[1:] == [("active_units", "3", "-"), ("active_units", "-", "9")]
    assert result.notes == ["active_units was measured under two protocols (another num_samples): not comparable."]
    assert "not comparable with the row above: another num_samples" in result.page.read_text()


def test_what_differs_is_listed_and_what_is_the_same_is_counted(two: Tracker, tmp_path: Path) -> None:
    result = compared(two, tmp_path)
    assert result.difference_rows == [("data_version", "v1", "v2"), ("git_commit", "a" * 40, "b" * 40), ("fid_hint", "1", "2")]
    assert result.same_params == 1


def test_the_page_shows_stored_samples_of_both_and_fetches_nothing(two: Tracker, tmp_path: Path) -> None:
    result = compared(two, tmp_path)
    assert result.page == tmp_path / "reports/compare-vae-digits-1-vae-digits-2.html"
    fetched = parse(result.page).fetched
    assert len(fetched) == 2
    assert all(address.startswith("data:image/png") for address in fetched)
    assert "words" in result.page.read_text()
    assert "stored none" in result.page.read_text()


def test_the_page_is_in_mlflow_too(two: Tracker, tmp_path: Path) -> None:
    result = compared(two, tmp_path)
    stored = two.read_artifact(result.sides[1].run_id, f"comparisons/{result.page.name}")
    assert stored == result.page.read_bytes()


def test_the_comparison_as_json_leaves_the_pictures_out(two: Tracker, tmp_path: Path) -> None:
    assert "pictures" not in compared(two, tmp_path).model_dump(mode="json")["sides"][0]


def test_runs_that_registered_nothing_can_be_compared(two: Tracker, tmp_path: Path) -> None:
    run_id = two.start_run("digits", "unfinished", {}, {"latent_dim": 8})
    result = compare(Project(tmp_path), two, ["vae-digits@candidate", run_id])
    assert [side.ref for side in result.sides] == ["vae-digits/2", "unfinished"]
    assert ("latent_dim", "4", "8") in result.difference_rows


def test_one_reference_is_not_enough_and_an_unknown_one_is_named(two: Tracker, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least two"):
        compare(Project(tmp_path), two, ["vae-digits"])
    with pytest.raises(UserError, match="no version 9"):
        compare(Project(tmp_path), two, ["vae-digits/1", "vae-digits/9"])
