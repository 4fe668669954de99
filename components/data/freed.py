"""Versions whose bytes were freed: what is recorded of them on branch `data-versions`, in `freed/NAME.json`."""

import json

from components import git
from components.data.published import DataVersion, branch_tip
from components.errors import UserError
from components.params import Strict
from components.project import Project


class Freed(Strict):
    """One version whose bytes are gone from the remote and the cache; tag, manifest and the gate's result stay."""

    version: str
    """`v1`."""
    sha256: str
    when: str
    """UTC, ISO 8601."""
    who: str
    bytes: int
    """That became free."""

    def sentence(self, name: str) -> str:
        return f"{name}@{self.version} was freed on {self.when[:10]} by {self.who} (`genmill data gc`): its record is kept, its bytes are gone"


def freed_path(name: str) -> str:
    """Below the root of the branch's tree."""
    return f"freed/{name}.json"


def freed_at(project: Project, tip: str | None, name: str) -> dict[str, Freed]:
    """What the commit ``tip`` of the branch records as freed of dataset ``name``, by version."""
    try:
        content = git.read_blob(project.root, tip, freed_path(name)) if tip else b"[]"
    except FileNotFoundError:
        return {}
    return {freed.version: freed for freed in map(Freed.model_validate, json.loads(content))}


def freed_versions(project: Project, name: str) -> dict[str, Freed]:
    """The freed versions of dataset ``name``."""
    return freed_at(project, branch_tip(project.root), name)


def to_json(freed: dict[str, Freed]) -> bytes:
    ordered = sorted(freed.values(), key=lambda one: int(one.version[1:]))
    return (json.dumps([one.model_dump() for one in ordered], indent=1) + "\n").encode()


def refuse_freed(project: Project, version: DataVersion) -> None:
    """Raise a UserError where the bytes of ``version`` were freed."""
    freed = freed_versions(project, version.dataset).get(version.version)
    if freed:
        raise UserError(f"{freed.sentence(version.dataset)}; take one that is kept, see `genmill data log {version.dataset}`.")
