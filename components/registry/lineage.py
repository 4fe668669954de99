"""From a version in the registry back to the raw bytes, re-hashing everything on the way; and an overview of the models."""

import contextlib
from pathlib import Path

from pydantic import computed_field

from components.models.family import find_family
from components.params import Strict
from components.project import Project
from components.registry.audit.code import code_rows
from components.registry.audit.data import data_rows
from components.registry.audit.generation import generation_rows
from components.registry.audit.ledger import ledger_rows
from components.registry.audit.package import opened_package, package_rows
from components.registry.audit.rows import AuditRow
from components.registry.audit.run import run_rows
from components.registry.references import resolve
from components.registry.registration import CANDIDATE, CHAMPION
from components.registry.stored import stored_figures
from components.tracking import ModelVersion, RunRecord, Tracker


class AuditReport(Strict):
    """Every link of the chain behind one version."""

    ref: str
    version: str
    rows: tuple[AuditRow, ...]
    rehashed: bool = True
    page: Path | None = None
    """Where the page was written, if one was."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """Whether no link is broken, of those that were looked at."""
        return all(row.ok is not False for row in self.rows)

    @property
    def broken(self) -> tuple[str, ...]:
        """The broken links, one sentence each."""
        return tuple(f"{row.link}: expected {row.expected}, found {row.found}" for row in self.rows if row.ok is False)


def audit(project: Project, tracker: Tracker, ref: str, *, rehash: bool = True) -> AuditReport:
    """Follow ``ref`` back to its source: package files, run, code, data version, every shard, and the ledger.

    Without ``rehash`` only what is recorded is read, and what would have to be hashed is neither right nor wrong.

    Raises:
        UserError: ``ref`` means nothing.
    """
    version = resolve(tracker, ref)
    rows = _rows(project, tracker, version, tracker.get_run(version.run_id), rehash=rehash)
    return AuditReport(ref=ref, version=version.ref, rows=rows, rehashed=rehash)


def _rows(project: Project, tracker: Tracker, version: ModelVersion, run: RunRecord, *, rehash: bool) -> tuple[AuditRow, ...]:
    with opened_package(tracker, version) if rehash else contextlib.nullcontext() as folder:
        stored = [*package_rows(tracker, version, folder, rehash=rehash), *run_rows(tracker, version, run, folder, rehash=rehash)]
        stored += code_rows(project, run, folder, rehash=rehash)
    data = (*data_rows(project, version, run, rehash=rehash), *generation_rows(project, tracker, version))
    return (*stored, *data, *ledger_rows(project, tracker, version, rehash=rehash))


class ModelOverview(Strict):
    """One registered model at a glance."""

    model: str
    champion: int | None
    candidate: int | None
    figures: str
    """The primary figure and the guards of the newest version, e.g. `fid_own 9.53, bits_per_dim 2.31`."""
    data_version: str
    run_id: str


def overview(tracker: Tracker) -> list[ModelOverview]:
    """Every registered model with what is in production, what waits, and the newest version's figures."""
    found = []
    for name in tracker.model_names():
        versions, aliases = tracker.model_versions(name), tracker.aliases(name)
        if not versions:
            continue
        newest = versions[0]
        family = find_family(newest.tag("family"))
        shown = [figure for figure in stored_figures(tracker, newest.run_id) if figure.name in family.headline]
        figures = ", ".join(f"{figure.name} {figure.value:.4g}" for figure in shown)
        found.append(
            ModelOverview(
                model=name,
                champion=aliases.get(CHAMPION),
                candidate=aliases.get(CANDIDATE),
                figures=figures,
                data_version=f"{newest.tag('dataset')}@{newest.tag('data_version')}",
                run_id=newest.run_id,
            )
        )
    return found
