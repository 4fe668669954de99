"""Real trials in processes of their own: scored on the validation split, pruned, diverged; each a child run."""

from typing import Any

import pytest

from components.data.dataset import Dataset
from components.errors import UserError
from components.evaluation.validation import require_validation, validation_for_test
from components.models.family import find_family
from components.params import Block
from components.project import Project
from components.tracking import Tracker
from components.tuning.records import Search, TrialRecord
from components.tuning.runs import PARENT_TAG
from components.tuning.space import load_space
from components.tuning.trial import run_trial
from tests.training.conftest import MakeSpec


def search_for(make_spec: MakeSpec, tracker: Tracker, **changes: Any) -> Search:
    spec = make_spec("gpt", validate_every=2, **changes)
    spec = spec.model_copy(update={"experiment": "pydocs", "tracking_uri": tracker.uri, "project": spec.project})
    config = find_family("gpt").config.model_validate(spec.config)
    space = load_space(find_family("gpt"), config, Block({}, (), {}, spec.project))
    return Search(spec=spec, space=space, steps=config.max_steps, validation="passed")


def done(search: Search, tracker: Tracker, number: int, bounds: dict[int, float], **params: Any) -> TrialRecord:
    return run_trial(search, tracker, "parent", number, {**search.present, **params}, bounds, lambda event: None)


@pytest.mark.slow
def test_a_trial_that_diverges_and_one_that_cannot_be_are_recorded_with_their_reason(make_spec: MakeSpec, tracker: Tracker) -> None:
    search = search_for(make_spec, tracker, max_steps=60, checkpoint_every=60)
    wild = done(search, tracker, 1, {}, learning_rate=1e38, embedding_learning_rate=1e38)
    assert wild.status == "diverged"
    assert "lower learning_rate" in wild.reason
    unfit = done(search, tracker, 2, {}, width=17)
    assert unfit.status == "failed"
    assert "width 17 is no multiple" in unfit.reason
    assert [tracker.get_run(one.run_id).status for one in (wild, unfit)] == ["FAILED", "FAILED"]


@pytest.mark.slow
def test_a_hopeless_learning_rate_is_pruned_at_the_step_where_it_shows(make_spec: MakeSpec, tracker: Tracker) -> None:
    search = search_for(make_spec, tracker)
    record = done(search, tracker, 5, {2: 20.0, 6: 5.0}, learning_rate=1e-9, embedding_learning_rate=1e-9)
    assert record.status == "pruned"
    assert "pruned at step 6: its validation loss" in record.reason
    assert sorted(record.losses) == [2, 4, 6]
    assert not record.figures
    run = tracker.get_run(record.run_id)
    assert (run.status, run.name, run.tags[PARENT_TAG]) == ("KILLED", "gpt-pydocs trial 6", "parent")
    assert float(run.params["learning_rate"]) == 1e-9


def test_the_validation_rows_stand_where_the_test_rows_were_and_nothing_kept_is_shared(dataset_project: Project) -> None:
    dataset = Dataset.open(dataset_project, "digits")
    view = validation_for_test(dataset)
    assert view.table("test", columns=["id"]) == dataset.table("validation", columns=["id"])
    assert view.table("train", columns=["id"]) == dataset.table("train", columns=["id"])
    assert view.manifest.rows("validation") == 0
    assert view.manifest.sha256 != dataset.manifest.sha256


def test_a_dataset_without_enough_validation_rows_is_refused_with_the_fix(dataset_project: Project) -> None:
    require_validation(Dataset.open(dataset_project, "digits"))
    dataset = Dataset.open(dataset_project, "captions")  # 200 rows, a tenth of them for validation
    with pytest.raises(UserError, match="scores on the validation split as if it were the test split, and that is too small"):
        require_validation(dataset)
    manifest = dataset.manifest.model_copy(update={"shards": tuple(shard for shard in dataset.manifest.shards if shard.split != "validation")})
    with pytest.raises(UserError, match=r"has no validation split, .* give validation a part in datasets\.captions\.split"):
        require_validation(Dataset(dataset_project, manifest))
