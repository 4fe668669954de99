"""A version is trained again from what is recorded of it, and the two are held against each other."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components import git
from components.data.dataset import Dataset
from components.data.publish import find_version
from components.errors import UserError
from components.evaluation.config import EvaluationConfig
from components.models.family import find_family
from components.params import Block
from components.project import Project
from components.registry.package import Package
from components.registry.registration import register_package
from components.registry.stored import stored_figures
from components.tracking import FIGURES_ARTIFACT, SPEC_ARTIFACT, ModelVersion, RunRecord, Tracker
from components.training.environment import installed
from components.training.identity import code_of, run_identity
from components.training.launch import Event, launch
from components.training.reproducing.agreement import compare_figures, differences, tolerance, versions_of
from components.training.reproducing.code import digest_of, restore_code
from components.training.reproducing.reproduce import STATE, Reproduction, reproduce
from components.training.reproducing.spec import StoredSpec, StoredStart, find_start, stored_spec
from components.training.spec import RunSpec
from tests.conftest import copy_project, make_project
from tests.conftest import git as git_in
from tests.stores import figure, register, tracker_in
from tests.training.conftest import SMALL_GPT

Trained = tuple[Project, Tracker, ModelVersion]


def small_run(project: Project, tracker: Tracker) -> RunSpec:
    """The spec of a small language model on the published texts, with an open MLflow run."""
    config = find_family("gpt").resolve("tiny", Block(SMALL_GPT, (), {}, project.params))
    data = find_version(project, "pydocs", "v1")
    identity = run_identity(family="gpt", config=config, size="tiny", seed=0, evaluation=EvaluationConfig(), batches="text", data_sha256=data.sha256)
    tags = {
        "model": "gpt-pydocs", "family": "gpt", "identity": identity, "dataset": "pydocs", "data_version": "v1", "data_sha256": data.sha256,
        "validation": data.validation, "git_commit": git.head(project.root), "dirty": "false", "code_sha256": code_of("gpt", "text"),
    }  # fmt: skip
    run_id = tracker.start_run("pydocs", "gpt-pydocs", tags, config.model_dump())
    return RunSpec(
        model="gpt-pydocs", family="gpt", size="tiny", seed=0, config=config.model_dump(), dataset="pydocs", batches="text", data_version="v1",
        data_sha256=data.sha256, identity=identity, project=project.root, run_dir=project.runs / identity[:16], tracking_uri=tracker.uri,
        experiment="pydocs", mlflow_run_id=run_id, device="cpu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(published_project: Project, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A small model that a real run trained, evaluated and registered."""
    project = copy_project(published_project, tmp_path_factory.mktemp("trained") / "project")
    tracker = tracker_in(project, empty_store)
    spec = small_run(project, tracker)
    result = launch(spec, ignore)
    assert result.package is not None, result.message
    version = register_package(tracker, run_id=spec.mlflow_run_id, folder=result.package)
    tracker.end_run(spec.mlflow_run_id)
    return project, tracker, version


def ignore(told: object) -> None:
    pass


def again(trained: Trained, to: Path, events: list[Event] | None = None, say: Callable[[str], None] = ignore) -> Reproduction:
    project, tracker, version = trained
    return reproduce(project, tracker, version.ref, to=to, say=say, on_event=events.append if events is not None else ignore)


def contents(project: Project) -> dict[str, bytes]:
    """Every file of the project but for what DVC and git keep of having been read."""
    skipped = (project.state / "dvc", project.root / ".dvc/tmp", project.root / ".git")
    files = (path for path in project.root.rglob("*") if path.is_file() and not any(path.is_relative_to(folder) for folder in skipped))
    return {path.as_posix(): path.read_bytes() for path in files}


@pytest.mark.slow
def test_a_small_model_comes_out_the_same_to_the_last_bit_and_a_changed_record_does_not(trained: Trained, tmp_path: Path) -> None:
    project, tracker, version = trained
    before, refs, said = contents(project), git_in(project.root, "show-ref"), list[str]()
    result = again(trained, tmp_path / "again", say=said.append)
    assert result.ok
    assert result.weights == "identical"
    assert result.differences == ()
    assert {row.figure for row in result.figures} == {figure.name for figure in stored_figures(tracker, version.run_id)}
    assert {row.verdict for row in result.figures} == {"identical"}
    assert "the code at hand; its digest is that of the run" in said[0]
    assert (contents(project), git_in(project.root, "show-ref")) == (before, refs)  # nothing of the project's own has changed
    assert Dataset.open(Project(tmp_path / "again/project"), "pydocs").manifest.sha256 == version.tag("data_sha256")
    with pytest.raises(UserError, match="holds a finished reproduction"):
        again(trained, tmp_path / "again")

    recorded = json.loads(tracker.read_artifact(version.run_id, FIGURES_ARTIFACT) or b"")
    changed = [{**one, "value": one["value"] * 1.01} if one["name"] == "perplexity" else one for one in recorded]
    tracker.log_text(version.run_id, json.dumps(changed), FIGURES_ARTIFACT)
    state = tmp_path / "again" / STATE
    state.write_text(state.read_text().replace('"finished":true', '"finished":false').replace('"finished": true', '"finished": false'))
    events: list[Event] = []
    differing = again(trained, tmp_path / "again", events)
    tracker.log_text(version.run_id, json.dumps(recorded), FIGURES_ARTIFACT)
    assert not differing.ok
    assert [row.figure for row in differing.figures if row.verdict == "differs"] == ["perplexity"]
    assert {event["phase"] for event in events if event["event"] == "progress"} == {"log"}  # what was done is not done again


def test_on_the_same_setup_rounding_alone_is_allowed_and_else_three_standard_deviations() -> None:
    certain, vague = figure(value=10.0), figure(value=10.0).model_copy(update={"spread": 0.1})
    assert tolerance(certain, same_setup=True) == pytest.approx(1e-5)
    assert tolerance(vague, same_setup=True) == pytest.approx(1e-5)
    assert tolerance(certain, same_setup=False) == pytest.approx(0.5)
    assert tolerance(vague, same_setup=False) == pytest.approx(3 * 2**0.5 * 0.1)


@pytest.mark.parametrize(
    ("value", "same_setup", "verdict"),
    [
        (10.0, True, "identical"),
        (10.000001, True, "agrees"),
        (10.1, True, "differs"),
        (10.1, False, "agrees"),
        (11.0, False, "differs"),
        (float("nan"), False, "differs"),
    ],
)
def test_a_figure_is_held_against_the_one_of_its_name(value: float, same_setup: bool, verdict: str) -> None:
    (row,) = compare_figures([figure(value=10.0)], [figure("other"), figure(value=value)], same_setup=same_setup)
    assert (row.figure, row.recorded, row.verdict) == ("fid_own", 10.0, verdict)


def test_a_figure_that_is_missing_or_of_another_protocol_is_said_to_be() -> None:
    (missing,) = compare_figures([figure()], [figure("other")], same_setup=True)
    assert (missing.verdict, missing.reproduced) == ("not measured", None)
    (other,) = compare_figures([figure(num_samples=100)], [figure(num_samples=200)], same_setup=True)
    assert (other.verdict, other.reproduced, other.note) == ("not measured", None, "under the same protocol: other num samples")


def test_a_figure_of_an_extractor_that_was_trained_again_is_held_against_the_recorded_one_and_says_so() -> None:
    recorded = figure(value=10.0)
    again = recorded.model_copy(update={"identity": recorded.identity.model_copy(update={"extractor_sha256": "e" * 64})})
    (row,) = compare_figures([recorded], [figure(value=10.0, num_samples=9), again], same_setup=True)
    assert (row.verdict, row.note) == ("identical", "measured by another extractor sha256")


def test_what_differed_round_the_two_is_listed_and_what_was_never_recorded_may_have() -> None:
    rows = differences({"machine": "a", "threads": "2", "python": ""}, {"machine": "a", "threads": "1", "python": "3.11"})
    assert [(row.what, row.recorded, row.here) for row in rows] == [("threads", "2", "1"), ("python", "not recorded", "3.11")]
    assert versions_of("numpy==2.4.6\ntorch==2.13.0\n") == versions_of('{"numpy": "2.4.6", "torch": "2.13.0"}')


def a_run(**tags: str) -> RunRecord:
    return RunRecord(
        run_id="0" * 32, experiment="e", name="n", status="FINISHED", params={}, metrics={}, artifact_uri="", start_ms=0, end_ms=0,
        tags={f"genmill.{name}": value for name, value in {"family": "gpt", **tags}.items()},
    )  # fmt: skip


def packaged_code(folder: Path, text: str) -> Path:
    """A package in which one module of the code is ``text``."""
    module = folder / "code/components/models/gpt/model.py"
    module.parent.mkdir(parents=True)
    module.write_text(text)
    return folder


@pytest.mark.slow
def test_the_code_of_a_project_without_code_is_that_at_hand_or_the_packaged_one_over_it(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    package = packaged_code(tmp_path / "package", "OLDER = 1\n")
    same = restore_code(project, a_run(code_sha256=code_of("gpt", "text")), package, "text", tmp_path / "same")
    assert (same.origin, same.is_the_same) == ("the code at hand", True)
    assert digest_of(tmp_path / "same", "gpt", "text") == code_of("gpt", "text")
    other = restore_code(project, a_run(code_sha256="0" * 64), package, "text", tmp_path / "other")
    assert "packaged code over the code at hand" in other.origin
    assert not other.is_the_same
    assert (tmp_path / "other/components/models/gpt/model.py").read_text() == "OLDER = 1\n"
    assert (tmp_path / "other/components/training/fit.py").is_file()


def test_the_code_of_a_checkout_is_that_of_the_commit_and_a_dirty_one_is_said_to_be(tmp_path: Path) -> None:
    project = make_project(tmp_path / "checkout", commit=False)
    module = project.root / "components/models/gpt/model.py"
    module.parent.mkdir(parents=True)
    (project.root / "components/__init__.py").touch()
    module.write_text("COMMITTED = 1\n")
    git_in(project.root, "add", "-A")
    git_in(project.root, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "code")
    commit = git.head(project.root) or ""
    module.write_text("LATER = 1\n")
    package = packaged_code(tmp_path / "package", "PACKAGED = 1\n")
    clean = restore_code(project, a_run(git_commit=commit, dirty="false"), package, "text", tmp_path / "clean")
    assert clean.origin == f"the files of commit {commit[:12]}"
    assert (tmp_path / "clean/components/models/gpt/model.py").read_text() == "COMMITTED = 1\n"
    (tmp_path / "clean/left.py").touch()  # of one that was killed before it wrote its state
    assert restore_code(project, a_run(git_commit=commit, dirty="false"), package, "text", tmp_path / "clean") == clean
    assert not (tmp_path / "clean/left.py").exists()
    dirty = restore_code(project, a_run(git_commit=commit, dirty="true"), package, "text", tmp_path / "dirty")
    assert "not committed" in dirty.origin
    assert (tmp_path / "dirty/components/models/gpt/model.py").read_text() == "PACKAGED = 1\n"


def spec_with(start: StoredStart | None, **more: Any) -> StoredSpec:
    return StoredSpec(
        model="gpt-x", family="gpt", size="tiny", seed=0, start=start, dataset="d", data_version="v1", data_sha256="d", identity="i", project=Path("/p"),
        run_dir=Path("/r"), tracking_uri="sqlite://", experiment="e", mlflow_run_id="m", **more,
    )  # fmt: skip


def test_the_weights_that_a_model_began_with_must_be_there_as_they_were(tracker: Tracker, package: Package, tmp_path: Path) -> None:
    version = register(tracker, package)
    start = StoredStart(ref=version.ref, sha256=version.tag("package_sha256"), folder=Path("/gone"))
    found = find_start(tracker, spec_with(start), tmp_path)
    assert found is not None
    assert (found.folder / "model.safetensors").is_file()
    for missing in (start.model_copy(update={"sha256": "0" * 64}), start.model_copy(update={"ref": "gone/1"})):
        with pytest.raises(UserError, match="which is not here as it was: restore that version"):
            find_start(tracker, spec_with(missing), tmp_path)
    folder = StoredStart(ref="exported", sha256="0" * 64, folder=tmp_path / "gone", kind="transformers")
    with pytest.raises(UserError, match="restore that folder"):
        find_start(tracker, spec_with(folder), tmp_path)


def test_params_that_were_changed_or_never_stored_are_not_trained_with(tracker: Tracker) -> None:
    run_id = tracker.start_run("digits", "a run", {}, {})
    with pytest.raises(UserError, match="stored no params"):
        stored_spec(tracker, tracker.get_run(run_id))
    text = spec_with(None, later="kept").model_dump_json()
    tracker.log_text(run_id, text, SPEC_ARTIFACT)
    assert stored_spec(tracker, tracker.get_run(run_id)).model_dump()["later"] == "kept"  # what other code wrote is passed on
    tracker.set_tags(run_id, {"spec_sha256": hashlib.sha256(b"other").hexdigest()})
    with pytest.raises(UserError, match="is not what the run stored"):
        stored_spec(tracker, tracker.get_run(run_id))


def test_a_named_extractor_is_found_in_the_project_that_it_was_named_in_and_what_was_not_stored_is_not_passed_on(tmp_path: Path) -> None:
    extractor = {"kind": "inception", "path": "extractors/inception.pt", "sha256": "a" * 64}
    places = {"project": tmp_path / "again/project"}
    placed = spec_with(None, evaluation={"num_samples": 5, "extractor": extractor}).placed(tmp_path / "own", places)
    passed = json.loads(placed.as_json())
    assert passed["evaluation"] == {"num_samples": 5, "extractor": {**extractor, "path": str(tmp_path / "own/extractors/inception.pt")}}
    assert passed["project"] == str(tmp_path / "again/project")
    for stored in ({"num_samples": 5}, {"extractor": {"kind": "own", "path": "", "sha256": ""}}):
        assert json.loads(spec_with(None, evaluation=stored).placed(tmp_path / "own", places).as_json())["evaluation"] == stored
    assert "evaluation" not in json.loads(spec_with(None).placed(tmp_path / "own", places).as_json())


def test_a_distribution_whose_name_is_gone_keeps_no_run_from_recording_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "left-1.0.dist-info").mkdir()
    for folder, described in (("nameless-1.0", "Version: 1.0"), ("whole-2.0", "Name: whole\nVersion: 2.0")):
        (tmp_path / f"{folder}.dist-info").mkdir()
        (tmp_path / f"{folder}.dist-info/METADATA").write_text(f"Metadata-Version: 2.1\n{described}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert installed() == "whole==2.0\n"
