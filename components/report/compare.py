"""Compares versions and runs from what they stored: figures only where the protocol allows it, samples, params, data and code."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from components.errors import UserError
from components.evaluation.protocol import Figure, Identity, mismatch
from components.params import Strict
from components.project import Project
from components.registry.references import resolve
from components.registry.stored import stored_evidence
from components.report.page import number, render, write_page
from components.tracking import ModelVersion, RunRecord, Tracker

LINEAGE_TAGS = ("dataset", "data_version", "data_sha256", "validation", "git_commit", "dirty", "identity", "resumed_from", "libraries")
COST_TAGS = ("wall_s", "core_s", "peak_memory_bytes", "flops")


class Side(Strict):
    """One of the things compared."""

    label: str
    """The reference as the user wrote it."""
    ref: str
    """The version it means, or the run's name where the run registered none."""
    run_id: str
    run_url: str = ""
    status: str
    aliases: tuple[str, ...]
    figures: tuple[Figure, ...]
    pictures: dict[str, bytes] = Field(exclude=True)
    animations: dict[str, bytes] = Field(exclude=True)
    texts: dict[str, str]
    params: dict[str, str]
    tags: dict[str, str]
    """Our tags, without their prefix."""


class FigureRow(Strict):
    """One figure under one protocol; a side that measured it under another one has no value here."""

    name: str
    goal: str
    identity: Identity
    values: tuple[Figure | None, ...]
    differs_in: str = ""
    """The first field in which this protocol differs from the first row of the same name."""

    @property
    def best(self) -> int | None:
        """Index of the best value, where at least two can be compared."""
        known = [(figure.value, index) for index, figure in enumerate(self.values) if figure is not None]
        if len(known) < 2:
            return None
        return (min if self.goal == "min" else max)(known)[1]


class DifferenceRow(Strict):
    """One param or tag that is not the same on every side."""

    name: str
    values: tuple[str, ...]


class Comparison(Strict):
    """Everything on the page, and where the page lies."""

    page: Path
    sides: tuple[Side, ...]
    figures: tuple[FigureRow, ...]
    params: tuple[DifferenceRow, ...]
    lineage: tuple[DifferenceRow, ...]
    cost: tuple[DifferenceRow, ...]
    same_params: int
    """How many params are the same everywhere."""

    @property
    def refs(self) -> tuple[str, ...]:
        return tuple(side.label for side in self.sides)

    @property
    def figure_rows(self) -> list[tuple[str, ...]]:
        """Figure and one cell per side, for a table in a terminal; the best value carries a star."""
        return [(row.name, *(_cell(figure, index == row.best) for index, figure in enumerate(row.values))) for row in self.figures]

    @property
    def difference_rows(self) -> list[tuple[str, ...]]:
        """Every param, tag and cost that is not the same, with one cell per side."""
        return [(row.name, *row.values) for row in (*self.lineage, *self.params, *self.cost)]

    @property
    def notes(self) -> list[str]:
        """Which figures must not be compared, and why."""
        return [f"{row.name} was measured under two protocols (another {row.differs_in}): not comparable." for row in self.figures if row.differs_in]


def compare(project: Project, tracker: Tracker, refs: Sequence[str], *, server: str | None = None) -> Comparison:
    """Compare references (`MODEL`, `MODEL@ALIAS`, `MODEL/3` or run ids) from stored artifacts and write the page into the reports folder.

    Raises:
        UserError: fewer than two references, or one that means nothing.
    """
    if len(refs) < 2:
        raise UserError("Comparing takes at least two references, e.g. `genmill compare vae-digits@champion vae-digits@candidate`.")
    sides = tuple(_side(tracker, ref, server) for ref in refs)
    params = _differences([side.params for side in sides])
    comparison = Comparison(
        page=project.reports / f"compare-{re.sub('[^A-Za-z0-9]+', '-', '-'.join(refs))[:120]}.html",
        sides=sides,
        figures=tuple(_figure_rows([side.figures for side in sides])),
        params=params,
        lineage=_differences([{name: side.tags.get(name, "") for name in LINEAGE_TAGS} for side in sides]),
        cost=_differences([{name: side.tags.get(name, "") for name in COST_TAGS} for side in sides]),
        same_params=len({name for side in sides for name in side.params}) - len(params),
    )
    html = page_of(comparison)
    write_page(comparison.page, html)
    tracker.log_text(sides[-1].run_id, html, f"comparisons/{comparison.page.name}")
    return comparison


def page_of(comparison: Comparison) -> str:
    """The page of ``comparison`` as HTML."""
    pictures = sorted({name for side in comparison.sides for name in side.pictures})
    animations = sorted({name for side in comparison.sides for name in side.animations})
    texts = sorted({name for side in comparison.sides for name in side.texts})
    title = f"Comparison of {' and '.join(comparison.refs)}"
    return render("compare.html.j2", title=title, comparison=comparison, picture_names=pictures, animation_names=animations, text_names=texts)


def _side(tracker: Tracker, ref: str, server: str | None) -> Side:
    version, run = _find(tracker, ref)
    evidence = stored_evidence(tracker, run.run_id)
    tags = {name.removeprefix("genmill."): value for name, value in run.tags.items() if name.startswith("genmill.")}
    return Side(
        label=ref,
        ref=version.ref if version else run.name,
        run_id=run.run_id,
        run_url=tracker.run_url(run.run_id, server),
        status=run.status,
        aliases=version.aliases if version else (),
        figures=evidence.figures,
        pictures=evidence.pictures,
        animations=evidence.animations,
        texts=evidence.texts,
        params=run.params,
        tags=tags,
    )


def _find(tracker: Tracker, ref: str) -> tuple[ModelVersion | None, RunRecord]:
    """The version and the run of ``ref``; a run that registered nothing can be compared all the same."""
    if len(ref) == 32 and all(sign in "0123456789abcdef" for sign in ref):
        run = tracker.get_run(ref)
        versions = [version for name in tracker.model_names() for version in tracker.model_versions(name) if version.run_id == ref]
        return (versions[0] if versions else None), run
    version = resolve(tracker, ref)
    return version, tracker.get_run(version.run_id)


def _figure_rows(sides: Sequence[Sequence[Figure]]) -> list[FigureRow]:
    """A row per figure and protocol, in the order in which they first appear; rows of one name stand together."""
    rows: list[FigureRow] = []
    for name in dict.fromkeys(figure.name for figures in sides for figure in figures):
        groups: list[list[Figure | None]] = []
        for index, figures in enumerate(sides):
            for figure in (one for one in figures if one.name == name):
                home = next((group for group in groups if mismatch(_first(group), figure) is None), None)
                if home is None:
                    home = [None] * len(sides)
                    groups.append(home)
                home[index] = figure
        lead = _first(groups[0])
        for group in groups:
            figure = _first(group)
            rows.append(FigureRow(name=name, goal=figure.goal, identity=figure.identity, values=tuple(group), differs_in=mismatch(lead, figure) or ""))
    return rows


def _first(group: Sequence[Figure | None]) -> Figure:
    return next(figure for figure in group if figure is not None)


def _differences(sides: Sequence[Mapping[str, str]]) -> tuple[DifferenceRow, ...]:
    names = dict.fromkeys(name for side in sides for name in side)
    rows = (DifferenceRow(name=name, values=tuple(side.get(name, "") for side in sides)) for name in names)
    return tuple(row for row in rows if len(set(row.values)) > 1)


def _cell(figure: Figure | None, best: bool) -> str:
    if figure is None:
        return "-"
    floor = f" ({figure.floor_name or 'floor'} {number(figure.floor)})" if figure.floor is not None else ""
    return f"{number(figure.value)}{' *' if best else ''}{floor}"
