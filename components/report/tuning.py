"""The page of a search: what was tried, what came of it, and how the settings and the two figures hang together."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from components.params import Strict
from components.report.page import render, write_page
from components.report.svg import Dots, Line, scatter_chart
from components.tuning.records import Objectives, Search, TrialRecord
from components.tuning.space import Choices, Range
from components.tuning.study import described
from components.tuning.verdict import Verdict, best_trial, pareto_front

OTHERS, FRONT, PRESENT, BEST = 7, 0, 2, 1
"""Colours of the dots."""


class TuningText(Strict):
    """What the page says in words."""

    verdict: Verdict | None
    """None while trials or the confirmation are still to be done."""
    line: str = ""
    """The line for the model's block."""
    address: str = ""
    """Of the search in the MLflow UI, where that runs."""
    resume: str = ""
    """The command that goes on, where something is still to be done."""
    wanted: int
    """Trials that were asked for."""


class Panel(NamedTuple):
    title: str
    chart: Markup


def write_tuning_page(
    path: Path, search: Search, records: Sequence[TrialRecord], objectives: Objectives, importances: Mapping[str, float], text: TuningText
) -> Path:
    """The page of ``records``, which begin with the trial of the present settings."""
    best, front = best_trial(records, objectives), pareto_front(records, objectives)
    rows = sorted(records, key=lambda one: (objectives.costs(one) or (float("inf"),), one.number))
    html = render(
        "tuning.html.j2", title=f"Search for {search.model}", search=search, text=text, objectives=objectives, rows=rows, best=best,
        front={one.number for one in front}, panels=_panels(search, records, objectives, best, front),
        importances=sorted(importances.items(), key=lambda one: -one[1]),
        described=described, counts=_counts(records),
    )  # fmt: skip
    return write_page(path, html)


def _counts(records: Sequence[TrialRecord]) -> str:
    """`5 finished, 1 pruned`."""
    found = {status: sum(one.status == status for one in records) for status in ("finished", "pruned", "diverged", "failed")}
    return ", ".join(f"{count} {status}" for status, count in found.items() if count)


def _panels(search: Search, records: Sequence[TrialRecord], objectives: Objectives, best: TrialRecord, front: Sequence[TrialRecord]) -> list[Panel]:
    """The course of the search, the two figures against each other, and the first one over each setting."""
    finished = [one for one in records if one.figure(objectives.primary) is not None]
    panels = [Panel("trial by trial, and the best so far", _course(finished, objectives, best))]
    if objectives.guard:
        panels.append(
            Panel(f"both figures (the guard should be {'low' if objectives.guard_goal == 'min' else 'high'})", _both(finished, objectives, best, front))
        )
    return [*panels, *(Panel(name, _over(name, part, finished, objectives, best)) for name, part in search.space.items())]


def _course(finished: Sequence[TrialRecord], objectives: Objectives, best: TrialRecord) -> Markup:
    so_far: list[tuple[float, float]] = []
    for one in finished:
        value = _value(one, objectives.primary)
        known = so_far[-1][1] if so_far else value
        so_far.append((one.number + 1, min(known, value) if objectives.goal == "min" else max(known, value)))
    points = _dots(finished, objectives, best, lambda one: float(one.number + 1), objectives.primary)
    return scatter_chart("course of the search", points, x_name="trial", y_name=objectives.primary, lines=[Line("best so far", FRONT, so_far)])


def _both(finished: Sequence[TrialRecord], objectives: Objectives, best: TrialRecord, front: Sequence[TrialRecord]) -> Markup:
    edge = sorted((_value(one, objectives.guard), _value(one, objectives.primary)) for one in front)
    points = _dots(finished, objectives, best, lambda one: _value(one, objectives.guard), objectives.primary)
    return scatter_chart("both figures", points, x_name=objectives.guard, y_name=objectives.primary, lines=[Line("Pareto front", FRONT, edge)])


def _over(name: str, part: Range | Choices, finished: Sequence[TrialRecord], objectives: Objectives, best: TrialRecord) -> Markup:
    """Over the values of a field; choices stand side by side in their order."""
    if isinstance(part, Range):
        points = _dots(finished, objectives, best, lambda one: float(one.params[name]), objectives.primary)
        return scatter_chart(name, points, x_name=name, y_name=objectives.primary, x_log=part.log)
    names = [json.dumps(choice) for choice in part.choices]
    points = _dots(finished, objectives, best, lambda one: float(names.index(json.dumps(one.params[name]))), objectives.primary)
    return scatter_chart(name, points, x_name=name, y_name=objectives.primary, x_names=[found.strip('"') for found in names])


def _dots(finished: Sequence[TrialRecord], objectives: Objectives, best: TrialRecord, x: Callable[[TrialRecord], float], y: str) -> list[Dots]:
    """The trials, with those of the present settings and the best one in colours of their own."""

    def points(chosen: Sequence[TrialRecord]) -> list[tuple[float, float, str]]:
        return [(x(one), _value(one, y), f"trial {one.number + 1}: {y} {_value(one, y):.4g}; {described(one.params)}") for one in chosen]

    others = [one for one in finished if one.number not in (0, best.number)]
    return [Dots(OTHERS, points(others)), Dots(PRESENT, points(finished[:1])), Dots(BEST, points([best] if best.number else []))]


def _value(trial: TrialRecord, name: str) -> float:
    figure = trial.figure(name)
    assert figure is not None, "a finished trial has its figures"
    return figure.value
