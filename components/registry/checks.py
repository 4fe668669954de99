"""Holds a version against its gates: figures, champion, data and lineage, all read from what is stored; and keeps the verdicts with the version."""

import hashlib
import json
from collections.abc import Iterator

from components import git
from components.data.published import find_trained_on
from components.data.verify import verify
from components.errors import UserError
from components.evaluation.alarms import COLLAPSE, COPYING, DEGENERATION, MEMORISATION
from components.models.family import find_family
from components.project import Project
from components.registry.gates import Champion, GateRow, Gates, champion_rows, figure_rows, have_passed
from components.registry.package import file_hashes, files_digest
from components.registry.registration import CHAMPION, FILES_ARTIFACT
from components.registry.stored import every_stored_figure, stored_figures
from components.registry.verdicts import GatesTable
from components.tracking import ModelVersion, RunRecord, Tracker

_VERSION_TAGS = ("family", "identity", "dataset", "data_version", "data_sha256", "package_sha256", "package_code_sha256")
_RUN_TAGS = ("identity", "dataset", "data_version", "data_sha256", "validation", "params_sha256", "code_sha256", "libraries")


def check_gates(project: Project, tracker: Tracker, version: ModelVersion, gates: Gates) -> GatesTable:
    """Every rule of ``gates`` on ``version``; reads what is stored and re-hashes its data, measures nothing."""
    figures = stored_figures(tracker, version.run_id)
    champion = tracker.alias(version.name, CHAMPION)
    rows = figure_rows(gates, figures)
    if gates.champion is not None:
        rows += _champion_rows(tracker, version, gates, champion)
    if gates.data:
        rows += _data_rows(project, version)
    if gates.lineage:
        rows.append(_lineage_row(project, tracker, version))
    table = tuple(rows)
    return GatesTable(model=version.name, version=version.version, passed=have_passed(table), rows=table, champion=champion, rules_sha256=rules_digest(gates))


def champion_beside(tracker: Tracker, version: ModelVersion) -> ModelVersion | None:
    """The champion of the version's model; None where there is none, or it is the version itself."""
    number = tracker.alias(version.name, CHAMPION)
    return None if number is None or number == version.version else tracker.model_version(version.name, number)


def champion_of(tracker: Tracker, version: ModelVersion) -> Champion | None:
    """The champion beside ``version`` with all figures that are known of it."""
    champion = champion_beside(tracker, version)
    return None if champion is None else Champion(champion.ref, every_stored_figure(tracker, champion.run_id))


def headline(version: ModelVersion) -> tuple[str, ...]:
    """The figures in which a version must not be worse than the champion."""
    return find_family(version.tag("family")).headline


def still_holds(table: GatesTable, gates: Gates, champion: int | None) -> bool:
    """Whether a kept verdict can be used again: it passed, under the same rules, beside the same champion."""
    return table.passed and table.rules_sha256 == rules_digest(gates) and table.champion == champion


def rules_digest(gates: Gates) -> str:
    """sha256 of the rules, wherever they stand."""
    rules = {**gates.model_dump(exclude={"places"}), "asked": sorted(gates.places), "alarms": {**COLLAPSE, **MEMORISATION, **DEGENERATION, **COPYING}}
    return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()


def _champion_rows(tracker: Tracker, version: ModelVersion, gates: Gates, number: int | None) -> list[GateRow]:
    champion = champion_of(tracker, version)
    assert gates.champion is not None, "the rule is on"
    if champion is None:
        note = "there is no champion yet" if number is None else "it is the champion itself"
        return [GateRow(rule="champion", value=None, limit="no worse than the champion", verdict="passed", note=note)]
    return champion_rows(gates.champion, headline(version), stored_figures(tracker, version.run_id), champion)


def _data_rows(project: Project, version: ModelVersion) -> Iterator[GateRow]:
    name, wanted = version.tag("dataset"), version.tag("data_version")
    try:
        data = find_trained_on(project, name, wanted, version.tag("data_sha256"))
        yield _row("data", "validated, passed or with warnings", data.validation in ("passed", "warnings"), f"{name}@{data.version}: {data.validation}")
        checked = verify(project, name, data.version)
        gone = (*checked.freed, *checked.broken)
        found = "; ".join(gone[:3]) or f"{checked.checked} files, {checked.bytes:,} bytes re-hashed"
        yield _row("data", "every file as it was published", not gone, found)
    except UserError as error:
        yield _row("data", "every file as it was published", False, str(error))


def _lineage_row(project: Project, tracker: Tracker, version: ModelVersion) -> GateRow:
    run = tracker.get_run(version.run_id)
    recorded: dict[str, str] = json.loads(tracker.read_artifact(version.run_id, FILES_ARTIFACT) or b"{}")
    faults = [*_tag_faults(version, run), *_commit_faults(project, run), *_package_faults(tracker, version, recorded)]
    whole = f"commit {run.tag('git_commit')[:12]}, {len(recorded)} package files, {len(json.loads(run.tag('libraries') or '{}'))} library versions"
    return _row("lineage", "run, code, data, package and libraries on record", not faults, "; ".join(faults) or whole)


def _tag_faults(version: ModelVersion, run: RunRecord) -> Iterator[str]:
    missing = [f"tag {tag} of the version" for tag in _VERSION_TAGS if not version.tag(tag)]
    missing += [f"tag {tag} of the run" for tag in _RUN_TAGS if not run.tag(tag)]
    if missing:
        yield f"missing: {', '.join(missing)}"
    yield from (f"{tag} of version and run differ" for tag in _VERSION_TAGS if tag in _RUN_TAGS and version.tag(tag) != run.tag(tag))
    if run.status != "FINISHED":
        yield f"its run is {run.status}"


def _commit_faults(project: Project, run: RunRecord) -> Iterator[str]:
    commit = run.tag("git_commit")
    if not commit:
        yield "no git commit was noted: commit the project's files (`git add -A && git commit`), then train again with --refresh"
    elif git.resolve(project.root, commit) != commit:
        yield f"git commit {commit[:12]} is not in this repository: fetch it"


def _package_faults(tracker: Tracker, version: ModelVersion, recorded: dict[str, str]) -> Iterator[str]:
    """A package on this machine is hashed anew; of one in a store elsewhere its list of hashes is looked at."""
    if not recorded or files_digest(recorded) != version.tag("package_sha256"):
        yield "the list of package files is not the one that was registered"
        return
    folder = tracker.local_path(version.source)
    if folder is None:
        if version.source.startswith(("file:", "/")):
            yield f"its package is gone from {version.source}"
        return
    found = file_hashes(folder)
    changed = sorted(path for path in recorded.keys() | found.keys() if recorded.get(path) != found.get(path))
    if changed:
        yield f"package files differ from what was registered: {', '.join(changed[:3])}"


def _row(rule: str, limit: str, ok: bool, note: str) -> GateRow:
    return GateRow(rule=rule, value=None, limit=limit, verdict="passed" if ok else "failed", note=note)
