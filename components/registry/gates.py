"""Rules that a version must meet before it may become champion: on its figures, beside its champion's, on its data and on its lineage.

The settings come from three places, each over the one before it: the family's own (`Family.gates`), `gates.FAMILY` and
`models.NAME.gates` in params.yaml.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from components.errors import UserError, nearest
from components.evaluation.alarms import COLLAPSE, COPYING, DEGENERATION, MEMORISATION
from components.evaluation.protocol import Figure, differ_by_vocabulary, find_comparable, mismatch
from components.params import Block, Strict

RULES = ("champion", "collapse", "memorisation", "data", "lineage")
"""Rules that are on unless turned off; every other key of `gates:` is the name of a figure."""


LEFT_OUT: Literal["left out"] = "left out"
"""The verdict on a headline figure that counts in the tokens of the model itself, and so stands beside no other model's."""


class Limit(Strict):
    """The range a figure must stay in; the ends belong to it."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _has_an_end(self) -> "Limit":
        if self.min is None and self.max is None:
            raise ValueError("must have min, max or both")
        return self

    def admits(self, value: float) -> bool:
        """Whether ``value`` is in the range; what is not a number never is."""
        if math.isnan(value):
            return False
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    def __str__(self) -> str:
        ends = [f"at least {self.min:g}" if self.min is not None else "", f"at most {self.max:g}" if self.max is not None else ""]
        return " and ".join(end for end in ends if end)


class ChampionRule(Strict):
    """No headline figure may be worse than the champion's by more than chance explains."""

    spreads: float = Field(2.0, ge=0, le=100)
    """How many standard deviations of the difference a figure may be worse."""


class Gates(Strict):
    """The rules of one model, from every place together."""

    limits: dict[str, Limit] = {}
    """By the figure's name."""
    places: dict[str, str] = {}
    """Where params.yaml sets a limit; the family's own are not among them, and hold only for figures that there are."""
    champion: ChampionRule | None = ChampionRule()
    collapse: bool = True
    memorisation: bool = True
    data: bool = True
    lineage: bool = True


class GateRow(Strict):
    """The verdict of one rule, on one figure where it is about figures."""

    rule: str
    """`limit`, or one of `RULES`."""
    figure: str = ""
    value: float | None
    """None where there is none, or it is not a number."""
    limit: str
    verdict: Literal["passed", "failed", "left out"]
    note: str = ""

    @model_validator(mode="before")
    @classmethod
    def _of_an_old_ledger(cls, value: Any) -> Any:
        """Records from before there were rules besides limits have the figure's name as the rule."""
        if isinstance(value, dict) and "figure" not in value and value.get("rule") not in (None, "limit", *RULES):
            return {**value, "rule": "limit", "figure": value["rule"]}
        return value

    def __str__(self) -> str:
        what = self.figure or self.rule
        found = f"{what} is {self.value:.4g}, {'as asked' if self.verdict == 'passed' else 'not'} {self.limit}" if self.value is not None else ""
        return f"{found} ({self.note})" if found and self.note else found or f"{what}: {self.note or self.limit}"


class Champion(NamedTuple):
    """What a candidate is held against."""

    ref: str
    figures: tuple[Figure, ...]
    """Under every protocol that it was scored by."""


def load_gates(family: Mapping[str, Mapping[str, float]], *blocks: Block) -> Gates:
    """The rules of a model: those of its family under those of ``blocks`` of params.yaml, the later over the earlier.

    Raises:
        UserError: names the line of a mistake and the nearest right word.
    """
    limits = {figure: Limit.model_validate(ends) for figure, ends in family.items()}
    places: dict[str, str] = {}
    rules: dict[str, Any] = {}
    for block in blocks:
        for key, value in block.value.items():
            if key in RULES:
                rules[key] = _rule(block, key)
            elif value is False and key in limits:
                del limits[key]
                places.pop(key, None)
            else:
                limits[key], places[key] = _limit(block, key, limits), f"{block.file.name} line {block.line(key)}"
    return Gates(limits=limits, places=places, **rules)


def figure_rows(gates: Gates, figures: Sequence[Figure]) -> list[GateRow]:
    """The limits, and the least that alarms allow, against the figures of their names; a figure of params.yaml that was not measured fails."""
    measured = {figure.name: figure.value for figure in figures}
    rows = [_limit_row("limit", name, limit, measured[name]) for name, limit in gates.limits.items() if name in measured]
    rows += [_unmeasured(name, gates, measured) for name in gates.places if name not in measured]
    if gates.collapse:
        rows += _alarm_rows("collapse", COLLAPSE, DEGENERATION, figures)
    if gates.memorisation:
        rows += _alarm_rows("memorisation", MEMORISATION, COPYING, figures)
    return rows


def _alarm_rows(rule: str, least: Mapping[str, float], most: Mapping[str, float], figures: Sequence[Figure]) -> list[GateRow]:
    """What raises an alarm fails: see `components.evaluation.alarms`; the most is never below what real text comes to."""
    limits = {figure.name: Limit(min=least[figure.name]) for figure in figures if figure.name in least}
    limits |= {figure.name: Limit(max=max(most[figure.name], figure.floor or 0.0)) for figure in figures if figure.name in most}
    return [_limit_row(rule, figure.name, limits[figure.name], figure.value) for figure in figures if figure.name in limits]


def champion_rows(rule: ChampionRule, headline: Iterable[str], figures: Sequence[Figure], champion: Champion) -> list[GateRow]:
    """Each figure of ``headline`` beside the champion's of the same protocol; where none is left to compare, that fails.

    A figure may be worse by ``rule.spreads`` standard deviations of the difference: sqrt(u_candidate² + u_champion²).
    """
    measured = {figure.name: figure for figure in figures}
    known = {figure.name for figure in champion.figures}
    rows = [_beside(rule, measured[name], champion) for name in headline if name in measured]
    rows += [_lost(name, champion) for name in headline if name in known - measured.keys()]
    return rows if any(row.verdict != LEFT_OUT for row in rows) else [*rows, _nothing_compared(champion)]


def require_measured(gates: Gates, figures: Iterable[Figure]) -> None:
    """Refuse a limit of params.yaml that names no figure.

    Raises:
        UserError: with its line and the nearest name.
    """
    measured = [figure.name for figure in figures]
    for name, place in gates.places.items():
        if name not in measured:
            raise UserError(f"{place}: the gate {name!r} names no figure of this model; {nearest(name, (*measured, *RULES))}")


def have_passed(rows: Iterable[GateRow]) -> bool:
    return all(row.verdict != "failed" for row in rows)


def describe(rows: Sequence[GateRow]) -> str:
    """One line: what failed, else what was checked."""
    if not rows:
        return "no gates are set in params.yaml"
    failed = [row for row in rows if row.verdict == "failed"]
    limits = [row for row in rows if row.rule == "limit"]
    if failed:
        return "; ".join(str(row) for row in failed)
    return "; ".join([*(str(row) for row in limits), *([f"{len(rows) - len(limits)} more passed"] if len(rows) > len(limits) else [])])


def _rule(block: Block, key: str) -> Any:
    value = block.value[key]
    if key != "champion":
        if not isinstance(value, bool):
            raise block.error(f"{'.'.join(map(str, (*block.location, key)))} must be true or false (it is {value!r}).", key)
        return value
    if isinstance(value, bool):
        return ChampionRule() if value else None
    return block.child(key).validate(ChampionRule)


def _limit(block: Block, key: str, limits: Mapping[str, Limit]) -> Limit:
    value = block.value[key]
    if isinstance(value, bool) or (isinstance(value, dict) and value.keys() & ChampionRule.model_fields.keys()):
        raise block.error(f"{key!r} is neither a rule nor a figure with a limit here; {nearest(key, (*RULES, *limits))}", key)
    return block.child(key).validate(Limit)


def _limit_row(rule: str, name: str, limit: Limit, value: float, note: str = "") -> GateRow:
    if math.isnan(value):
        return GateRow(rule=rule, figure=name, value=None, limit=str(limit), verdict="failed", note="not a number")
    return GateRow(rule=rule, figure=name, value=value, limit=str(limit), verdict="passed" if limit.admits(value) else "failed", note=note)


def _unmeasured(name: str, gates: Gates, measured: Iterable[str]) -> GateRow:
    note = f"names no figure of this model, see {gates.places[name]}; {nearest(name, (*measured, *RULES))}"
    return GateRow(rule="limit", figure=name, value=None, limit=str(gates.limits[name]), verdict="failed", note=note)


def _beside(rule: ChampionRule, figure: Figure, champion: Champion) -> GateRow:
    other = find_comparable(figure, champion.figures)
    if other is None:
        return _no_comparison(figure, champion)
    if math.isnan(other.value):
        return _limit_row("champion", figure.name, Limit(min=-math.inf), figure.value, f"{champion.ref} has none that is a number")
    margin = rule.spreads * math.hypot(figure.uncertainty or 0.0, other.uncertainty or 0.0)
    limit = Limit(max=other.value + margin) if figure.goal == "min" else Limit(min=other.value - margin)
    spread = f" ± {other.uncertainty:.2g}" if other.uncertainty is not None else ""
    return _limit_row("champion", figure.name, limit, figure.value, f"{champion.ref} has {other.value:.4g}{spread}")


def _counted_in_own_tokens(figure: Figure, champion: Champion) -> bool:
    """Whether only the vocabulary keeps the champion's figure from standing beside ``figure``."""
    return any(differ_by_vocabulary(figure, other) for other in champion.figures)


def _nothing_compared(champion: Champion) -> GateRow:
    note = f"no headline figure of {champion.ref} compares, for each counts in its own tokens: set `champion: false` for the model, or promote with --force"
    return GateRow(rule="champion", value=None, limit="compared in one headline figure", verdict="failed", note=note)


def _no_comparison(figure: Figure, champion: Champion) -> GateRow:
    if _counted_in_own_tokens(figure, champion):
        note = f"{champion.ref} counts in the tokens of another vocabulary"
        return GateRow(rule="champion", figure=figure.name, value=_number(figure.value), limit=f"beside {champion.ref}", verdict=LEFT_OUT, note=note)
    same_name = next((other for other in champion.figures if other.name == figure.name), None)
    why = f"another {mismatch(figure, same_name)}" if same_name is not None else "none of its own"
    note = f"{champion.ref} was scored with {why}; promoting scores it again under this protocol, where it can be"
    return GateRow(rule="champion", figure=figure.name, value=_number(figure.value), limit=f"comparable with {champion.ref}", verdict="failed", note=note)


def _number(value: float) -> float | None:
    """``value`` as JSON takes it."""
    return None if math.isnan(value) else value


def _lost(name: str, champion: Champion) -> GateRow:
    note = f"{champion.ref} has this headline figure, and it was not measured here"
    return GateRow(rule="champion", figure=name, value=None, limit=f"measured, as of {champion.ref}", verdict="failed", note=note)
