"""What runs logged while they trained, as one panel per metric with a line per run."""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from components.params import Strict
from components.report.svg import Line, line_chart
from components.tracking import MetricPoint, RunRecord, Tracker

FIRST = ("train/loss", "validation/loss")
MAX_POINTS = 160
"""Of a line; the points of a longer history are averaged in blocks of steps."""
_FINAL = ("test/", "system/")
"""Metrics of the evaluation, which have one point, and of the machine."""


class Curve(Strict):
    """One metric of every run that logged it."""

    name: str
    lines: tuple[tuple[tuple[float, float], ...], ...]
    """(step, value) by side; empty for a side that did not log it."""
    averaged: int
    """Logged points per drawn point, at most."""

    def chart(self, labels: Sequence[str]) -> Markup:
        lines = [Line(label, colour, points) for colour, (label, points) in enumerate(zip(labels, self.lines, strict=True)) if points]
        return line_chart(self.name, lines)


def curves(tracker: Tracker, runs: Sequence[RunRecord]) -> tuple[Curve, ...]:
    """The histories of all metrics that were logged in steps: losses first, then what most runs share, by name."""
    histories = [{key: tracker.metric_history(run.run_id, key) for key in run.metrics if not key.startswith(_FINAL)} for run in runs]
    names = {key for history in histories for key, points in history.items() if len(downsampled(points)) > 1}
    return tuple(_curve(name, histories) for name in sorted(names, key=lambda name: (_place(name), -_shared(name, histories), name)))


def downsampled(points: Sequence[MetricPoint], most: int = MAX_POINTS) -> tuple[tuple[float, float], ...]:
    """(step, value) in order of the steps, blocks of neighbours averaged where there are more than ``most``."""
    ordered = sorted({point.step: point.value for point in points if math.isfinite(point.value)}.items())
    size = -(-len(ordered) // most)
    blocks = [ordered[start : start + size] for start in range(0, len(ordered), size or 1)]
    return tuple((sum(step for step, _ in block) / len(block), sum(value for _, value in block) / len(block)) for block in blocks)


def _curve(name: str, histories: Sequence[Mapping[str, Sequence[MetricPoint]]]) -> Curve:
    found = [history.get(name, ()) for history in histories]
    longest = max(len({point.step for point in points}) for points in found)
    return Curve(name=name, lines=tuple(downsampled(points) for points in found), averaged=-(-longest // MAX_POINTS))


def _place(name: str) -> int:
    return FIRST.index(name) if name in FIRST else len(FIRST)


def _shared(name: str, histories: Sequence[Mapping[str, Sequence[MetricPoint]]]) -> int:
    return sum(name in history for history in histories)
