"""Which figures of several models may stand side by side, which is the best beyond the spread, and what keeps the others apart."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pydantic import computed_field

from components.evaluation.protocol import Figure, Identity, find_comparable, mismatch
from components.models.family import Goal
from components.params import Strict

HEADLINE = "Headline figures"
SPREADS = 2.0
"""Standard deviations of a difference, sqrt(u_a² + u_b²), from which on one value is called better."""
_SHOWN = 40
"""Characters of a protocol's field in a sentence."""
Verdict = Literal["", "best", "spread unknown", "within the spread", "equal"]


class FigureRow(Strict):
    """One figure under one protocol; a side that did not measure it so has no value here."""

    name: str
    group: str
    goal: Goal
    identity: Identity
    values: tuple[Figure | None, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> Verdict:
        """Whether the best value is better than the next beyond what both vary by; empty where fewer than two can be compared."""
        ranked = self._ranked()
        if len(ranked) < 2:
            return ""
        first, second = (self._figure(index) for index in ranked[:2])
        if first.value == second.value:
            return "equal"
        known = [figure.uncertainty for figure in (first, second) if figure.uncertainty is not None]
        if not known:
            return "spread unknown"
        return "best" if abs(first.value - second.value) > SPREADS * math.hypot(*known) else "within the spread"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def best(self) -> int | None:
        """Index of the best value, where it stands out."""
        return self._ranked()[0] if self.verdict in ("best", "spread unknown") else None

    @property
    def floor(self) -> Figure | None:
        """A figure with the floor of all sides, None where they differ in it or have none."""
        known = [figure for figure in self.values if figure is not None and figure.floor is not None]
        return known[0] if len({(figure.floor, figure.floor_name) for figure in known}) == 1 else None

    @property
    def first(self) -> Figure:
        return next(figure for figure in self.values if figure is not None)

    def _figure(self, index: int) -> Figure:
        figure = self.values[index]
        assert figure is not None, "only sides with a value are ranked"
        return figure

    def _ranked(self) -> list[int]:
        """The sides that have a number, the best first."""
        known = [(figure.value, index) for index, figure in enumerate(self.values) if figure is not None and not math.isnan(figure.value)]
        return [index for _, index in sorted(known, key=lambda one: one[0] if self.goal == "min" else -one[0])]


class FieldDifference(Strict):
    """A field of the protocol in which two figures differ, both values shortened."""

    field: str
    values: tuple[str, str]

    def __str__(self) -> str:
        return f"{self.field} differs: {self.values[0]} / {self.values[1]}"


class Refusal(Strict):
    """Figures of two sides that are not put side by side, why, and what would make them comparable."""

    names: tuple[str, ...]
    sides: tuple[str, str]
    differences: tuple[FieldDifference, ...]
    fix: str

    @property
    def sentence(self) -> str:
        more = f" and {len(self.names) - 3} more" if len(self.names) > 3 else ""
        why = "; ".join(map(str, self.differences))
        return f"{', '.join(self.names[:3])}{more} of {self.sides[0]} and {self.sides[1]} are not compared: {why}. {self.fix}"


def figure_rows(sides: Sequence[Sequence[Figure]], headline: Iterable[str] = ()) -> tuple[FigureRow, ...]:
    """A row per figure under the protocol that most sides share, headline figures first, the others by what they were measured with.

    ``sides`` holds each side's own figures before those of later evaluations; what stands alone beside another protocol gets no row.
    """
    wanted = dict.fromkeys(headline)
    rows = [_row(name, values, wanted) for name in _names(sides) for values in _shown(_protocols(name, sides))]
    places = {name: place for place, name in enumerate(wanted)}
    groups = list(dict.fromkeys([HEADLINE, *(row.group for row in rows)]))
    return tuple(sorted(rows, key=lambda row: (groups.index(row.group), places.get(row.name, len(places)))))


def refusals(labels: Sequence[str], sides: Sequence[Sequence[Figure]], versions: Mapping[str, str]) -> tuple[Refusal, ...]:
    """What is not compared, the figures with the same reason together; ``versions`` names data versions by their digest."""
    found: dict[tuple[tuple[str, str], tuple[FieldDifference, ...]], list[str]] = {}
    for name in _names(sides):
        lead = _protocols(name, sides)[0]
        first = next(index for index, figure in enumerate(lead) if figure is not None)
        for index, figures in enumerate(sides):
            other = next((figure for figure in figures if figure.name == name), None)
            if other is not None and lead[index] is None:
                pair = sorted((first, index))
                a, b = (lead[first], other) if pair[0] == first else (other, lead[first])
                assert a is not None and b is not None, "the first side of the row has a value"  # noqa: PT018 - for the type checker
                found.setdefault(((labels[pair[0]], labels[pair[1]]), _differences(a.identity, b.identity, versions)), []).append(name)
    return tuple(Refusal(names=tuple(names), sides=pair, differences=why, fix=_fix(pair, why)) for (pair, why), names in found.items())


def _names(sides: Sequence[Sequence[Figure]]) -> list[str]:
    return list(dict.fromkeys(figure.name for figures in sides for figure in figures))


def _protocols(name: str, sides: Sequence[Sequence[Figure]]) -> list[tuple[Figure | None, ...]]:
    """The figures called ``name``, those of one protocol together by side; first the protocol that most sides share."""
    leads: list[Figure] = []
    for figure in (figure for figures in sides for figure in figures if figure.name == name):
        if all(mismatch(lead, figure) for lead in leads):
            leads.append(figure)
    groups = [tuple(find_comparable(lead, (figure for figure in figures if figure.name == name)) for figures in sides) for lead in leads]
    return sorted(groups, key=lambda values: values.count(None))


def _shown(protocols: Sequence[tuple[Figure | None, ...]]) -> list[tuple[Figure | None, ...]]:
    """Those of a figure's protocols that make a row: the only one, else those that two sides share."""
    return [values for values in protocols if len(protocols) == 1 or len(values) - values.count(None) > 1]


def _row(name: str, values: tuple[Figure | None, ...], headline: Iterable[str]) -> FigureRow:
    figure = next(figure for figure in values if figure is not None)
    extractor = figure.identity.extractor
    group = HEADLINE if name in headline else f"Measured with {extractor}" if extractor else "Measured without an extractor"
    return FigureRow(name=name, group=group, goal=figure.goal, identity=figure.identity, values=values)


def _differences(a: Identity, b: Identity, versions: Mapping[str, str]) -> tuple[FieldDifference, ...]:
    fields = [field for field in Identity.model_fields if getattr(a, field) != getattr(b, field)]
    return tuple(FieldDifference(field=field, values=_shortened(str(getattr(a, field)), str(getattr(b, field)), versions)) for field in fields)


def _shortened(a: str, b: str, versions: Mapping[str, str]) -> tuple[str, str]:
    """Both values in a few words: a data version's name for its digest, the beginning of other digests, of long sentences where they part."""
    if len(a) == 64 and len(b) == 64 and " " not in a + b:
        return versions.get(a, a[:12]), versions.get(b, b[:12])
    same = next((index for index, signs in enumerate(zip(a, b, strict=False)) if signs[0] != signs[1]), min(len(a), len(b)))
    begin = max(0, same - 8) if max(len(a), len(b)) > _SHOWN else 0
    first, second = (f"{'…' if begin else ''}{text[begin : begin + _SHOWN]}{'…' if len(text) > begin + _SHOWN else ''}" or "none" for text in (a, b))
    return first, second


def _fix(sides: tuple[str, str], differences: Sequence[FieldDifference]) -> str:
    """How the two become comparable."""
    models = {side.partition("/")[0] for side in sides}
    again = f"`genmill promote {models.pop()}` scores the champion again as the candidate was scored" if len(models) == 1 else ""
    if any(difference.field == "reference_sha256" for difference in differences):
        return f"Train both on one data version{f'; {again}' if again else ''}."
    return f"Evaluate both with the same settings and code (`evaluation:` in params.yaml, `genmill run MODEL --refresh`){f'; {again}' if again else ''}."
