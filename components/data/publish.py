"""Stage 5: a validated dataset becomes version vN, wholly or not at all.

Order: the local shards are re-hashed, pushed, read back from the remote, and only then ONE transaction of refs moves branch
`data-versions` and creates the tag `data/NAME/vN`. Killed anywhere before, nothing is published; after, everything is.
"""

import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from components import git
from components.data import dvc_repo
from components.data.changes import Changes, Rows, compared_rows, differing_shards
from components.data.config import find_git_remote
from components.data.credentials import hide, refuse_credentials
from components.data.dataset import Manifest, checked_shard, is_added, read_manifest, stage_folder
from components.data.failure import ValidationFailed
from components.data.freed import forget_freed, freed_versions
from components.data.lockfile import merged_lock
from components.data.locking import data_lock
from components.data.published import (
    BRANCH,
    DataVersion,
    FlowOrigin,
    branch_tip,
    current_version,
    describe,
    find_version,
    newest_line,
    numbers_at,
    prepared_version,
    read_published,
    read_published_validation,
    sentence,
    version_of_content,
    versions,
    write_tag,
)
from components.data.result import ValidationResult, read_result
from components.data.shard_files import shard_files
from components.data.sharing import is_unsent, share, take_over, unreachable
from components.data.store import Store
from components.data.verify import check_store
from components.errors import UserError
from components.project import Project

__all__ = [
    "BRANCH", "DataVersion", "FlowOrigin", "current_version", "describe", "find_version", "prepared_version", "publish", "read_published",
    "read_published_validation", "versions",
]  # fmt: skip
_ATTEMPTS = 20


def publish(project: Project, name: str, *, actor: str, flow: FlowOrigin | None = None) -> DataVersion:
    """Publish what is prepared of dataset ``name``; the same content is the same version. ``flow`` is recorded beside ``actor`` where there is one.

    Raises:
        ValidationFailed: the gate has not passed this content.
        UserError: it is not prepared, there is no git repository, a file that the version would carry holds a secret, or the remote failed.
    """
    git.require_repository(project.root)
    refuse_credentials(project)
    remote = find_git_remote(project)
    with data_lock(project, f"genmill: publish {name}"):
        manifest, result = _ready(project, name)
        prepared = _Prepared(manifest, result, (project.root / "dvc.lock").read_bytes(), actor, flow)
        return _shared(project, remote, prepared) if remote else _published(project, prepared)


@dataclass(frozen=True)
class _Prepared:
    """What is to be published, and by whom."""

    manifest: Manifest
    result: ValidationResult
    lock: bytes
    actor: str
    flow: FlowOrigin | None


def _published(project: Project, prepared: _Prepared) -> DataVersion:
    """The version here: the one that has this content, with its bytes sent again where they were freed, or a new one."""
    name = prepared.manifest.name
    known = version_of_content(project, name, prepared.manifest.sha256)
    if known and known.version not in freed_versions(project, name):
        return known
    _send(project, name, prepared.manifest, prepared.lock)
    if known:
        forget_freed(project, known, prepared.actor)
        return known
    return _commit(project, prepared)


def _shared(project: Project, remote: str, prepared: _Prepared) -> DataVersion:
    """The same, behind what others published on the git remote and brought there; where that cannot be reached it stands here until later."""
    name, sha256 = prepared.manifest.name, prepared.manifest.sha256
    made: DataVersion | None = None
    try:
        if version_of_content(project, name, sha256) is None:
            take_over(project, remote)
        made = _published(project, prepared)
        if not made.new and not is_unsent(project, remote):
            return made
        sharing = share(project, remote)
    except git.RemoteUnreachable as error:
        made = made or _published(project, prepared)
        return made.model_copy(update={"note": unreachable(project, remote, f"{name} {made.version}", error)})
    final = version_of_content(project, name, sha256)
    assert final is not None, "it was published a moment ago"
    new = made.new and f"refs/tags/{final.tag}" in sharing.pushed
    return final.model_copy(update={"new": new, "note": " ".join(sharing.sentences)})


def _ready(project: Project, name: str) -> tuple[Manifest, ValidationResult]:
    manifest = read_manifest(stage_folder(project, name, "augment"))
    result = read_result(project, name)
    if manifest is None or result is None or not (project.root / "dvc.lock").is_file():
        raise UserError(f"Dataset {name!r} is not prepared: run `genmill run --dataset {name}`.")
    if result.manifest_sha256 != manifest.sha256:
        raise UserError(f"Dataset {name!r} has changed since it was validated: run `genmill run --dataset {name}`.")
    if result.outcome == "failed":
        raise ValidationFailed(f"Dataset {name!r} failed its validation and is not published: {result.broken[0].sentence}.")
    return manifest, result


def _send(project: Project, name: str, manifest: Manifest, lock: bytes) -> None:
    """Local files checked and fsynced, pushed, and read back from the remote."""
    for shard in manifest.shards:
        _fsync(checked_shard(project, shard))
    dvc_repo.push(project, name)
    with dvc_repo.stores(project) as (remote, _):
        try:
            broken = [fault.sentence for fault in check_store(remote, lock, manifest, trusted=_hashed_before(project, name, remote))]
        except (FileNotFoundError, ValueError) as error:
            broken = [f"A list of files is missing or damaged ({error})"]
    if broken:
        raise UserError(f"{broken[0]}: {remote.where} does not hold what was sent; check its disk, then run again. Nothing was published.")


def _hashed_before(project: Project, name: str, remote: Store) -> frozenset[str]:
    """The files of the version before this one: its publish has read them back, and a remote far away need not send all again."""
    before = current_version(project, name)
    if before is None:
        return frozenset()
    try:
        return frozenset(file.md5 for file in remote.files(git.read_blob(project.root, before.commit, "dvc.lock"), name))
    except (FileNotFoundError, ValueError):
        return frozenset()


def _commit(project: Project, prepared: _Prepared) -> DataVersion:
    """Write the commit and the tag and move the refs; again from the new tip when somebody was faster."""
    name, changes = prepared.manifest.name, None
    for _ in range(_ATTEMPTS):
        known = version_of_content(project, name, prepared.manifest.sha256)
        if known:
            return known
        before = current_version(project, name)
        if changes is None or changes.against != (before.version if before else ""):
            changes = _changes(project, prepared.manifest, before)
        try:
            return _attempt(project, prepared, changes)
        except git.RefConflict as conflict:
            reason = str(conflict)
            time.sleep(0.1)
    raise UserError(f"Branch {BRANCH} cannot be moved ({reason}): see whether another git command hangs in {project.root}, then run again.")


def _changes(project: Project, manifest: Manifest, before: DataVersion | None) -> Changes:
    """The rows against those of the version ``before``; a version whose shards cannot be had any more keeps nothing from being published."""
    if before is None:
        return Changes(against="", added=sum(shard.rows for shard in manifest.shards if not is_added(shard)))
    try:
        old = read_published(project, before)
        of_old, of_new = differing_shards(old, manifest)
        with shard_files(project, before, of_old) as files:
            new_files = {shard.path: project.root / shard.path for shard in of_new}
            with compared_rows(project, Rows(old, files), Rows(manifest, new_files), before.version) as comparison:
                return comparison.counts()
    except (UserError, FileNotFoundError) as error:
        return Changes(against=before.version, unknown=f"not counted: {hide(project, str(error))}")


def _attempt(project: Project, prepared: _Prepared, changes: Changes) -> DataVersion:
    root, manifest, name = project.root, prepared.manifest, prepared.manifest.name
    local, tip = git.resolve(root, f"refs/heads/{BRANCH}"), branch_tip(root)
    number = 1 + _newest_number(root, name, tip)
    version = DataVersion(
        dataset=name, version=f"v{number}", sha256=manifest.sha256, tag=f"data/{name}/v{number}", commit="",
        created=datetime.now(UTC).isoformat(timespec="seconds"), actor=prepared.actor, rows=manifest.rows_by_split(), bytes=manifest.num_bytes,
        validation=prepared.result.outcome, source=json.dumps(manifest.source, sort_keys=True), flow=prepared.flow, changes=changes,
    )  # fmt: skip
    files = {
        ".dvc/config": (root / ".dvc/config").read_bytes(),
        "dvc.yaml": (root / "dvc.yaml").read_bytes(),
        "params.yaml": project.params.read_bytes(),
        "dvc.lock": merged_lock(_blob(root, tip, "dvc.lock"), prepared.lock, name),
        f"manifests/{name}.json": manifest.to_json().encode(),
        f"validation/{name}.json": (prepared.result.model_dump_json(indent=1) + "\n").encode(),
    }
    message = f"{version.tag}\n\n{sentence(version)}\n\nActor: {version.actor}\nCode-Commit: {git.head(root) or 'none'}\n{newest_line(root, tip, version)}\n"
    commit = git.commit_tree(root, files, [tip] if tip else [], message, version.actor, base=tip)
    updates = [git.RefUpdate(f"refs/heads/{BRANCH}", commit, local), git.RefUpdate(f"refs/tags/{version.tag}", write_tag(root, version, commit), None)]
    git.transaction(root, updates, f"genmill: publish {version.tag}")
    return version.model_copy(update={"commit": commit, "new": True})


def _newest_number(root: Path, name: str, tip: str | None) -> int:
    """The highest version that the tags or, where a clone brought no tags, the branch's last commit knows."""
    tags = [ref.name.rsplit("/", 1)[-1] for ref in git.list_refs(root, f"refs/tags/data/{name}/")]
    numbers = [int(tag[1:]) for tag in tags if tag.startswith("v") and tag[1:].isdigit()]
    return max([*numbers, numbers_at(root, tip).get(name, 0)])


def _blob(root: Path, ref: str | None, path: str) -> bytes | None:
    try:
        return git.read_blob(root, ref, path) if ref else None
    except FileNotFoundError:
        return None


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
