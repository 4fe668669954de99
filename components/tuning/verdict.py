"""Which trial is the best, and whether what it says is worth a change of params.yaml. Pure functions of what was measured."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from components.params import Strict
from components.tuning.records import Objectives, TrialRecord


class Verdict(Strict):
    """What comes of a search."""

    offered: bool
    sentence: str
    settings: dict[str, Any] = {}
    """What differs from the present settings, of the best trial."""


def pareto_front(records: Sequence[TrialRecord], objectives: Objectives) -> list[TrialRecord]:
    """The trials that no other one is better than in one objective and as good in the others."""
    costs = {one.number: found for one in records if one.status == "finished" and (found := objectives.costs(one)) is not None}
    return [one for one in records if one.number in costs and not any(_dominates(other, costs[one.number]) for other in costs.values())]


def best_trial(records: Sequence[TrialRecord], objectives: Objectives) -> TrialRecord:
    """The best by the primary figure among those whose guard is not worse than that of the present settings by more than its spread.

    ``records`` begin with the trial of the present settings. No better one is dominated, so it stands on the Pareto front.
    """
    present = records[0]
    fitting = [one for one in pareto_front(records, objectives) if _guarded([present], [one], objectives)]
    return min(fitting, key=lambda one: _costs(one, objectives)[0], default=present)


def judge(present: Sequence[TrialRecord], winner: Sequence[TrialRecord], objectives: Objectives, settings: dict[str, Any]) -> Verdict:
    """Whether ``settings`` are offered: trained from the same fresh seeds as the present ones, they must be better by more than two trainings differ.

    That is, by the standard deviation of the difference of two trainings, sqrt(s_present² + s_winner²), and their guard not be worse by more than it.
    """
    if any(one.status != "finished" for one in (*present, *winner)):
        broken = next(one for one in (*winner, *present) if one.status != "finished")
        return Verdict(offered=False, sentence=f"The present settings stay: the confirmation from seed {broken.seed} {broken.status} ({broken.reason}).")
    before, after = ([_costs(one, objectives)[0] for one in side] for side in (present, winner))
    gain, spread = statistics.mean(before) - statistics.mean(after), math.hypot(_deviation(before), _deviation(after))
    told = f"{objectives.primary} {_told(objectives, before)} now, {_told(objectives, after)} then, over {len(before)} trainings from fresh seeds"
    if not _guarded(present, winner, objectives):
        return Verdict(offered=False, sentence=f"The present settings stay: {objectives.guard} would get worse ({told}).")
    if gain <= spread:
        return Verdict(offered=False, sentence=f"The present settings stay: the difference is within what two trainings differ by, {spread:.3g} ({told}).")
    cost = " and ".join(f"{statistics.mean(one.seconds for one in side):.0f} s {when}" for side, when in ((present, "now"), (winner, "then")))
    sentence = f"Better by {gain:.3g} where two trainings differ by {spread:.3g}: {told}; one with its evaluation takes {cost}."
    return Verdict(offered=True, sentence=sentence, settings=settings)


def _guarded(present: Sequence[TrialRecord], other: Sequence[TrialRecord], objectives: Objectives) -> bool:
    """Whether the guard of ``other`` is no worse than that of ``present`` by more than its spread: over trainings, or that of the one figure."""
    if not objectives.guard:
        return True
    before, after = ([_costs(one, objectives)[1] for one in side] for side in (present, other))
    figure = present[0].figure(objectives.guard)
    spread = math.hypot(_deviation(before), _deviation(after)) if len(before) > 1 else (figure.uncertainty or 0.0 if figure else 0.0)
    return statistics.mean(after) - statistics.mean(before) <= spread


def _costs(trial: TrialRecord, objectives: Objectives) -> tuple[float, ...]:
    found = objectives.costs(trial)
    assert found is not None, "a finished trial has its figures"
    return found


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _told(objectives: Objectives, costs: Sequence[float]) -> str:
    value = statistics.mean(costs)
    return f"{value if objectives.goal == 'min' else -value:.4g} ± {_deviation(costs):.2g}"


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))
