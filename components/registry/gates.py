"""Absolute thresholds that a version must meet before it may become champion, from a model's `gates:` in params.yaml."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pydantic import model_validator

from components.errors import UserError, nearest
from components.evaluation.protocol import Figure
from components.params import Block, Strict


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


class GateRow(Strict):
    """The verdict on one figure."""

    rule: str
    """Name of the figure."""
    value: float
    limit: str
    verdict: Literal["passed", "failed"]


def load_gates(gates: Block) -> dict[str, Limit]:
    """The block `gates:` of one model in params.yaml; mistakes are named with their line."""
    return {figure: block.validate(Limit) for figure, block in gates.children()}


def evaluate_gates(gates: Mapping[str, Limit], figures: Iterable[Figure]) -> tuple[GateRow, ...]:
    """Every gate against the figure of its name.

    Raises:
        UserError: a gate names a figure that was not measured.
    """
    measured = {figure.name: figure.value for figure in figures}
    for name in gates:
        if name not in measured:
            raise UserError(f"The gate {name!r} names no figure of this model; {nearest(name, measured)}")
    return tuple(
        GateRow(rule=name, value=measured[name], limit=str(limit), verdict="passed" if limit.admits(measured[name]) else "failed")
        for name, limit in gates.items()
    )


def have_passed(rows: Iterable[GateRow]) -> bool:
    return all(row.verdict == "passed" for row in rows)


def describe(rows: Sequence[GateRow]) -> str:
    """One line: what failed, else what was checked."""
    if not rows:
        return "no gates are set in params.yaml"
    failed = [row for row in rows if row.verdict == "failed"]
    return "; ".join(f"{row.rule} is {row.value:.4g}, {'not' if failed else 'as asked'} {row.limit}" for row in failed or rows)
