"""One training of a search: a child run in MLflow and a process of its own, by the same path as any other run."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from components.errors import UserError
from components.models.family import TrainingConfig
from components.tracking import RunRecord, Tracker
from components.training.launch import LOG, Event, launch
from components.training.spec import RunResult, RunSpec, Trial
from components.tuning.records import Search, TrialRecord
from components.tuning.space import changed, refusal

STUDY_TAG = "study"
"""Of the run of a search and of its trials: the study that they belong to. Such runs have no tag `model`, for they train none that anybody gets."""
STATUS_TAG = "trial_status"
KEY_TAG = "trial_key"
"""Of a trial's run: tells it from all others, so that an interrupted one goes on in it."""
PARENT_TAG = "mlflow.parentRunId"
ENDED = {"finished": "FINISHED", "pruned": "KILLED", "diverged": "FAILED", "failed": "FAILED"}
"""How the run of a trial ends in MLflow."""


class TrialInterrupted(Exception):
    """It was asked to stop from elsewhere; its checkpoint is kept."""


def run_trial(
    search: Search, tracker: Tracker, parent: str, number: int, params: Mapping[str, Any], bounds: Mapping[int, float], on_event: Callable[[Event], None]
) -> TrialRecord:
    """Trial ``number``, of the present settings with ``params`` in place of some; it stops where its validation loss is above ``bounds``.

    Raises:
        UserError: the model cannot be trained or scored with its present settings (of trial 0); of a later trial that is what became of it.
        TrialInterrupted: it goes on from its checkpoint when it is called again.
    """
    name = f"{search.model} trial {number + 1}"
    return _train(search, tracker, parent, number, name, params, search.shortened, search.spec.seed, Trial(prune_above=dict(bounds)), on_event)


def run_confirmation(
    search: Search, tracker: Tracker, parent: str, number: int, params: Mapping[str, Any], seed: int, on_event: Callable[[Event], None]
) -> TrialRecord:
    """The settings of trial ``number`` once more, from a seed that no trial had and for as many steps as the model itself trains. Raises as `run_trial`."""
    name = f"{search.model} trial {number + 1} confirmed · seed {seed}"
    return _train(search, tracker, parent, number, name, params, search.config, seed, Trial(), on_event)


def _train(
    search: Search, tracker: Tracker, parent: str, number: int, name: str, params: Mapping[str, Any], base: TrainingConfig, seed: int, trial: Trial,
    on_event: Callable[[Event], None],
) -> TrialRecord:  # fmt: skip
    """Train and score ``base`` with ``params`` in place of some of its values; whatever becomes of it is recorded."""
    key = f"{name.removeprefix(search.model).strip().replace(' ', '-').replace('·-', '')}"
    record = TrialRecord(number=number, params=dict(params), status="failed", seed=seed)
    run_id = _open(search, tracker, parent, name, f"{search.study}/{key}", record, base.max_steps)
    with _ended(tracker, run_id) as end:
        why = refusal(base, params)
        if why:
            done = record.model_copy(update={"reason": f"its values do not fit together: {why}", "run_id": run_id})
        else:
            config = changed(base, params)
            more = {"config": config.model_dump(), "seed": seed, "identity": key, "run_dir": search.folder / key, "mlflow_run_id": run_id, "trial": trial}
            done = _launched(search.spec.model_copy(update=more), tracker, record, on_event)
        tracker.set_tags(run_id, {STATUS_TAG: done.status, "reason": done.reason})
        end(ENDED[done.status])
    return done


def _launched(spec: RunSpec, tracker: Tracker, record: TrialRecord, on_event: Callable[[Event], None]) -> TrialRecord:
    """Do the run; its folder is not needed any more, but for the log of one that failed."""
    began = time.monotonic()
    try:
        result = launch(spec, on_event)
    except UserError as error:
        if record.number == 0:
            raise
        result = RunResult(status="failed", message=str(error), mlflow_run_id=spec.mlflow_run_id)
    if result.status == "interrupted":
        raise TrialInterrupted(f"{spec.model}, trial {record.number + 1}: {result.message}")
    losses = {point.step: point.value for point in tracker.metric_history(spec.mlflow_run_id, "validation/loss")}
    if result.status == "failed" and (spec.run_dir / LOG).is_file():
        tracker.log_bytes(spec.mlflow_run_id, (spec.run_dir / LOG).read_bytes(), LOG)
    shutil.rmtree(spec.run_dir, ignore_errors=True)
    more = {
        "status": result.status, "reason": result.message, "figures": result.figures, "losses": losses, "run_id": spec.mlflow_run_id,
        "seconds": result.train_s + result.evaluate_s or time.monotonic() - began,
    }  # fmt: skip
    return TrialRecord.model_validate({**record.model_dump(), **more})


def _open(search: Search, tracker: Tracker, parent: str, name: str, key: str, record: TrialRecord, steps: int) -> str:
    """The run of a trial in MLflow, or the interrupted one of the same key again."""
    spec = search.spec
    known = next(iter(tracker.runs_with(spec.experiment, KEY_TAG, key)), None)
    if known is not None:
        tracker.reopen_run(known.run_id, {"resumed_from": known.status.lower()})
        return known.run_id
    tags = {
        STUDY_TAG: search.study, KEY_TAG: key, PARENT_TAG: parent, "dataset": spec.dataset, "data_version": spec.data_version, "data_sha256": spec.data_sha256,
        "tuned": search.model, "code_sha256": search.parts["code"], "validation": search.validation,
    }  # fmt: skip
    params = {**search.present, **record.params, "seed": record.seed, "max_steps": steps, "family": spec.family, "size": spec.size}
    return tracker.start_run(spec.experiment, name, tags, params)


@contextlib.contextmanager
def _ended(tracker: Tracker, run_id: str) -> Iterator[Callable[[str], None]]:
    """The MLflow run ends as the block says, KILLED where it is interrupted, else FAILED."""
    status = "FAILED"

    def end(how: str) -> None:
        nonlocal status
        status = how

    try:
        yield end
    except (TrialInterrupted, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        tracker.end_run(run_id, status)


def runs_of(tracker: Tracker, experiment: str, study: str) -> list[RunRecord]:
    """The run of a search and those of its trials, newest first."""
    return tracker.runs_with(experiment, STUDY_TAG, study)
