"""What the pages of MLflow promise: the comparison is there without configuring anything."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from components.project import Project
from components.report.mlflow_pages import (
    COMPARISON,
    DatasetText,
    comparison_view,
    differing_params,
    lay_out_experiment,
    lay_out_version,
    picture_keys,
    run_name,
)
from components.tracking import DESCRIPTION_LENGTH, GATES_ARTIFACT, ModelVersion, Tracker
from tests.stores import register_two_runs, tracker_in

GATES = {
    "model": "vae-digits", "version": 2, "passed": True,
    "rows": [{"rule": "limit", "figure": "fid_own", "value": 9.25, "limit": "at most 10", "verdict": "passed", "note": "as asked"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> tuple[Tracker, list[ModelVersion]]:
    """A store with two runs; the tests read it, or write what no other one reads."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracker = tracker_in(Project(folder), empty_store)
    return tracker, register_two_runs(tracker, folder / "packages")


def state_of(value: str) -> dict[str, Any]:
    """What the UI reads out of a saved view's tag."""
    kind, _, packed = json.loads(value)["state"].partition(";")
    assert kind == "deflate"
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return state


def test_the_saved_view_shows_headline_figures_dataset_gates_and_what_differs(laid_out: tuple[Tracker, list[ModelVersion]]) -> None:
    tracker, _ = laid_out
    runs = tracker.runs("digits")
    view = comparison_view(runs, ["fid_own", "bits_per_dim"], picture_keys(tracker, runs))
    names = ("genmill.family", "genmill.gates", "Dataset", "test/fid_own", "test/bits_per_dim", "Models", "size", "seed", "max_steps", "latent_dim", "Duration")
    assert tuple(column.split("`")[1] for column in view.columns) == names
    assert view.columns[1:4] == ("tags.`genmill.gates`", "attributes.`Dataset`", "metrics.`test/fid_own`")
    state = state_of(view.encoded(0))
    assert state["selectedColumns"] == list(view.columns)
    sections = {section["uuid"]: section["name"] for section in state["compareRunSections"]}
    assert list(sections.values())[:4] == ["Headline figures", "Pictures", "Pictures while training", "test"]
    shown = [chart for chart in state["compareRunCharts"] if not chart["deleted"]]
    assert [(sections[chart["metricSectionId"]], chart.get("selectedMetricKeys") or chart["imageKeys"]) for chart in shown] == [
        ("Headline figures", ["test/fid_own"]),
        ("Headline figures", ["test/bits_per_dim"]),
        ("Pictures", ["evidence/samples", "evidence/nearest"]),
        ("Pictures while training", ["pictures/samples"]),
    ]


def test_runs_of_any_length_show_their_final_pictures_at_the_same_step_and_beside_the_folders(laid_out: tuple[Tracker, list[ModelVersion]]) -> None:
    tracker, versions = laid_out
    for version in versions:
        images = tracker.list_artifacts(version.run_id, "images")
        assert {path.split("+step+")[1].split("+")[0] for path in images if "evidence" in path} == {"0"}
        assert {"samples.png", "nearest.png"} <= set(tracker.list_artifacts(version.run_id))


def test_the_trials_of_a_search_stay_out_of_the_comparison(tracker: Tracker) -> None:
    tracker.end_run(tracker.start_run("glyphs", "vae-glyphs", {"model": "vae-glyphs", "family": "vae"}, {"width": 8, "max_steps": 10}))
    parent = tracker.start_run("glyphs", "tune vae-glyphs", {"study": "vae-glyphs-1"}, {})
    for number in range(3):
        tags = {"study": "vae-glyphs-1", "mlflow.parentRunId": parent}
        tracker.end_run(tracker.start_run("glyphs", f"vae-glyphs trial {number + 1}", tags, {"width": 8 + number, "kl_weight": number}))
    lay_out_experiment(tracker, "glyphs", DatasetText(modality="image", source="kind glyphs", licence="", versions=()))
    client = MlflowClient(tracker.uri)
    experiment = client.get_experiment_by_name("glyphs")
    assert experiment is not None
    state = state_of(experiment.tags[f"mlflow.sharedViewState.{COMPARISON}"])
    assert not any("kl_weight" in column or "width" in column for column in state["selectedColumns"])
    shown = client.search_runs([experiment.experiment_id], state["searchFilter"])
    assert [run.info.run_name for run in shown] == ["vae-glyphs"]


def test_the_page_asks_for_the_whole_protocol_before_two_values_are_compared(laid_out: tuple[Tracker, list[ModelVersion]]) -> None:
    experiment = MlflowClient(laid_out[0].uri).get_experiment_by_name("digits")
    assert experiment is not None
    (sentence,) = [line for line in experiment.tags["mlflow.note.content"].splitlines() if line.startswith("Figures are of the test split.")]
    for part in ("whole protocol", "number of samples", "extractor", "preprocessing", "vocabulary", "`genmill compare`"):
        assert part in sentence


def test_a_view_written_again_keeps_its_charts_apart_and_their_names(laid_out: tuple[Tracker, list[ModelVersion]]) -> None:
    first, second = (state_of(comparison_view(laid_out[0].runs("digits"), ["fid_own"]).encoded(now)) for now in (1, 2))
    assert first == second
    names = [part["uuid"] for part in (*first["compareRunCharts"], *first["compareRunSections"])]
    assert len(names) == len(set(names))


def test_only_params_that_differ_between_runs_of_one_model_are_columns(laid_out: tuple[Tracker, list[ModelVersion]]) -> None:
    runs = laid_out[0].runs("digits")
    assert differing_params(runs) == ("latent_dim",)
    assert differing_params(runs[:1]) == ()
    others = [run.model_copy(update={"tags": {**run.tags, "genmill.model": run.run_id}}) for run in runs]
    assert differing_params(others) == ()


def test_the_comparison_has_an_address_where_a_server_shows_it(laid_out: tuple[Tracker, list[ModelVersion]]) -> None:
    assert laid_out[0].view_urls(COMPARISON, "http://host:1/") == {
        "digits": "http://host:1/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=comparison"
    }
    assert laid_out[0].view_link("digits", COMPARISON, charts=True).endswith("&compareRunsMode=CHART&viewStateShareKey=comparison")
    assert laid_out[0].view_urls(COMPARISON) == {}
    assert laid_out[0].view_urls("another view", "http://host:1") == {}


def test_a_run_is_named_after_its_version_once_it_has_one(laid_out: tuple[Tracker, list[ModelVersion]]) -> None:
    assert [run.name for run in laid_out[0].runs("digits")] == ["vae-digits v2 · seed 1", "vae-digits v1 · seed 0"]
    assert run_name("vae-digits", seed=3, identity="abcdef0123456789") == "vae-digits · seed 3 · abcdef01"


def test_run_and_version_say_how_good_they_are_and_what_the_gates_said(laid_out: tuple[Tracker, list[ModelVersion]]) -> None:
    tracker, (first, second) = laid_out
    tracker.log_text(second.run_id, json.dumps(GATES), GATES_ARTIFACT)
    for version in (first, second):
        lay_out_version(tracker, version)
    notes = [tracker.get_run(version.run_id).tags["mlflow.note.content"] for version in (first, second)]
    assert "| fid_own | **12.5** | 2.5 (real images) | min |" in notes[0]
    assert "genmill promote vae-digits --version 1 --dry-run" in notes[0]
    assert "**Gates passed**" in notes[1]
    assert "| fid_own | 9.25 | at most 10 | passed | as asked |" in notes[1]
    described = tracker.model_version("vae-digits", 2)
    assert described.description.index("**Gates passed**") < described.description.index("# vae-digits")
    assert described.tag("fid_own") == "9.25"
    assert described.description.startswith("fid_own 9.25, bits_per_dim 2, gates passed\n")


def test_a_card_too_long_for_the_registry_is_cut_at_a_line_and_says_where_the_whole_one_is(laid_out: tuple[Tracker, list[ModelVersion]]) -> None:
    tracker, (first, _) = laid_out
    card = tracker.read_artifact(first.run_id, "card.md")
    try:
        tracker.log_text(first.run_id, "# vae-digits\n" + "a line\n" * 1000, "card.md")
        lay_out_version(tracker, first)
        described = tracker.model_version("vae-digits", 1).description
    finally:
        tracker.log_text(first.run_id, (card or b"").decode(), "card.md")
        lay_out_version(tracker, first)
    assert len(described) <= DESCRIPTION_LENGTH
    assert described.endswith("a line\n\n… (cut here; the whole card is card.md among the artifacts of the run)")


def test_a_version_from_before_cards_were_stored_keeps_its_description(laid_out: tuple[Tracker, list[ModelVersion]], tmp_path: Path) -> None:
    tracker, _ = laid_out
    run_id = tracker.start_run("old", "gan-digits-0000", {"family": "gan", "model": "gan-digits", "dataset": "digits"}, {})
    (tmp_path / "MLmodel").write_text("flavors: {}\n")
    version = tracker.register("gan-digits", tracker.log_model(run_id, tmp_path, name="gan-digits"), run_id, {}, "# gan-digits\nThe card")
    lay_out_version(tracker, version)
    assert tracker.model_version("gan-digits", 1).description == "# gan-digits\nThe card"
