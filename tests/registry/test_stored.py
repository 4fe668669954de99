"""What a run stored of its evaluations is read back whole."""

from components.registry.package import Package
from components.registry.stored import every_stored_figure, store_rescored, stored_figures
from components.tracking import Tracker
from tests.stores import figure, register


def test_what_a_version_was_scored_on_again_stands_beside_its_own_figures(tracker: Tracker, package: Package) -> None:
    run_id = register(tracker, package, fid=10.0).run_id
    assert every_stored_figure(tracker, run_id) == stored_figures(tracker, run_id)
    again = (figure(value=12.0, num_samples=900),)
    store_rescored(tracker, run_id, "v2", again)
    assert every_stored_figure(tracker, run_id) == (*stored_figures(tracker, run_id), *again)
    assert [one.value for one in stored_figures(tracker, run_id)] == [10.0]
