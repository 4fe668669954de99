"""The last word of a search: its best trial and the present settings, trained side by side from seeds that no trial had."""

from collections.abc import Callable, Mapping
from typing import Any

from components.tuning.records import TrialRecord
from components.tuning.study import Study
from components.tuning.verdict import Verdict, best_trial, judge

Training = Callable[[int, Mapping[str, Any], int], TrialRecord]
"""Trains the settings of a trial, by its number, from a seed."""


def confirm_best(study: Study, seeds: int, train: Training, has_time: Callable[[], bool]) -> Verdict | None:
    """What the search offers after the best trial was trained from ``seeds`` fresh seeds; None where the time is over before.

    Each training is kept in the study as it ends, so that none is done twice.
    """
    search, best = study.search, best_trial(study.records, study.objectives)
    if best.number == 0:
        return Verdict(offered=False, sentence="The present settings stay: no trial was better whose guard was no worse.")
    sides: dict[int, list[TrialRecord]] = {0: [], best.number: []}
    for seed in range(search.spec.seed + 1, search.spec.seed + 1 + seeds):
        for number, params in ((0, search.present), (best.number, best.params)):
            key = f"{number}/{seed}"
            record = study.confirmed(key)
            if record is None:
                if not has_time():
                    return None
                record = train(number, params, seed)
                study.keep_confirmed(key, record)
            sides[number].append(record)
    settings = {name: value for name, value in best.params.items() if value != search.present[name]}
    return judge(sides[0], sides[best.number], study.objectives, settings)
