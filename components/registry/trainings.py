"""How far a model's figures move from one training to the next: the same training from other seeds beside it."""

from collections.abc import Sequence

from components.evaluation.protocol import Figure, find_comparable
from components.registry.stored import store_figures, stored_figures
from components.tracking import MetricPoint, Tracker

TRAININGS_TAG = "trainings"
"""Of a run: the ids of the runs from other seeds that its uncertainty was taken over."""
REPLICATE_TAG = "replicate_of"
"""Of a run from another seed: the identity of the one whose uncertainty it serves. Such a run registers no model."""


def record_trainings(tracker: Tracker, run_id: str, others: Sequence[str], headline: Sequence[str]) -> tuple[Figure, ...]:
    """Store with the figures of ``run_id`` what the runs ``others`` measured under the same protocol, and return them.

    Of the figures named in ``headline`` the standard deviation becomes a metric, `test/NAME_trainings_std`. Doing it again changes nothing.
    """
    elsewhere = [stored_figures(tracker, other) for other in others]
    figures = tuple(_over_trainings(figure, elsewhere) for figure in stored_figures(tracker, run_id))
    store_figures(tracker, run_id, figures)
    run = tracker.get_run(run_id)
    steps, ended = int(run.params.get("max_steps") or 0), run.end_ms or run.start_ms
    shown = [figure for figure in figures if figure.name in headline and figure.trainings]
    tracker.log_metrics(run_id, [MetricPoint(f"test/{one.name}_trainings_std", one.uncertainty or 0.0, steps, ended) for one in shown])
    tracker.set_tags(run_id, {TRAININGS_TAG: ",".join(others)})
    return figures


def _over_trainings(figure: Figure, elsewhere: Sequence[Sequence[Figure]]) -> Figure:
    """``figure`` with its values over the trainings; as it is where one of them measured it under another protocol or not at all."""
    found = [find_comparable(figure, figures) for figures in elsewhere]
    values = [other.value for other in found if other is not None]
    return figure.model_copy(update={"trainings": (figure.value, *values) if len(values) == len(found) else ()})
