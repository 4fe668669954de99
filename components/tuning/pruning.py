"""Which trials are not worth their end.

Optuna's pruners serve studies of one objective, and a figure such as the Fréchet distance is only there when a trial is done. So what is looked at is the
validation loss, at every validation, and the rule is our own: a trial stops where the lowest loss that it has reached is above that of three quarters of the
trials that finished before it, at the same step. The loss only stands in for the figures that are sought, so the rule is milder than the usual
median. Losses of trials that differ in one of the family's `loss_settings` measure different things and are not compared; a model
without a validation loss (a GAN) is never pruned.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from components.tuning.records import TrialRecord

LEAST_TRIALS = 4
"""Finished trials before one can be pruned."""
EARLIEST = 1 / 3
"""Share of the steps before which nothing is pruned: while the rate of learning still rises, a low one looks worse than it is."""


def prune_above(records: Iterable[TrialRecord], params: Mapping[str, Any], loss_settings: Sequence[str], steps: int) -> dict[int, float]:
    """By step the lowest validation loss so far above which a trial of ``params`` and ``steps`` stops; empty while too little is known."""
    mattering = [name for name in loss_settings if name in params]
    peers = [one for one in records if one.status == "finished" and one.losses and all(one.params[name] == params[name] for name in mattering)]
    if len(peers) < LEAST_TRIALS:
        return {}
    lowest = [_lowest_so_far(one.losses) for one in peers]
    shared = sorted(set.intersection(*(set(curve) for curve in lowest)))
    looked_at = [step for step in shared if EARLIEST * steps <= step < steps]
    return {step: statistics.quantiles([curve[step] for curve in lowest], n=4, method="inclusive")[2] for step in looked_at}


def _lowest_so_far(losses: Mapping[int, float]) -> dict[int, float]:
    lowest, found = float("inf"), {}
    for step, loss in sorted(losses.items()):
        lowest = min(lowest, loss)
        found[step] = lowest
    return found
