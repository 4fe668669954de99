"""A search on the command line: stopped in the midst of a trial it goes on to exactly as many as were asked for, and what holds is offered."""

import signal
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from components.data.publish import find_version
from components.project import Project
from components.tracking import Tracker
from components.tuning.records import TrialRecord
from components.tuning.runs import PARENT_TAG, STUDY_TAG
from components.tuning.study import Study
from pipelines.catalog import load_catalog
from pipelines.tune import search_of
from tests.workshop import GENMILL, SMALL_GPT, Workshop, clean_environment

pytestmark = pytest.mark.slow
TUNE = ("tune", "gpt-pydocs", "--trials", "3", "--steps", "12", "--seeds", "2")
ASLEEP = {**SMALL_GPT, "learning_rate": 1e-9, "embedding_learning_rate": 1e-9, "head_learning_rate": 1e-9}
"""Learns nothing, so that there is something better to find."""
SPACE = {
    "learning_rate": {"choices": [0.01, 0.02]}, "embedding_learning_rate": {"choices": [0.01, 0.02]}, "head_learning_rate": {"choices": [0.004, 0.008]},
    "batch_size": {"choices": [4]}, "dropout": False, "weight_decay": False,
}  # fmt: skip


@pytest.fixture
def asleep(shop: Workshop) -> Iterator[Workshop]:
    """The project with a model to improve, whose block has a comment; params.yaml is put back."""
    path = shop.root / "params.yaml"
    before = path.read_text()
    shop.edit_params(models__gpt_DASH_pydocs__config=ASLEEP, models__gpt_DASH_pydocs__tune=SPACE)
    path.write_text(path.read_text().replace("  gpt-pydocs:\n", "  gpt-pydocs: # about Python\n"))
    yield shop
    path.write_text(before)


def test_a_search_that_is_stopped_goes_on_to_exactly_as_many_trials_and_writes_what_holds(asleep: Workshop) -> None:
    shop = asleep
    running = subprocess.Popen([str(GENMILL), *TUNE], cwd=shop.root, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    for line in running.stderr:
        if "train gpt-pydocs trial 2" in line:
            break
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=120)
    assert running.returncode == 130, told
    assert "the trials that are done, and the last checkpoint, are kept" in told
    assert "go on with: genmill tune gpt-pydocs --trials 3" in told
    assert "Traceback" not in told

    _confirm_by_hand(Project(shop.root))
    outcome = shop.json(*TUNE, "--write")
    assert [trial["number"] for trial in outcome["trials"]] == [0, 1, 2]
    assert {trial["status"] for trial in outcome["trials"]} == {"finished"}
    figures = [figure for trial in outcome["trials"] for figure in trial["figures"]]
    assert {figure["identity"]["split"] for figure in figures} == {"validation"}
    assert not list((shop.root / ".genmill" / "tuning" / outcome["study"]).glob("trial-*")), "no checkpoints are kept"
    tracker = Tracker.of(Project(shop.root))
    runs = tracker.runs_with("pydocs", STUDY_TAG, outcome["study"])
    assert sorted(run.name for run in runs if run.tags.get(PARENT_TAG) == outcome["run_id"]) == [f"gpt-pydocs trial {number}" for number in (1, 2, 3)]
    assert [run.name for run in runs if PARENT_TAG not in run.tags] == ["tune gpt-pydocs"]
    assert {run.status for run in runs} == {"FINISHED"}
    measured = {key for run in runs for key in run.metrics}
    assert {"validation/loss", "validation/bits_per_byte", "best/bits_per_byte"} <= measured
    assert not any(key.startswith("test/") for key in measured), "the test split is left alone"
    last = tracker.latest_run("pydocs", "gpt-pydocs")
    assert last is not None
    assert last.tag("registered"), "nothing takes a trial for a run that trained the model"
    assert "Every trial" in (shop.root / "reports" / "tune-gpt-pydocs.html").read_text()

    best = outcome["trials"][outcome["best"]]
    assert outcome["best"] != 0
    assert outcome["written"]
    written = (shop.root / "params.yaml").read_text()
    found = yaml.safe_load(written)["models"]["gpt-pydocs"]["config"]
    assert found == {**ASLEEP, **best["params"]}
    assert "  gpt-pydocs: # about Python\n" in written


def _confirm_by_hand(project: Project) -> None:
    """Keep the trainings of the confirmation as if they had been done: those of any trial are far better than those of the present settings."""
    entry, tracker = load_catalog(project).model("gpt-pydocs"), Tracker.of(project)
    study = Study(search_of(project, tracker, entry, find_version(project, "pydocs", "v1"), 12), project.state / "tuning" / "gpt-pydocs.journal")
    (first,) = study.records
    for number in (0, 1, 2):
        for seed in (1, 2):
            study.keep_confirmed(f"{number}/{seed}", _with_primary(first, 9.0 + seed / 10 if number == 0 else 2.0 + seed / 10))


def _with_primary(record: TrialRecord, value: float) -> TrialRecord:
    figures = tuple(figure.model_copy(update={"value": value}) if figure.name == "bits_per_byte" else figure for figure in record.figures)
    return record.model_copy(update={"figures": figures})


def test_an_empty_range_is_one_sentence_with_the_fix(asleep: Workshop) -> None:
    asleep.edit_params(models__gpt_DASH_pydocs__tune={"learning_rate": {"low": 0.1, "high": 0.01}})
    told = asleep.run("tune", "gpt-pydocs", code=2).stderr
    assert "is empty: give a `low` below its `high`" in told
    assert len(told.strip().splitlines()) == 1
