"""Small charts as inline SVG: lines over steps and columns by bin, drawn in the page's own colours, so that they suit a dark page too."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT = 340, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 30
_ROOM = 6
"""Round the dots of a scatter chart, so that none is cut."""
NUM_COLOURS = 8
"""Classes `s0` to `s7` of the page's style; from the ninth series on they begin again."""
_LOG_FROM = 20.0
"""A scale is logarithmic where the largest value is this many times the smallest."""
_STEPS = (1, 2, 2.5, 5, 10)


class Line(NamedTuple):
    """A series of a line chart."""

    label: str
    colour: int
    points: Sequence[tuple[float, float]]


class Columns(NamedTuple):
    """A series of a column chart, one value per bin."""

    label: str
    colour: int
    values: Sequence[float]


class Dots(NamedTuple):
    """A series of a scatter chart."""

    colour: int
    points: Sequence[tuple[float, float, str]]
    """Where each one is, and what it says of itself."""


class _Axis:
    """Values to pixels, from ``start`` to ``end``."""

    def __init__(self, low: float, high: float, start: float, end: float, *, log: bool = False) -> None:
        self.log = log
        self.low, self.high = low, high if high > low else low + (abs(low) or 1.0)
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        low, high, here = (math.log10(one) for one in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return round(self._start + (self._end - self._start) * (here - low) / (high - low), 1)

    def ticks(self) -> list[float]:
        return _log_ticks(self.low, self.high) if self.log else linear_ticks(self.low, self.high)


def line_chart(title: str, lines: Sequence[Line], *, x_name: str = "step") -> Markup:
    """Lines over ``x_name``; the scale is logarithmic where positive values span more than a decade or so."""
    points = [point for line in lines for point in line.points]
    assert points, "a chart shows something"
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_axis = _Axis(min(xs), max(xs), _LEFT, WIDTH - _RIGHT)
    y_axis = _Axis(min(ys), max(ys), HEIGHT - _BOTTOM, _TOP, log=min(ys) > 0 and max(ys) / min(ys) >= _LOG_FROM)
    drawn = "".join(_line(line, x_axis, y_axis) for line in lines)
    bottom = f'<text x="{(WIDTH + _LEFT) / 2}" y="{HEIGHT - 3}" text-anchor="middle">{escape(x_name)}{", logarithmic scale" if y_axis.log else ""}</text>'
    return _svg(title, _y_grid(y_axis) + _x_ticks(x_axis) + drawn + bottom)


def scatter_chart(
    title: str, series: Sequence[Dots], *, x_name: str, y_name: str, lines: Sequence[Line] = (), x_log: bool = False, x_names: Sequence[str] = ()
) -> Markup:
    """Dots, later series over earlier ones, on top of ``lines``; the scale of y is logarithmic where positive values span more than a decade or so.

    With ``x_names`` the places 0, 1, … have these names instead of a scale.
    """
    points = [(x, y) for one in series for x, y, _ in one.points] + [point for line in lines for point in line.points]
    assert points, "a chart shows something"
    xs, ys = [*(x for x, _ in points), *map(float, range(len(x_names)))], [y for _, y in points]
    x_axis = _Axis(min(xs), max(xs), _LEFT + 2 * _ROOM, WIDTH - _RIGHT - 2 * _ROOM, log=x_log)
    y_axis = _Axis(min(ys), max(ys), HEIGHT - _BOTTOM - _ROOM, _TOP + 3 * _ROOM, log=min(ys) > 0 and max(ys) / min(ys) >= _LOG_FROM)
    drawn = "".join(_line(line, x_axis, y_axis) for line in lines) + "".join(_dots(one, x_axis, y_axis) for one in series)
    bottom = f'<text x="{(WIDTH + _LEFT) / 2}" y="{HEIGHT - 3}" text-anchor="middle">{escape(x_name)}{", logarithmic scale" if x_log else ""}</text>'
    side = f'<text x="2" y="{_TOP + 2}">{escape(y_name)}{", logarithmic scale" if y_axis.log else ""}</text>'
    return _svg(title, _y_grid(y_axis) + (_x_names(x_axis, x_names) if x_names else _x_ticks(x_axis)) + drawn + bottom + side)


def column_chart(title: str, bins: Sequence[str], series: Sequence[Columns]) -> Markup:
    """The series side by side in each bin; the names of as many bins as there is room for."""
    y_axis = _Axis(0, max(max(one.values, default=0) for one in series), HEIGHT - _BOTTOM, _TOP)
    room = (WIDTH - _LEFT - _RIGHT) / len(bins)
    width = 0.84 * room / len(series)
    bars = "".join(
        _bar(f"{one.label}, {bins[index]}: {value:,.0f}", one.colour, _LEFT + (index + 0.08) * room + place * width, width, y_axis.at(value))
        for place, one in enumerate(series)
        for index, value in enumerate(one.values)
    )
    widest = max(len(name) for name in bins)
    every = max(1, math.ceil((widest + 1) * 6 / room))
    names = "".join(
        f'<text x="{_LEFT + (index + 0.5) * room:.1f}" y="{HEIGHT - _BOTTOM + 14}" text-anchor="middle">{escape(name)}</text>'
        for index, name in enumerate(bins)
        if index % every == 0
    )
    return _svg(title, _y_grid(y_axis) + bars + names)


def linear_ticks(low: float, high: float, num: int = 4) -> list[float]:
    """Round values inside the range, about ``num`` of them."""
    raw = (high - low) / num
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in _STEPS if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{(first + index) * step:.12g}") for index in range(int((high / step + 1e-9) - first) + 1)]


def compact(value: float) -> str:
    """`0`, `0.05`, `1e-4`, `250`, `1.2k`, `3M`: at most five signs or so."""
    size = abs(value)
    if size and (size < 0.001 or size >= 1e18):
        return f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-").replace("e+", "e")
    for limit, sign in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= limit:
            return f"{value / limit:.3g}{sign}"
    return f"{value:.3g}"


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten inside the range, thinned out where there are many, with the twos and fives where there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    every = max(1, (last - first) // 5)
    return [value for power in range(first, last + 1, every) for factor in factors if low <= (value := factor * 10.0**power) <= high]


def _line(line: Line, x_axis: _Axis, y_axis: _Axis) -> str:
    where = [f"{x_axis.at(x)},{y_axis.at(y)}" for x, y in line.points]
    colour = f"s{line.colour % NUM_COLOURS}"
    if len(where) == 1:
        x, _, y = where[0].partition(",")
        return f'<circle class="{colour}" cx="{x}" cy="{y}" r="3"><title>{escape(line.label)}</title></circle>'
    return f'<polyline class="{colour}" points="{" ".join(where)}"><title>{escape(line.label)}</title></polyline>'


def _dots(series: Dots, x_axis: _Axis, y_axis: _Axis) -> str:
    style = f"s{series.colour % NUM_COLOURS}"
    return "".join(
        f'<circle class="{style}" cx="{x_axis.at(x)}" cy="{y_axis.at(y)}" r="3.5"><title>{escape(said)}</title></circle>' for x, y, said in series.points
    )


def _bar(title: str, colour: int, x: float, width: float, top: float) -> str:
    height = HEIGHT - _BOTTOM - top
    where = f'x="{x:.1f}" y="{top}" width="{max(width, 0.5):.1f}" height="{height:.1f}"'
    return f'<rect class="s{colour % NUM_COLOURS}" {where}><title>{escape(title)}</title></rect>'


def _y_grid(axis: _Axis) -> str:
    return "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{axis.at(tick)}" y2="{axis.at(tick)}"/>'
        f'<text x="{_LEFT - 6}" y="{axis.at(tick) + 3.5:.1f}" text-anchor="end">{compact(tick)}</text>'
        for tick in axis.ticks()
    )


def _x_ticks(axis: _Axis) -> str:
    return _x_marks([(axis.at(tick), compact(tick)) for tick in axis.ticks()])


def _x_names(axis: _Axis, names: Sequence[str]) -> str:
    return _x_marks([(axis.at(place), escape(name)) for place, name in enumerate(names)])


def _x_marks(marks: Sequence[tuple[float, str]]) -> str:
    base = HEIGHT - _BOTTOM
    return f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{base}" y2="{base}"/>' + "".join(
        f'<text x="{x}" y="{base + 14}" text-anchor="middle">{text}</text>' for x, text in marks
    )


def _svg(title: str, inside: str) -> Markup:
    return Markup(f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{inside}</svg>')  # noqa: S704 - every text in it is escaped
