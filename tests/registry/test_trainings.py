"""The same training from other seeds gives the figures of a run their uncertainty."""

import pytest

from components.evaluation.evidence import Evidence
from components.evaluation.protocol import Figure
from components.registry.stored import store_evidence, stored_figures
from components.registry.trainings import record_trainings
from components.tracking import Tracker
from tests.stores import figure


def run_of(tracker: Tracker, *figures: Figure) -> str:
    run_id = tracker.start_run("digits", "a run", {}, {"max_steps": 40})
    store_evidence(tracker, run_id, Evidence(figures))
    tracker.end_run(run_id)
    return run_id


def test_a_figure_carries_the_values_of_every_training_and_their_deviation(tracker: Tracker) -> None:
    main, second, third = (run_of(tracker, figure(value=value), figure("kid_own", value / 10)) for value in (10.0, 12.0, 14.0))
    recorded = record_trainings(tracker, main, [second, third], ["fid_own"])
    assert stored_figures(tracker, main) == recorded
    assert [one.trainings for one in recorded] == [(10.0, 12.0, 14.0), (1.0, 1.2, 1.4)]
    assert recorded[0].uncertainty == pytest.approx(2.0)
    assert recorded[0].uncertainty_over == "3 trainings from other seeds"
    assert tracker.get_run(main).metrics == {"test/fid_own_trainings_std": pytest.approx(2.0)}
    assert tracker.get_run(main).tag("trainings") == f"{second},{third}"


def test_a_training_under_another_protocol_gives_no_uncertainty(tracker: Tracker) -> None:
    main, other = run_of(tracker, figure(value=10.0)), run_of(tracker, figure(value=12.0, num_samples=300))
    (recorded,) = record_trainings(tracker, main, [other], ["fid_own"])
    assert recorded.trainings == ()
    assert recorded.uncertainty is None
    assert tracker.get_run(main).metrics == {}


def test_recording_twice_leaves_one_point(tracker: Tracker) -> None:
    main, other = run_of(tracker, figure(value=10.0)), run_of(tracker, figure(value=12.0))
    for _ in range(2):
        record_trainings(tracker, main, [other], ["fid_own"])
    assert [point.step for point in tracker.metric_history(main, "test/fid_own_trainings_std")] == [40]
