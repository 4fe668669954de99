"""From a version in the registry back to the raw bytes, re-hashing everything on the way; and an overview of the models."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import computed_field

from components import git
from components.data.publish import DataVersion, find_version, read_published
from components.data.verify import verify as verify_data
from components.errors import UserError
from components.models.family import find_family
from components.params import Strict
from components.project import Project
from components.registry import ledger
from components.registry.ledger import Record
from components.registry.package import file_hashes, files_digest
from components.registry.promotion import mirrors
from components.registry.references import resolve
from components.registry.registration import CANDIDATE, CHAMPION, FILES_ARTIFACT
from components.registry.runtime import read_spec
from components.registry.stored import stored_figures
from components.tracking import ModelVersion, RunRecord, Tracker


class AuditRow(Strict):
    """One link of the chain."""

    link: str
    expected: str
    found: str
    ok: bool
    note: str = ""
    """What is worth knowing although nothing is broken."""


class AuditReport(Strict):
    ref: str
    version: str
    rows: tuple[AuditRow, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        return all(row.ok for row in self.rows)

    @property
    def broken(self) -> tuple[str, ...]:
        """The broken links, one sentence each."""
        return tuple(f"{row.link}: expected {row.expected}, found {row.found}" for row in self.rows if not row.ok)


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
        shown = [figure for figure in stored_figures(tracker, newest.run_id) if figure.name in (family.primary, *family.guards)]
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


def audit(project: Project, tracker: Tracker, ref: str) -> AuditReport:
    """Follow ``ref`` back to its source: package files, run, code, data version, every shard, and the ledger.

    Raises:
        UserError: ``ref`` means nothing.
    """
    version = resolve(tracker, ref)
    run = tracker.get_run(version.run_id)
    rows = [*_package_rows(tracker, version), *_run_rows(version, run), *_code_rows(project, tracker, version, run)]
    rows += [*_data_rows(project, version, run), *_ledger_rows(project, tracker, version)]
    return AuditReport(ref=ref, version=version.ref, rows=tuple(rows))


def _package_rows(tracker: Tracker, version: ModelVersion) -> Iterator[AuditRow]:
    recorded: dict[str, str] = json.loads(tracker.read_artifact(version.run_id, FILES_ARTIFACT) or b"{}")
    expected = version.tag("package_sha256")
    yield _row("list of package files", expected, files_digest(recorded) if recorded else "none")
    with tempfile.TemporaryDirectory() as scratch:
        folder = _package_folder(tracker, version, Path(scratch))
        found = file_hashes(folder) if folder is not None else {}
        wrong = [f"{path} is missing" for path in recorded.keys() - found.keys()]
        wrong += [f"{path} was added" for path in found.keys() - recorded.keys()]
        wrong += [f"{path} differs" for path in recorded.keys() & found.keys() if recorded[path] != found[path]]
        detail = f"{_short(files_digest(found))}: {'; '.join(sorted(wrong)[:5])}" if folder is not None else f"no folder at {version.source}"
        yield AuditRow(
            link="package files",
            expected=_short(expected),
            found=f"{len(found)} files, all as recorded" if not wrong and found else detail,
            ok=not wrong and bool(found),
        )
        if folder is not None and (folder / "artifacts/spec.json").is_file():
            spec = read_spec(folder / "artifacts")
            yield _row("run identity in the package", version.tag("identity"), spec.identity)
            yield _row("data version in the package", version.tag("data_sha256"), spec.data_sha256)


def _package_folder(tracker: Tracker, version: ModelVersion, scratch: Path) -> Path | None:
    """The stored package itself where it lies on this machine, else a fresh copy of it."""
    if version.source.startswith("file:"):
        return tracker.local_path(version.source)
    return tracker.download(version.source, scratch)


def _run_rows(version: ModelVersion, run: RunRecord) -> Iterator[AuditRow]:
    yield _row("MLflow run", "FINISHED", run.status)
    for tag in ("identity", "data_sha256", "data_version"):
        yield _row(f"{tag} of the run", version.tag(tag), run.tag(tag))


def _code_rows(project: Project, tracker: Tracker, version: ModelVersion, run: RunRecord) -> Iterator[AuditRow]:
    commit, dirty = run.tag("git_commit"), run.tag("dirty").lower() == "true"
    if not commit:
        yield AuditRow(
            link="git commit", expected="a commit", found="none was noted", ok=True, note="the project had no commit then; the package holds the code"
        )
        return
    known = git.resolve(project.root, commit) == commit
    note = "the work tree had uncommitted changes; the package holds the code that ran" if dirty else ""
    yield AuditRow(link="git commit", expected=_short(commit), found=_short(commit) if known else "no such commit here", ok=known, note=note)
    folder = tracker.local_path(version.source)
    if known and not dirty and folder is not None and _has_own_code(project, commit):
        wrong = [path for path, content in _packaged_code(folder) if _digest_at(project, commit, path) != hashlib.sha256(content).hexdigest()]
        found = "the same files" if not wrong else f"other content of {', '.join(wrong[:3])}"
        yield AuditRow(link="packaged code", expected=f"the files of {_short(commit)}", found=found, ok=not wrong)


def _has_own_code(project: Project, commit: str) -> bool:
    """Whether the project's repository is Genmill's own checkout; a project made by `init` holds no code."""
    return _digest_at(project, commit, "components/__init__.py") is not None


def _packaged_code(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted((folder / "code").rglob("*.py")):
        yield path.relative_to(folder / "code").as_posix(), path.read_bytes()


def _digest_at(project: Project, commit: str, path: str) -> str | None:
    try:
        return hashlib.sha256(git.read_blob(project.root, commit, path)).hexdigest()
    except FileNotFoundError:
        return None


def _data_rows(project: Project, version: ModelVersion, run: RunRecord) -> Iterator[AuditRow]:
    name, wanted = version.tag("dataset"), version.tag("data_version")
    try:
        data = find_version(project, name, wanted)
    except UserError as error:
        yield AuditRow(link="data version", expected=f"{name}@{wanted}", found=str(error), ok=False)
        return
    yield _row(f"data version {name}@{wanted}", version.tag("data_sha256"), data.sha256)
    yield _row("validation of the data", run.tag("validation") or data.validation, data.validation)
    yield _shards_row(project, data)
    manifest = read_published(project, data)
    source = ", ".join(f"{key}: {value}" for key, value in manifest.source.items())
    yield AuditRow(link="source", expected=data.source, found=source or data.source, ok=True, note=f"licence: {manifest.licence}" if manifest.licence else "")


def _shards_row(project: Project, data: DataVersion) -> AuditRow:
    checked = verify_data(project, data.dataset, data.version)
    found = f"{checked.checked} files re-hashed ({checked.bytes:,} bytes)" if checked.ok else "; ".join(checked.broken[:5])
    return AuditRow(link="shards", expected=f"the bytes that {data.tag} names", found=found, ok=checked.ok)


def _ledger_rows(project: Project, tracker: Tracker, version: ModelVersion) -> Iterator[AuditRow]:
    broken = ledger.verify(project, mirrors(tracker))
    yield AuditRow(link="ledger", expected="an unbroken chain of records", found=" ".join(broken) or "an unbroken chain of records", ok=not broken)
    if broken:
        return
    records = ledger.read(project, version.name)
    champion, stack = tracker.alias(version.name, CHAMPION), ledger.champions(records)
    yield _row("champion in the ledger", f"version {champion}" if champion else "none", f"version {stack[-1]}" if stack else "none")
    pending = ledger.open_intents(records)
    if pending:
        yield AuditRow(
            link="open intent", expected="none", found=f"record {pending[0].number} was never closed: the next promote or rollback mends it", ok=False
        )
    promoted = next((record for record in reversed(records) if record.state == "done" and record.to_version == version.version), None)
    if promoted:
        yield from _record_rows(version, promoted)


def _record_rows(version: ModelVersion, record: Record) -> Iterator[AuditRow]:
    yield _row(f"package in record {record.number}", record.package_sha256, version.tag("package_sha256"))
    yield _row(f"run in record {record.number}", record.run_id, version.run_id)
    yield _row(f"data in record {record.number}", record.data_sha256, version.tag("data_sha256"))


def _row(link: str, expected: str, found: str) -> AuditRow:
    return AuditRow(link=link, expected=_short(expected), found=_short(found) or "nothing", ok=bool(expected) and expected == found)


def _short(text: str) -> str:
    """A digest's first characters; any other text as it is."""
    return text[:16] if len(text) in (32, 40, 64) and all(sign in "0123456789abcdef" for sign in text) else text
