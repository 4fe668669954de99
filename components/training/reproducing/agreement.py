"""How far two trainings of one version agree, and what differed round them."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Literal

from components.evaluation.protocol import Figure, find_comparable
from components.params import Strict

ROUNDING = 1e-6
"""Relative; on the same machine with the same libraries and code two trainings were the same to the last bit, see docs/decisions.md."""
UNCERTAINTIES = 3.0
"""Of the difference of two values, where anything else differed."""
WITHOUT_SPREAD = 0.05
"""Relative, where anything else differed and the figure says nothing of how uncertain it is."""

Verdict = Literal["identical", "agrees", "differs", "not measured"]


class AgreementRow(Strict):
    """One figure as it was recorded and as it came out again."""

    figure: str
    recorded: float
    reproduced: float | None
    difference: float | None
    tolerance: float
    verdict: Verdict
    note: str = ""


class DifferenceRow(Strict):
    """What was not the same round the two trainings."""

    what: str
    recorded: str
    here: str


def compare_figures(recorded: Sequence[Figure], reproduced: Sequence[Figure], *, same_setup: bool) -> tuple[AgreementRow, ...]:
    """Each recorded figure beside the new one of its name; what is called the same but was measured under another protocol says so."""
    return tuple(_row(figure, reproduced, same_setup) for figure in recorded)


def tolerance(figure: Figure, *, same_setup: bool) -> float:
    """How far the value of a repeated training may lie from that of ``figure``.

    Rounding alone where machine, libraries, threads and code are the same; else three standard deviations of the difference of two values.
    """
    rounding = ROUNDING * abs(figure.value) + 1e-12
    if same_setup:
        return rounding
    uncertainty = figure.uncertainty
    apart = WITHOUT_SPREAD * abs(figure.value) if uncertainty is None else UNCERTAINTIES * math.sqrt(2) * uncertainty
    return max(rounding, apart)


def differences(recorded: Mapping[str, str], here: Mapping[str, str]) -> tuple[DifferenceRow, ...]:
    """What is not the same; what was not recorded may have been another one."""
    names = dict.fromkeys([*recorded, *here])
    rows = (DifferenceRow(what=name, recorded=recorded.get(name) or "not recorded", here=here.get(name) or "none") for name in names)
    return tuple(row for row in rows if row.recorded != row.here)


def versions_of(environment: str) -> dict[str, str]:
    """The lines `name==version` of a stored environment, and of the older tag with the libraries as JSON."""
    if environment.startswith("{"):
        found: dict[str, str] = json.loads(environment)
        return found
    return {name: version for name, _, version in (line.partition("==") for line in environment.splitlines()) if version}


def _row(figure: Figure, reproduced: Sequence[Figure], same_setup: bool) -> AgreementRow:
    allowed = tolerance(figure, same_setup=same_setup)
    named = [other for other in reproduced if other.name == figure.name]
    same = find_comparable(figure, named)
    other = same or next((other for other in named if _differing(figure, other) == ["extractor_sha256"]), None)
    if other is None:
        return AgreementRow(
            figure=figure.name, recorded=figure.value, reproduced=None, difference=None, tolerance=allowed, verdict="not measured", note=_why(figure, named)
        )  # fmt: skip
    # Where the extractor was trained again and came out another, the protocol differs in its digest alone.
    note = "" if same else "measured by another extractor sha256"
    apart = 0.0 if _alike(figure.value, other.value) else abs(other.value - figure.value)
    verdict: Verdict = "identical" if apart == 0.0 else "agrees" if apart <= allowed else "differs"
    return AgreementRow(
        figure=figure.name, recorded=figure.value, reproduced=other.value, difference=apart, tolerance=allowed, verdict=verdict, note=note
    )  # fmt: skip


def _alike(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _why(figure: Figure, named: Sequence[Figure]) -> str:
    """Why none of the figures of its name stands beside ``figure``; empty where there is none."""
    return next((f"under the same protocol: other {' and '.join(_differing(figure, other)).replace('_', ' ')}" for other in named), "")


def _differing(a: Figure, b: Figure) -> list[str]:
    """The identity fields in which two figures differ."""
    return [name for name, value in a.identity if getattr(b.identity, name) != value]
