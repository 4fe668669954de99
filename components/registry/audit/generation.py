"""Data that a model drew: the version that drew it, what that was trained on, and the real rows beside it."""

from collections.abc import Iterator

from pydantic import ConfigDict, ValidationError

from components import git
from components.data.published import find_trained_on, read_published, versions
from components.errors import UserError
from components.params import Strict
from components.project import Project
from components.registry.audit.rows import AuditRow, same
from components.tracking import ModelVersion, Tracker

SYNTHETIC = "synthetic"


class DrawnSource(Strict):
    """The part of a manifest's source that names what the data goes back to."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: str
    model: str
    package_sha256: str
    trained_on: str
    data_sha256: str
    real: str = ""
    real_sha256: str = ""


def generation_rows(project: Project, tracker: Tracker, version: ModelVersion) -> Iterator[AuditRow]:
    """Rows on what drew the data of ``version``; none where it was not drawn."""
    source = _source(project, version)
    if source is None:
        return
    yield same(f"drawn by {source.model}, package", source.package_sha256, _package(tracker, source), note=f"`genmill audit {source.model}` goes on from there")
    yield same(f"data of {source.model}: {source.trained_on}", source.data_sha256, _digest(project, source))
    if source.real:
        found = next((one for one in versions(project, source.real) if one.sha256 == source.real_sha256), None)
        link = f"real rows: {source.real}@{found.version if found else '?'}"
        yield same(link, source.real_sha256, found.sha256 if found else "")


def _source(project: Project, version: ModelVersion) -> DrawnSource | None:
    """None also where the manifest cannot be read, which the rows on the data say."""
    try:
        manifest = read_published(project, find_trained_on(project, version.tag("dataset"), version.tag("data_version"), version.tag("data_sha256")))
        return DrawnSource.model_validate(manifest.source) if manifest.source.get("kind") == SYNTHETIC else None
    except (UserError, git.GitError, FileNotFoundError, ValidationError, ValueError):
        return None


def _package(tracker: Tracker, source: DrawnSource) -> str:
    name, _, number = source.model.partition("/")
    found = next((one for one in tracker.model_versions(name) if str(one.version) == number), None)
    return found.tag("package_sha256") if found else ""


def _digest(project: Project, source: DrawnSource) -> str:
    name, _, version = source.trained_on.partition("@")
    try:
        return find_trained_on(project, name, version, source.data_sha256).sha256
    except (UserError, git.GitError):
        return ""
