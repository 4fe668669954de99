"""The data: the version that the run names, what is written down of it, and every byte of it."""

from collections.abc import Iterator

from components import git
from components.data.cleaning.quarantine import QUARANTINE
from components.data.dataset import MANIFEST
from components.data.freed import freed_versions
from components.data.published import DataVersion, find_trained_on, read_published
from components.data.recorded import check_records
from components.data.verify import Verification, verify_files
from components.errors import UserError
from components.project import Project
from components.registry.audit.rows import AuditRow, not_rehashed, same, same_where_recorded, unbroken
from components.tracking import ModelVersion, RunRecord

_SIGNS = {f"/{MANIFEST}": "manifest", "data/validation/": "validation result", f"/{QUARANTINE}": "cleaning report"}
"""What a file's path holds, and the row that its damage belongs to."""


def data_rows(project: Project, version: ModelVersion, run: RunRecord, *, rehash: bool) -> Iterator[AuditRow]:
    """Rows on the data version that ``version`` was trained on."""
    name, wanted = version.tag("dataset"), version.tag("data_version")
    try:
        data = find_trained_on(project, name, wanted, version.tag("data_sha256"))
    except (UserError, git.GitError) as error:
        yield AuditRow(link="data version", expected=f"{name}@{wanted}", found=str(error), ok=False)
        return
    renumbered = data.version != wanted
    note = f"it is {name}@{data.version} now, for others had published another {wanted} meanwhile" if renumbered else ""
    yield same(f"data version {name}@{wanted}", version.tag("data_sha256"), data.sha256, note)
    if not renumbered:  # else it was written anew, behind the commits of others
        yield same_where_recorded("commit of the data", run.tag("data_commit"), data.commit)
    yield same("validation of the data", run.tag("validation") or data.validation, data.validation)
    gone = freed_versions(project, name).get(data.version)
    if gone:
        yield AuditRow(link="shards", expected=f"the bytes that {data.tag} names", found=gone.sentence(name), ok=False)
    elif rehash:
        yield from _rehashed_rows(project, data)
    else:
        yield from (not_rehashed(link, f"as {data.tag} names it") for link in ("manifest", "validation result", "cleaning report", "shards"))
    yield _source_row(project, data)


def _rehashed_rows(project: Project, data: DataVersion) -> Iterator[AuditRow]:
    """What is written down of the version in every place, and all of its files."""
    records = check_records(project, data)
    readable = not (records.lock or records.manifest)
    files = verify_files(project, data) if readable else Verification(ok=False, checked=0, bytes=0, broken=("cannot be checked without the manifest",))
    by_link: dict[str, list[str]] = {"manifest": [*records.lock, *records.manifest], "validation result": [*records.validation]}
    by_link |= {"cleaning report": [*records.cleaning], "shards": []}
    for sentence in files.broken:
        by_link[next((link for sign, link in _SIGNS.items() if sign in sentence), "shards")].append(sentence)
    yield unbroken("manifest", f"as {data.tag} and dvc.lock name it", by_link["manifest"])
    yield unbroken("validation result", f"{data.validation}, for this manifest", by_link["validation result"])
    yield unbroken("cleaning report", "the rows in quarantine", by_link["cleaning report"], found="as many rows for each reason")
    yield unbroken("shards", f"the bytes that {data.tag} names", by_link["shards"], found=f"{files.checked} files re-hashed ({files.bytes:,} bytes)")


def _source_row(project: Project, data: DataVersion) -> AuditRow:
    try:
        manifest = read_published(project, data)
    except (FileNotFoundError, ValueError):
        return AuditRow(link="source", expected=data.source, found="the manifest cannot be read", ok=False)
    found = ", ".join(f"{key}: {value}" for key, value in manifest.source.items())
    return AuditRow(link="source", expected=data.source, found=found or data.source, ok=True, note=f"licence: {manifest.licence}" if manifest.licence else "")
