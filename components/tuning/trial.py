"""One training of a search: a child run in MLflow and a process of its own, by the same path as any other run."""

import shutil
import time
from collections.abc import Callable, Mapping
from typing import Any

from components.errors import UserError
from components.models.family import TrainingConfig
from components.tracking import Tracker
from components.training.launch import LOG, Event, launch
from components.training.spec import RunResult, RunSpec, Trial
from components.tuning.records import Search, TrialRecord
from components.tuning.runs import TrialInterrupted, ended, open_trial
from components.tuning.space import changed, refusal

STATUS_TAG = "trial_status"
ENDED = {"finished": "FINISHED", "pruned": "KILLED", "diverged": "FAILED", "failed": "FAILED"}
"""How the run of a trial ends in MLflow."""


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
    run_id = open_trial(tracker, search, parent, key, name, record, base.max_steps)
    with ended(tracker, run_id) as end:
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
