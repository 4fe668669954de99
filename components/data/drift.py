"""How far a distribution has moved between two versions, from the counts that are kept with each."""

import math
from collections.abc import Mapping

from components.data.profile import Lengths, Profile
from components.params import Strict

MOVED, FAR = 0.1, 0.25
"""The customary limits of the population stability index: below the first nothing moved, above the second it is another distribution."""


class Drift(Strict):
    """The population stability index of one column: Σ (q - p) ln(q / p) over its bins, with p and q the shares before and after."""

    column: str
    """`label`, or the name of a length."""
    value: float
    chance: float
    """What the index would be on average for two draws of these sizes from one distribution: (bins - 1) (1/n + 1/m)."""
    bins: int

    @property
    def verdict(self) -> str:
        if self.value < MOVED or self.value < 2 * self.chance:
            return "the same distribution, as far as so many rows can tell"
        return "moved" if self.value < FAR else "another distribution"


def drift(before: Profile, after: Profile) -> list[Drift]:
    """One figure for the labels and one for each length that both sides count and that is not the same in all rows, the farthest first."""
    found = [population_stability("label", before.labels, after.labels)] if before.labels and after.labels else []
    columns = [name for name in before.lengths if name in after.lengths]
    found += [population_stability(name, _named(before.lengths[name]), _named(after.lengths[name])) for name in columns]
    return sorted((one for one in found if one.bins > 1), key=lambda one: (-one.value, one.column))


def population_stability(column: str, before: Mapping[str, int], after: Mapping[str, int]) -> Drift:
    """The index over the bins of both sides; half a row is added to every bin, for an empty one has no logarithm."""
    bins = sorted({*before, *after})
    num_before, num_after = sum(before.values()), sum(after.values())
    value = 0.0
    for name in bins:
        share_before = (before.get(name, 0) + 0.5) / (num_before + 0.5 * len(bins))
        share_after = (after.get(name, 0) + 0.5) / (num_after + 0.5 * len(bins))
        value += (share_after - share_before) * math.log(share_after / share_before)
    chance = (len(bins) - 1) * (1 / max(num_before, 1) + 1 / max(num_after, 1))
    return Drift(column=column, value=value, chance=chance, bins=len(bins))


def _named(lengths: Lengths) -> dict[str, int]:
    return {str(number): rows for number, rows in lengths.bins.items()}
