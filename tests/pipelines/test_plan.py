"""What is refused before any data is prepared, and what a build would do with a model and its trainings from other seeds."""

from pathlib import Path

import pytest

from components.data.publish import DataVersion
from components.errors import UserError
from components.project import Project
from components.registry.package import Package
from components.registry.trainings import REPLICATE_TAG, record_trainings
from components.tracking import Tracker
from components.training.identity import code_of, params_sha256
from pipelines.catalog import ModelEntry, load_catalog
from pipelines.plan import ModelPlan, check_starts, evaluation_of, identity_of, plan_model, start_of
from tests.stores import register

PARAMS = """\
datasets:
  digits:
    modality: image
    source: {kind: digits}
models:
  first:
    family: gan
    dataset: digits
  second:
    family: gan
    dataset: digits
    init_from: BEGINNING
run: [first]
"""


def entries(tmp_path: Path, beginning: str) -> tuple[Project, list[ModelEntry]]:
    project = Project(tmp_path)
    project.params.write_text(PARAMS.replace("BEGINNING", beginning))
    return project, load_catalog(project).choose(["first", "second"])


def test_weights_of_another_family_are_refused_before_the_data_is_prepared(tmp_path: Path, tracker: Tracker, package: Package) -> None:
    register(tracker, package)
    project, chosen = entries(tmp_path, "vae-digits/1")
    with pytest.raises(UserError, match="second is of the family gan and cannot begin with vae-digits/1, which is of the family vae: choose one of gan"):
        check_starts(project, tracker, chosen)


def test_weights_that_the_same_build_makes_are_waited_for_and_others_are_not(tmp_path: Path, tracker: Tracker) -> None:
    project, chosen = entries(tmp_path, "first@candidate")
    check_starts(project, tracker, chosen)
    with pytest.raises(UserError, match="first"):
        check_starts(project, tracker, chosen[1:])


def test_a_model_goes_on_from_a_version_of_its_own_that_must_be_there(tmp_path: Path, tracker: Tracker, package: Package) -> None:
    project, chosen = entries(tmp_path, "second@champion")
    assert [entry.name for entry in chosen] == ["first", "second"]
    with pytest.raises(UserError, match="second"):
        check_starts(project, tracker, chosen)
    project.params.write_text(PARAMS.replace("BEGINNING", "vae-digits/1").replace("second", "vae-digits").replace("family: gan", "family: vae"))
    register(tracker, package)
    (entry,) = load_catalog(project).choose(["vae-digits"])
    check_starts(project, tracker, [entry])
    start = start_of(project, tracker, entry)
    assert start is not None
    assert start.ref == "vae-digits/1"


VERSION = DataVersion(
    dataset="digits",
    version="v1",
    sha256="d" * 64,
    tag="data/digits/v1",
    commit="c" * 40,
    created="",
    actor="",
    rows={},
    bytes=0,
    validation="passed",
    source="",
)


def seeded(tmp_path: Path, seeds: int) -> tuple[Project, ModelEntry]:
    project = Project(tmp_path)
    project.params.write_text(PARAMS.replace("    init_from: BEGINNING\n", ""))
    return project, load_catalog(project, seeds=seeds).model("first")


def finished(tracker: Tracker, entry: ModelEntry, **tags: str) -> str:
    run_id = tracker.start_run("digits", entry.name, {"identity": identity_of(Project(Path()), entry, VERSION), "model": entry.name, **tags}, {})
    tracker.end_run(run_id)
    return run_id


def planned(tmp_path: Path, tracker: Tracker, seeds: int) -> ModelPlan:
    project, entry = seeded(tmp_path, seeds)
    return plan_model(project, tracker, entry, VERSION)


def test_trainings_from_other_seeds_are_planned_until_their_figures_are_known(tmp_path: Path, tracker: Tracker) -> None:
    _, entry = seeded(tmp_path, 3)
    run_id = finished(tracker, entry, registered="1")
    assert planned(tmp_path, tracker, 1).is_done
    plan = planned(tmp_path, tracker, 3)
    assert (plan.action, plan.work, plan.is_done, plan.why) == ("reuse", "train", False, "nothing changed; 2 more of 3 seeds")
    others = [finished(tracker, one, **{REPLICATE_TAG: plan.identity}) for one in entry.replicates()]
    assert (planned(tmp_path, tracker, 3).work, planned(tmp_path, tracker, 3).why) == ("train", "nothing changed")
    record_trainings(tracker, run_id, others, ["fid_own"])
    assert planned(tmp_path, tracker, 3).is_done
    assert not planned(tmp_path, tracker, 2).is_done  # its uncertainty would be over fewer


def test_a_training_that_only_served_another_is_no_finished_model_and_not_what_a_change_is_told_by(tmp_path: Path, tracker: Tracker) -> None:
    _, entry = seeded(tmp_path, 2)
    run_id = finished(tracker, entry, registered="1")
    (other,) = entry.replicates()
    finished(tracker, other, **{REPLICATE_TAG: "1" * 64})
    latest = tracker.latest_run("digits", "first")
    assert latest is not None
    assert latest.run_id == run_id
    alone = plan_model(Project(tmp_path), tracker, other, VERSION)
    assert (alone.action, alone.why) == ("resume", "its run was finished")


def test_rows_that_are_altered_otherwise_when_they_are_drawn_make_another_run_of_the_same_data(tmp_path: Path, tracker: Tracker) -> None:
    project = Project(tmp_path)
    plain = PARAMS.replace("    init_from: BEGINNING\n", "")
    flipped = plain.replace("{kind: digits}\n", "{kind: digits}\n    augment: {when: load, flip: true}\n")
    why = {}
    for name, text in (("plain", plain), ("flipped", flipped), ("shifted", flipped.replace("flip: true", "shift: 1"))):
        project.params.write_text(text)
        entry = load_catalog(project).model("first")
        why[name] = plan_model(project, tracker, entry, VERSION).why
        params = params_sha256(entry.config, 0, evaluation_of(project, entry), None, entry.augment)
        finished(tracker, entry, registered="1", params_sha256=params, code_sha256=code_of("gan", "image"), data_sha256=VERSION.sha256)
        assert plan_model(project, tracker, entry, VERSION).is_done
    assert why == {"plain": "never trained", "flipped": "params changed", "shifted": "params changed"}
    project.params.write_text(plain)
    assert plan_model(project, tracker, load_catalog(project).model("first"), VERSION).is_done
