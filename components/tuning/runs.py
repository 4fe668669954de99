"""What MLflow has of a search: a run of its own, and under it one for each training."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from components import git
from components.tracking import MetricPoint, Tracker
from components.tuning.records import Search, TrialRecord
from components.tuning.study import Study
from components.tuning.verdict import best_trial

STUDY_TAG = "study"
"""Of the run of a search and of its trials: the study that they belong to. Such runs have no tag `model`, for they train none that anybody gets."""
KEY_TAG = "trial_key"
"""Tells a run of a study from all others, so that an interrupted one goes on in it."""
PARENT_TAG = "mlflow.parentRunId"


class TrialInterrupted(Exception):
    """It was asked to stop from elsewhere; its checkpoint is kept."""


def open_search(tracker: Tracker, search: Search) -> str:
    """The run of ``search``; the same as before where the search goes on."""
    spec = search.spec
    tags = {"git_commit": git.head(spec.project) or ""}
    space = {f"space_{name}": part.model_dump_json(exclude_defaults=True) for name, part in search.space.items()}
    run_id, is_new = _open(tracker, search, "search", f"tune {search.model}", tags, {**space, "steps": search.steps})
    if is_new:
        source = f"data/{spec.dataset}/{spec.data_version}"
        tracker.log_dataset(run_id, name=spec.dataset, digest=spec.data_version, source=source, context="validation", profile={})
    return run_id


def open_trial(tracker: Tracker, search: Search, parent: str, key: str, name: str, record: TrialRecord, steps: int) -> str:
    """The run of one training under that of the search, or the interrupted one of the same ``key`` again."""
    spec = search.spec
    params = {**search.present, **record.params, "seed": record.seed, "max_steps": steps, "family": spec.family, "size": spec.size}
    return _open(tracker, search, key, name, {PARENT_TAG: parent}, params)[0]


def log_trial(tracker: Tracker, run_id: str, study: Study, record: TrialRecord) -> None:
    """A trial as points on the curves of the search's own run."""
    aims, now_ms = study.objectives, int(time.time() * 1000)
    best = best_trial(study.records, aims).figure(aims.primary)
    found = {f"trial/{name}": record.figure(name) for name in aims.names} | {f"best/{aims.primary}": best}
    points = [MetricPoint(key, figure.value, record.number, now_ms) for key, figure in found.items() if figure is not None]
    tracker.log_metrics(run_id, points)


@contextlib.contextmanager
def ended(tracker: Tracker, run_id: str) -> Iterator[Callable[[str], None]]:
    """The run ends with the status that the block gives, KILLED where it is interrupted, else FAILED."""
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


def _open(tracker: Tracker, search: Search, key: str, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> tuple[str, bool]:
    """The run of ``key`` in the study, and whether it was begun just now."""
    spec, full = search.spec, f"{search.study}/{key}"
    known = next(iter(tracker.runs_with(spec.experiment, KEY_TAG, full)), None)
    if known is not None:
        tracker.reopen_run(known.run_id, {"resumed_from": known.status.lower()})
        return known.run_id, False
    common = {
        STUDY_TAG: search.study, KEY_TAG: full, "tuned": search.model, "dataset": spec.dataset, "data_version": spec.data_version,
        "data_sha256": spec.data_sha256, "validation": search.validation, "code_sha256": search.parts["code"],
    }  # fmt: skip
    return tracker.start_run(spec.experiment, name, {**common, **tags}, params), True
