"""Versions whose bytes were freed: what is recorded of them on branch `data-versions`, in `freed/NAME.json`."""

import json
import time
from collections.abc import Mapping, Sequence

from components import git
from components.data.published import BRANCH, DataVersion, branch_tip, newest_line
from components.errors import UserError
from components.params import Strict
from components.project import Project

_ATTEMPTS = 20


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


def record_freed(project: Project, freed: Sequence[tuple[DataVersion, Freed]], actor: str) -> None:
    """Write on the branch which versions are freed, each once; its tags, manifests and results stay as they are."""
    names = ", ".join(f"{version.dataset}@{version.version}" for version, _ in freed)
    entries: dict[str, dict[str, Freed | None]] = {}
    for version, one in freed:
        entries.setdefault(version.dataset, {})[version.version] = one
    _rewrite(project, f"Free {names}", actor, entries)


def forget_freed(project: Project, version: DataVersion, actor: str) -> None:
    """Write on the branch that the bytes of ``version`` are there again."""
    _rewrite(project, f"Bring back {version.dataset}@{version.version}", actor, {version.dataset: {version.version: None}})


def _rewrite(project: Project, what: str, actor: str, entries: Mapping[str, Mapping[str, Freed | None]]) -> None:
    """One commit with ``entries`` by dataset and version in place of what stood there; None takes one out, and one that stands there stays."""
    root = project.root
    for _ in range(_ATTEMPTS):
        local, tip = git.resolve(root, f"refs/heads/{BRANCH}"), branch_tip(root)
        files: dict[str, bytes] = {}
        for name, changes in entries.items():
            before = freed_at(project, tip, name)
            merged = {**changes, **before, **{version: None for version, one in changes.items() if one is None}}
            after = {version: one for version, one in merged.items() if one is not None}
            if after != before:
                files[freed_path(name)] = to_json(after)
        if not files:
            return
        message = f"{what}\n\nActor: {actor}\n{newest_line(root, tip)}\n"
        commit = git.commit_tree(root, files, [tip] if tip else [], message, actor, base=tip)
        try:
            git.transaction(root, [git.RefUpdate(f"refs/heads/{BRANCH}", commit, local)], f"genmill: {what}")
        except git.RefConflict:
            time.sleep(0.1)
            continue
        return
    raise UserError(f"Branch {BRANCH} cannot be moved: see whether another git command hangs in {root}, then run again.")


def refuse_freed(project: Project, version: DataVersion) -> None:
    """Raise a UserError where the bytes of ``version`` were freed."""
    freed = freed_versions(project, version.dataset).get(version.version)
    if freed:
        raise UserError(f"{freed.sentence(version.dataset)}; take one that is kept, see `genmill data log {version.dataset}`.")
