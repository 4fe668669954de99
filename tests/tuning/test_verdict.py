"""Which trial is the best, which are not worth their end, and what is offered."""

import pytest

from components.tuning.pruning import LEAST_TRIALS, prune_above
from components.tuning.records import Objectives
from components.tuning.verdict import best_trial, judge, pareto_front
from tests.tuning.trials import AIMS, trial

SETTINGS = {"learning_rate": 0.003}


def test_the_front_holds_what_nothing_is_better_than_in_both() -> None:
    records = [trial(0, 10, 2.0), trial(1, 8, 2.5), trial(2, 9, 2.4), trial(3, 9, 2.6), trial(4)]
    assert [one.number for one in pareto_front(records, AIMS)] == [0, 1, 2]


def test_the_best_is_that_of_the_primary_figure_whose_guard_is_no_worse_than_now_by_its_spread() -> None:
    records = [trial(0, 10, 2.0), trial(1, 2, 2.5), trial(2, 8, 2.09), trial(3, 9, 1.5), trial(4)]
    assert best_trial(records, AIMS).number == 2  # the spread of the guard is 0.1
    alone = Objectives(primary="fid_own", goal="min")
    assert best_trial(records, alone).number == 1
    assert best_trial([trial(0, 10, 2.0), trial(1, 11, 1.0)], AIMS).number == 0


@pytest.mark.parametrize(
    ("after", "offered"),
    [([4.0, 4.2, 4.1], True), ([9.0, 9.4, 9.2], False), ([8.0, 12.0, 4.0], False), ([10.1, 10.2, 10.3], False)],
    ids=["far better", "within the spread", "better on average, but it moves as much", "worse"],
)
def test_settings_are_offered_only_when_they_are_better_than_two_trainings_differ(after: list[float], offered: bool) -> None:
    present = [trial(0, fid, seed=seed, seconds=20) for seed, fid in enumerate((9.0, 10.0, 11.0))]
    winner = [trial(3, fid, seed=seed, seconds=55) for seed, fid in enumerate(after)]
    verdict = judge(present, winner, AIMS, SETTINGS)
    assert verdict.offered is offered
    assert verdict.settings == (SETTINGS if offered else {})
    assert "over 3 trainings from fresh seeds" in verdict.sentence
    assert ("takes 20 s now and 55 s then" in verdict.sentence) is offered, "what it costs belongs to an offer"
    assert verdict.sentence.startswith("Better by" if offered else "The present settings stay")


def test_settings_that_make_the_guard_worse_are_not_offered() -> None:
    present = [trial(0, 10.0 + seed / 10, 2.0 + seed / 100, seed=seed) for seed in range(3)]
    winner = [trial(3, 1.0 + seed / 10, 2.2 + seed / 100, seed=seed) for seed in range(3)]
    assert "bits_per_dim would get worse" in judge(present, winner, AIMS, SETTINGS).sentence


def test_a_confirmation_that_failed_offers_nothing_and_says_why() -> None:
    broken = trial(3, status="diverged", reason="the loss was not finite", seed=2)
    verdict = judge([trial(0, 10), trial(0, 11)], [trial(3, 2), broken], AIMS, SETTINGS)
    assert not verdict.offered
    assert "from seed 2 diverged (the loss was not finite)" in verdict.sentence


def test_a_figure_of_which_more_is_better_is_ranked_the_other_way_round() -> None:
    aims = Objectives(primary="psnr", goal="max")
    like = trial(0, 1.0).figures[0]
    values = [like.model_copy(update={"name": "psnr", "goal": "max", "value": value}) for value in (20.0, 30.0, 25.0)]
    records = [trial(number, figures=(value,), status="finished") for number, value in enumerate(values)]
    assert best_trial(records, aims).number == 1
    assert judge(records[:1] * 2, records[1:2] * 2, aims, SETTINGS).offered
    assert "psnr 20 ± 0 now, 30 ± 0 then" in judge(records[:1] * 2, records[1:2] * 2, aims, SETTINGS).sentence


def test_a_trial_stops_above_what_three_quarters_of_the_finished_ones_had_reached_by_then() -> None:
    records = [trial(number, 1.0, losses={10: 5.0 + number, 20: 3.0 + number, 30: 9.0}) for number in range(LEAST_TRIALS)]
    pruned = trial(9, status="pruned", losses={10: 100.0})
    bounds = prune_above([*records, pruned], {}, (), 30)
    assert bounds == {10: 7.25, 20: 5.25}  # and never at the last validation: what is trained is scored
    assert prune_above([*records, pruned], {}, (), 50) == {20: 5.25, 30: 5.25}, "nor in the first third"
    assert prune_above(records[1:], {}, (), 30) == {}
    assert prune_above([trial(number, 1.0) for number in range(9)], {}, (), 30) == {}, "a model without a validation loss is not pruned"


def test_losses_that_measure_different_things_are_not_compared() -> None:
    records = [trial(number, 1.0, params={"levels": 17 if number else 256}, losses={10: 5.0, 20: 4.0}) for number in range(LEAST_TRIALS)]
    assert prune_above(records, {"levels": 17}, ("levels",), 20) == {}
    assert prune_above(records, {"levels": 17}, ("mixtures",), 20) == {10: 5.0}
