"""What models cost to make, from the tags of their runs, in units for people and as bars."""

from collections.abc import Callable, Mapping, Sequence

from components.params import Strict
from components.report.page import duration, size
from components.report.svg import compact


class CostRow(Strict):
    """One kind of cost on every side; None where a run did not note it."""

    name: str
    values: tuple[float | None, ...]
    shown: tuple[str, ...]

    @property
    def shares(self) -> tuple[float | None, ...]:
        """Each value as a share of the largest, in percent."""
        largest = max(value for value in self.values if value is not None)
        return tuple(None if value is None else 100 * value / largest if largest else 0.0 for value in self.values)


def _count(value: float) -> str:
    return f"{value:,.0f}"


_ROWS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("wall time", "wall_s", duration),
    ("of it training", "train_s", duration),
    ("of it evaluation", "evaluate_s", duration),
    ("processor time", "core_s", duration),
    ("floating-point operations", "flops", compact),
    ("peak memory", "peak_memory_bytes", size),
    ("parameters", "parameters", _count),
    ("steps to the kept weights", "kept_step", _count),
)


def cost_rows(sides: Sequence[Mapping[str, str]]) -> tuple[CostRow, ...]:
    """A row per kind of cost that at least one side noted; ``sides`` are the tags."""
    rows = []
    for name, tag, form in _ROWS:
        values = tuple(_number(side.get(tag, "")) for side in sides)
        if any(value is not None for value in values):
            rows.append(CostRow(name=name, values=values, shown=tuple("" if value is None else form(value) for value in values)))
    return tuple(rows)


def _number(text: str) -> float | None:
    """What a tag says; a run that did not end noted nothing."""
    try:
        return float(text)
    except ValueError:
        return None
