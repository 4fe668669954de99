"""Curves are drawn from what the store holds, in charts that need nothing but the page."""

import re
import xml.etree.ElementTree as ET

import pytest

from components.report.curves import MAX_POINTS, curves, downsampled
from components.report.svg import Columns, Line, column_chart, compact, line_chart, linear_ticks
from components.tracking import MetricPoint, Tracker


def log(tracker: Tracker, key: str, values: dict[int, float], *more: MetricPoint) -> str:
    run_id = tracker.start_run("digits", "a-run", {}, {})
    tracker.log_metrics(run_id, [*(MetricPoint(key, value, step, 1000 + step) for step, value in values.items()), *more])
    return run_id


def test_curves_come_from_the_histories_of_the_runs_losses_first(tracker: Tracker) -> None:
    final = MetricPoint("test/fid_own", 3.0, 20, 5000)
    runs = [
        log(tracker, "train/loss", {10: 4.0, 20: 2.0}, final, MetricPoint("train/kl", 1.0, 10, 1), MetricPoint("train/kl", 2.0, 20, 2)),
        log(tracker, "train/loss", {10: 3.0, 20: 1.0}, final),
    ]
    first, second = curves(tracker, [tracker.get_run(run_id) for run_id in runs])
    assert first.name == "train/loss"
    assert first.lines == (((10, 4.0), (20, 2.0)), ((10, 3.0), (20, 1.0)))
    assert (second.name, second.lines[1]) == ("train/kl", ())
    chart = ET.fromstring(first.chart(["a", "b"]))
    assert [line.attrib["class"] for line in chart.iter("polyline")] == ["s0", "s1"]


def test_a_long_history_is_averaged_and_keeps_its_course() -> None:
    points = downsampled([MetricPoint("train/loss", 1000.0 - step, step, 0) for step in range(1000)])
    assert len(points) <= MAX_POINTS
    assert points[0] == (3.0, 997.0)
    assert [value for _, value in points] == sorted((value for _, value in points), reverse=True)


def test_what_is_no_number_is_left_out() -> None:
    assert downsampled([MetricPoint("a", float("nan"), 1, 0), MetricPoint("a", 2.0, 2, 0)]) == ((2, 2.0),)


def test_a_line_stays_inside_its_axes_and_higher_values_stand_higher() -> None:
    chart = ET.fromstring(line_chart("loss", [Line("a", 0, [(0, 1.0), (50, 3.0), (100, 2.0)])]))
    (line,) = chart.iter("polyline")
    places = [tuple(map(float, place.split(","))) for place in line.attrib["points"].split()]
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert places[0][1] > places[2][1] > places[1][1] >= 0
    assert max(x for x, _ in places) <= 340


def test_the_scale_is_logarithmic_only_where_positive_values_span_more_than_a_decade() -> None:
    assert "logarithmic" in line_chart("loss", [Line("a", 0, [(0, 1000.0), (1, 1.0)])])
    assert "logarithmic" not in line_chart("loss", [Line("a", 0, [(0, 1000.0), (1, 0.0)])])
    assert "logarithmic" not in line_chart("loss", [Line("a", 0, [(0, 10.0), (1, 1.0)])])


@pytest.mark.parametrize("values", [[5.0, 5.0], [0.0, 0.0], [1e-9, 3e-9], [-4.0, 1e7], [1e-8, 1e8]])
def test_any_range_has_ticks_that_can_be_told_apart(values: list[float]) -> None:
    chart = ET.fromstring(line_chart("x", [Line("a", 0, list(enumerate(values)))]))
    ticks = [text.text for text in chart.iter("text") if text.attrib.get("text-anchor") == "end"]
    assert 2 <= len(ticks) <= 8
    assert len(set(ticks)) == len(ticks)


def test_ticks_are_round() -> None:
    assert linear_ticks(0.13, 1.02) == [0.25, 0.5, 0.75, 1.0]
    assert linear_ticks(0, 1200) == [0, 500, 1000]
    assert [compact(value) for value in (0, 0.05, 0.0001, 250, 1200, 3e6, 6.78e12)] == ["0", "0.05", "1e-4", "250", "1.2k", "3M", "6.78T"]


def test_columns_are_as_high_as_their_counts_and_names_are_escaped() -> None:
    svg = column_chart("classes", ["<a>", "b"], [Columns("v1", 0, [10, 5]), Columns("v2", 1, [10, 0])])
    heights = [float(bar.attrib["height"]) for bar in ET.fromstring(svg).iter("rect")]
    assert heights[0] == heights[2] == 2 * heights[1]
    assert heights[3] == 0
    assert not re.search("<a>", svg)
