"""The page of an audit: one version for somebody who knows nothing of the project, with every link of its chain as it was found."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from components import git
from components.data.dataset import Manifest
from components.data.published import DataVersion, find_trained_on, read_published, read_published_validation
from components.data.result import ValidationResult
from components.errors import UserError
from components.evaluation.evidence import Evidence
from components.evaluation.protocol import Figure
from components.models.family import find_family
from components.params import Strict
from components.project import Project
from components.registry import ledger
from components.registry.audit.code import holds_code
from components.registry.ledger import Record
from components.registry.lineage import AuditReport
from components.registry.package import CARD_FILE
from components.registry.references import resolve
from components.registry.stored import every_stored_figure, stored_evidence
from components.registry.verdicts import GatesTable, readable_table
from components.report.page import render, write_page
from components.tracking import ENVIRONMENT_ARTIFACT, SPEC_ARTIFACT, ModelVersion, RunRecord, Tracker

COST = {
    "parameters": "parameters", "train_s": "seconds of training", "evaluate_s": "seconds of evaluation", "wall_s": "seconds in all",
    "core_s": "processor seconds", "peak_memory_bytes": "bytes of memory at most", "flops": "floating-point operations",
}  # fmt: skip
MACHINE = ("machine", "python", "hardware.device_name", "hardware.precision", "hardware.matmul", "hardware.threads")
CARD_SECTIONS = ("Intended use", "Limits", "Notes")


class DataAccount(Strict):
    """What is written down of the data version."""

    version: DataVersion
    manifest: Manifest
    validation: ValidationResult


class Account(Strict):
    """Everything on the page besides the links."""

    model: ModelVersion
    run: RunRecord
    summary: str
    """What a model of this family does."""
    card: str
    sections: dict[str, str]
    """Those of the card that say what nothing else on the page does."""
    primary: str
    records: tuple[Record, ...]
    """The ledger's of the model, newest first."""
    gates: GatesTable | None
    figures: tuple[Figure, ...]
    commit_subject: str
    own_code: bool
    """Whether the project's repository holds the code that ran."""
    params: dict[str, str]
    spec: str
    """run.json as it is stored."""
    data: DataAccount | None
    libraries: dict[str, str]
    environment: str
    machine: dict[str, str]
    cost: dict[str, str]
    commands: tuple[str, ...]
    pictures: dict[str, bytes] = Field(exclude=True)
    animations: dict[str, bytes] = Field(exclude=True)
    texts: dict[str, str]
    notes: tuple[str, ...]


def write_audit_page(project: Project, tracker: Tracker, report: AuditReport, to: Path | None = None) -> AuditReport:
    """Write the page of ``report`` (default: into the reports folder); the report with its place."""
    page = to or project.reports / f"audit-{re.sub('[^A-Za-z0-9]+', '-', report.version)}.html"
    account = take_account(project, tracker, report.version)
    title = f"Audit of {report.version}"
    return report.model_copy(update={"page": write_page(page, render("audit.html.j2", title=title, report=report, account=account))})


def take_account(project: Project, tracker: Tracker, ref: str) -> Account:
    """Read what is stored of the version ``ref``; what cannot be read is left out, for the links name it."""
    model = resolve(tracker, ref)
    run = tracker.get_run(model.run_id)
    family, commit = find_family(model.tag("family")), run.tag("git_commit")
    card, evidence, data = _card(tracker, model), _evidence(tracker, run.run_id), _data(project, model)
    own_code = bool(commit) and holds_code(project, commit)
    return Account(
        model=model, run=run, summary=family.summary, primary=family.primary, card=card, sections=_sections(card), records=_records(project, model.name),
        gates=readable_table(tracker, run.run_id), figures=_figures(tracker, run.run_id), commit_subject=_subject(project, commit), own_code=own_code,
        params=run.params, spec=(tracker.read_artifact(run.run_id, SPEC_ARTIFACT) or b"").decode("utf-8", errors="replace"), data=data,
        libraries=_libraries(run), environment=(tracker.read_artifact(run.run_id, ENVIRONMENT_ARTIFACT) or b"").decode("utf-8", errors="replace"),
        machine=_tags(run, {name: name.rpartition(".")[2].replace("_", " ") for name in MACHINE}), cost=_tags(run, COST),
        commands=_commands(project, model, commit if own_code else ""), pictures=evidence.pictures, animations=evidence.animations, texts=evidence.texts,
        notes=evidence.notes,
    )  # fmt: skip


def _card(tracker: Tracker, model: ModelVersion) -> str:
    """The whole card from the package where that lies here; the registry keeps its first 5,000 characters."""
    folder = tracker.local_path(model.source)
    whole = folder / CARD_FILE if folder is not None else None
    return whole.read_text(encoding="utf-8", errors="replace") if whole is not None and whole.is_file() else model.description


def _sections(card: str) -> dict[str, str]:
    parts = dict(part.partition("\n")[::2] for part in card.split("\n## ")[1:])
    return {name: parts[name].strip() for name in CARD_SECTIONS if parts.get(name, "").strip() not in ("", "Not stated.")}


def _records(project: Project, model: str) -> tuple[Record, ...]:
    try:
        return tuple(reversed(ledger.read(project, model)))
    except (UserError, git.GitError):
        return ()


def _figures(tracker: Tracker, run_id: str) -> tuple[Figure, ...]:
    try:
        return every_stored_figure(tracker, run_id)
    except ValueError:
        return ()


def _evidence(tracker: Tracker, run_id: str) -> Evidence:
    try:
        return stored_evidence(tracker, run_id)
    except ValueError:
        return Evidence(())


def _data(project: Project, model: ModelVersion) -> DataAccount | None:
    try:
        version = find_trained_on(project, model.tag("dataset"), model.tag("data_version"), model.tag("data_sha256"))
        return DataAccount(version=version, manifest=read_published(project, version), validation=read_published_validation(project, version))
    except (UserError, git.GitError, FileNotFoundError, ValueError):
        return None


def _subject(project: Project, commit: str) -> str:
    """The first line of the commit's message."""
    try:
        found = git.log(project.root, commit, limit=1) if commit else []
    except git.GitError:
        return ""
    return found[0][1].partition("\n")[0] if found else ""


def _libraries(run: RunRecord) -> dict[str, str]:
    try:
        versions: dict[str, str] = json.loads(run.tag("libraries") or "{}")
    except ValueError:
        return {}
    return versions


def _tags(run: RunRecord, names: Mapping[str, str]) -> dict[str, str]:
    return {title: run.tag(name) for name, title in names.items() if run.tag(name)}


def _commands(project: Project, model: ModelVersion, commit: str) -> tuple[str, ...]:
    """What brings code, data and model back."""
    data = f"{model.tag('dataset')}@{model.tag('data_version')}"
    code = (f"git -C {shlex.quote(str(project.root))} worktree add ../{model.name}-code {commit}",) if commit else ()
    return (
        *code,
        f"genmill data restore {data} --to {data.replace('@', '-')}",
        f"genmill reproduce {model.ref}",
        f"genmill audit {model.ref}",
    )
