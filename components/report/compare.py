"""Compares versions and runs from what they stored: figures only where the protocol allows it, samples, curves, cost, params, data and code."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from components.errors import UserError
from components.evaluation.protocol import Figure
from components.models.family import family_names, find_family
from components.params import Strict
from components.project import Project
from components.registry.references import is_run_id, resolve
from components.registry.stored import every_stored_figure, stored_evidence
from components.registry.verdicts import GatesTable, readable_table
from components.report.code_diff import CodeDiff, code_diff, packaged_code
from components.report.cost import CostRow, cost_rows
from components.report.curves import Curve, curves
from components.report.data_diff import DataDiff, data_diff
from components.report.differences import DifferenceRow, differences, flat
from components.report.figure_rows import FigureRow, Refusal, figure_rows, refusals
from components.report.page import number, render, write_page
from components.tracking import SPEC_ARTIFACT, ModelVersion, RunRecord, Tracker

LINEAGE_TAGS = ("git_commit", "dirty", "code_sha256", "identity", "init_from", "resumed_from", "validation")


class Side(Strict):
    """One of the things compared."""

    label: str
    """The version it means, or the run's name where the run registered none."""
    asked: str
    """The reference as the user wrote it."""
    run_id: str
    run_url: str = ""
    status: str
    family: str
    aliases: tuple[str, ...]
    data: str
    """`digits@v1`."""
    figures: tuple[Figure, ...]
    """Its own, then those of later evaluations under other protocols."""
    gates: GatesTable | None
    pictures: dict[str, bytes] = Field(exclude=True)
    animations: dict[str, bytes] = Field(exclude=True)
    texts: dict[str, str]
    notes: tuple[str, ...]
    params: dict[str, str]
    """The resolved config with seed, family and size, and how it was evaluated."""
    tags: dict[str, str]
    """Our tags, without their prefix."""


class _Scored(Strict):
    """What counts here of a stored RunSpec."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    evaluation: dict[str, Any] | None = None


class Comparison(Strict):
    """Everything on the page, and where the page lies."""

    page: Path
    sides: tuple[Side, ...]
    figures: tuple[FigureRow, ...]
    refused: tuple[Refusal, ...]
    curves: tuple[Curve, ...]
    cost: tuple[CostRow, ...]
    params: tuple[DifferenceRow, ...]
    same_params: int
    """How many params are the same everywhere."""
    lineage: tuple[DifferenceRow, ...]
    data: DataDiff
    code: tuple[CodeDiff, ...]
    """Of every side with a package against the first of them."""

    @property
    def refs(self) -> tuple[str, ...]:
        return tuple(side.label for side in self.sides)

    @property
    def figure_rows(self) -> list[tuple[str, ...]]:
        """Figure, one cell per side, what stands beside it and the verdict, for a table in a terminal; the best value carries a star."""
        return [(row.name, *(_cell(figure, index == row.best) for index, figure in enumerate(row.values)), _beside(row), row.verdict) for row in self.figures]

    @property
    def difference_rows(self) -> list[tuple[str, ...]]:
        """Every param, tag and cost that is not the same, with one cell per side."""
        costs = [(row.name, *(value or "-" for value in row.shown)) for row in self.cost]
        return [*((row.name, *map(_brief, row.values)) for row in (*self.lineage, *self.params)), *costs]

    @property
    def notes(self) -> list[str]:
        """What is not compared, and why; and how the code differs."""
        return [refusal.sentence for refusal in self.refused] + [f"Code of {diff.other} against {diff.base}: {diff.summary}." for diff in self.code]


def compare(project: Project, tracker: Tracker, refs: Sequence[str], *, server: str | None = None, out: Path | None = None) -> Comparison:
    """Compare references (`MODEL`, `MODEL@ALIAS`, `MODEL/3` or run ids) from stored artifacts and write the page, ``out`` or one of the reports.

    Raises:
        UserError: fewer than two references, one that means nothing, or two that mean the same run.
    """
    if len(refs) < 2:
        raise UserError("Comparing takes at least two references, e.g. `genmill compare vae-digits@champion vae-digits@candidate`.")
    found = [_find(tracker, ref) for ref in refs]
    _require_different(refs, found)
    sides = tuple(_side(tracker, ref, version, run, server) for ref, (version, run) in zip(refs, found, strict=True))
    params = differences([side.params for side in sides])
    names = {side.tags["data_sha256"]: side.data for side in sides if side.tags.get("data_sha256")}
    figures = [side.figures for side in sides]
    comparison = Comparison(
        page=out or project.reports / f"compare-{re.sub('[^A-Za-z0-9]+', '-', '-'.join(refs))[:120]}.html",
        sides=sides,
        figures=figure_rows(figures, _headline(sides)),
        refused=refusals([side.label for side in sides], figures, names),
        curves=curves(tracker, [run for _, run in found]),
        cost=cost_rows([side.tags for side in sides]),
        params=params,
        same_params=len({name for side in sides for name in side.params}) - len(params),
        lineage=differences([_lineage(side) for side in sides]),
        data=data_diff(
            project, [(tags["dataset"], tags["data_version"], tags["data_sha256"]) for tags in (side.tags for side in sides) if tags.get("data_version")]
        ),
        code=_code_diffs(tracker, sides, [version for version, _ in found]),
    )
    html = page_of(comparison)
    write_page(comparison.page, html)
    for side in sides:
        tracker.log_text(side.run_id, html, f"comparisons/{comparison.page.name}")
    return comparison


def page_of(comparison: Comparison) -> str:
    """The page of ``comparison`` as HTML."""
    sides = comparison.sides
    kinds = {"pictures": [side.pictures for side in sides], "animations": [side.animations for side in sides]}
    images = {kind: {name: [one.get(name) for one in stored] for name in _names(stored)} for kind, stored in kinds.items()}
    texts = {name: [side.texts.get(name) for side in sides] for name in _names([side.texts for side in sides])}
    colours = {name: index for index, name in reversed(list(enumerate(side.data for side in sides)))}
    title = f"Comparison of {', '.join(comparison.refs[:-1])} and {comparison.refs[-1]}"
    return render("compare.html.j2", title=title, comparison=comparison, images=images, texts=texts, colours=colours)


def _names(stored: Sequence[dict[str, Any]]) -> list[str]:
    """Of all sides' artifacts: what most sides stored first, and there samples, then by name."""
    shared = {name: sum(name in one for one in stored) for one in stored for name in one}
    return sorted(shared, key=lambda name: (-shared[name], not name.startswith("samples"), name))


def _find(tracker: Tracker, ref: str) -> tuple[ModelVersion | None, RunRecord]:
    """The version and the run of ``ref``; a run that registered nothing can be compared all the same."""
    if is_run_id(ref):
        run = tracker.get_run(ref)
        return next(iter(tracker.versions_of_run(ref)), None), run
    version = resolve(tracker, ref)
    return version, tracker.get_run(version.run_id)


def _require_different(refs: Sequence[str], found: Sequence[tuple[ModelVersion | None, RunRecord]]) -> None:
    seen: dict[str, str] = {}
    for ref, (version, run) in zip(refs, found, strict=True):
        if run.run_id in seen:
            name = version.ref if version else run.name
            raise UserError(f"{seen[run.run_id]} and {ref} are both {name}: name two that differ (`genmill models` lists them).")
        seen[run.run_id] = ref


def _side(tracker: Tracker, ref: str, version: ModelVersion | None, run: RunRecord, server: str | None) -> Side:
    evidence = stored_evidence(tracker, run.run_id)
    tags = {name.removeprefix("genmill."): value for name, value in run.tags.items() if name.startswith("genmill.")}
    return Side(
        label=version.ref if version else f"{run.name} ({run.run_id[:6]})",
        asked=ref,
        run_id=run.run_id,
        run_url=tracker.run_url(run.run_id, server),
        status=run.status,
        family=run.tag("family") or run.params.get("family", ""),
        aliases=version.aliases if version else (),
        data=f"{run.tag('dataset')}@{run.tag('data_version')}" if run.tag("dataset") else "",
        figures=every_stored_figure(tracker, run.run_id),
        gates=readable_table(tracker, run.run_id),
        pictures=evidence.pictures,
        animations=evidence.animations,
        texts=evidence.texts,
        notes=evidence.notes,
        params={**run.params, **_evaluation(tracker, run.run_id)},
        tags=tags,
    )


def _evaluation(tracker: Tracker, run_id: str) -> dict[str, str]:
    """How the run was to be evaluated, from its RunSpec, under the names of params.yaml; one of an older form is read all the same, a damaged one not."""
    try:
        spec = _Scored.model_validate_json(tracker.read_artifact(run_id, SPEC_ARTIFACT) or b"{}")
    except ValidationError:
        return {}
    return flat(spec.evaluation or {}, "evaluation.")


def _headline(sides: Sequence[Side]) -> list[str]:
    """The figures by which the sides' families are ranked and guarded; a family that is no more has none."""
    families = [find_family(side.family) for side in sides if side.family in family_names()]
    return [*dict.fromkeys(family.primary for family in families), *dict.fromkeys(name for family in families for name in family.guards)]


def _lineage(side: Side) -> dict[str, str]:
    libraries = flat(json.loads(side.tags.get("libraries") or "{}"), "library ")
    return {**({"data": side.data} if side.data else {}), **{name: side.tags.get(name, "") for name in LINEAGE_TAGS}, **libraries}


def _code_diffs(tracker: Tracker, sides: Sequence[Side], versions: Sequence[ModelVersion | None]) -> tuple[CodeDiff, ...]:
    codes = [(side.label, packaged_code(tracker, version) if version else None) for side, version in zip(sides, versions, strict=True)]
    known = [(label, code) for label, code in codes if code]
    return tuple(code_diff(*known[0], *one) for one in known[1:])


def _cell(figure: Figure | None, best: bool) -> str:
    if figure is None:
        return "-"
    spread = f" ± {figure.uncertainty:.2g}" if figure.uncertainty is not None else ""
    return f"{number(figure.value)}{spread}{' *' if best else ''}"


def _beside(row: FigureRow) -> str:
    return f"{number(row.floor.floor)} {row.floor.floor_name or 'floor'}" if row.floor else ""


def _brief(value: str) -> str:
    """A digest's first characters, the beginning of a long text."""
    if len(value) in (40, 64) and re.fullmatch("[0-9a-f]+", value):
        return value[:12]
    return value if len(value) <= 60 else f"{value[:59]}…"
