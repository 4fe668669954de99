"""Stage 5: a validated dataset becomes version vN, wholly or not at all.

Order: the local shards are re-hashed, pushed, read back from the remote, and only then ONE transaction of refs moves branch
`data-versions` and creates the tag `data/NAME/vN`. Killed anywhere before, nothing is published; after, everything is.
"""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components import git
from components.data import dvc_repo
from components.data.credentials import refuse_credentials
from components.data.dataset import Manifest, checked_shard, read_manifest, stage_folder
from components.data.failure import ValidationFailed
from components.data.lockfile import merged_lock
from components.data.locking import data_lock
from components.data.result import ValidationResult, read_result
from components.data.store import Store
from components.errors import UserError, nearest
from components.params import Strict
from components.project import Project

BRANCH = "data-versions"
_ATTEMPTS = 20
_NEWEST = "Newest:"
"""Line of a commit's message with the newest version of every dataset."""


class DataVersion(Strict):
    """A published version of a dataset."""

    dataset: str
    version: str
    """`v1`, `v2`, …"""
    sha256: str
    """`Manifest.sha256`: digest of the content."""
    tag: str
    """`data/digits/v3`."""
    commit: str
    created: str
    """UTC, ISO 8601."""
    actor: str
    rows: dict[str, int]
    """By split, added rows included."""
    bytes: int
    validation: str
    """`passed` or `warnings`."""
    source: str
    new: bool = False
    """True only in the answer of the publish that made it."""

    @property
    def number(self) -> int:
        return int(self.version[1:])


def publish(project: Project, name: str, *, actor: str) -> DataVersion:
    """Publish what is prepared of dataset ``name``; the same content is the same version.

    Raises:
        ValidationFailed: the gate has not passed this content.
        UserError: it is not prepared, there is no git repository, a file that the version would carry holds a secret, or the remote failed.
    """
    git.require_repository(project.root)
    refuse_credentials(project)
    with data_lock(project, f"genmill: publish {name}"):
        manifest, result = _ready(project, name)
        known = _same_content(project, name, manifest.sha256)
        if known:
            return known
        lock = (project.root / "dvc.lock").read_bytes()
        _send(project, name, manifest, lock)
        return _commit(project, manifest, result, lock, actor)


def versions(project: Project, name: str) -> list[DataVersion]:
    """Every published version of ``name``, newest first."""
    found = [version for ref in git.list_refs(project.root, f"refs/tags/data/{name}/") if (version := _from_tag(ref))]
    return sorted(found, key=lambda version: -version.number)


def current_version(project: Project, name: str) -> DataVersion | None:
    """The newest published version, or None."""
    return next(iter(versions(project, name)), None)


def prepared_version(project: Project, name: str) -> DataVersion | None:
    """The published version whose content lies in the project's folders now, or None."""
    manifest = read_manifest(stage_folder(project, name, "augment"))
    return _same_content(project, name, manifest.sha256) if manifest else None


def find_version(project: Project, name: str, ref: str) -> DataVersion:
    """The version that ``ref`` names: `v3`, `3`, `NAME@v3`, `data/NAME/v3`; `latest` or nothing is the newest.

    Raises:
        UserError: there is no such version; the message lists those that are there.
    """
    wanted = ref.removeprefix(f"data/{name}/").removeprefix(f"{name}@")
    found = versions(project, name)
    if not found:
        published = {ref.name.split("/")[3] for ref in git.list_refs(project.root, "refs/tags/data/")}
        raise UserError(f"Dataset {name!r} has no published version ({nearest(name, published)}) Run `genmill run --dataset {name}`.")
    if wanted in ("", "latest"):
        return found[0]
    match = next((version for version in found if version.version in (wanted, f"v{wanted}")), None)
    if match is None:
        known = ", ".join(version.version for version in reversed(found))
        raise UserError(f"Dataset {name!r} has no version {wanted!r}: it has {known}; see `genmill data log {name}`.")
    return match


def read_published(project: Project, version: DataVersion) -> Manifest:
    """The manifest of a published version."""
    return Manifest.from_json(git.read_blob(project.root, version.commit, f"manifests/{version.dataset}.json"))


def read_published_validation(project: Project, version: DataVersion) -> ValidationResult:
    """The result of the gate that let the version pass."""
    return ValidationResult.model_validate_json(git.read_blob(project.root, version.commit, f"validation/{version.dataset}.json"))


def describe(project: Project, name: str, version: str | None = None) -> dict[str, Any]:
    """One version in full, as plain values: counts, who and when, source, what cleaning dropped, the gate's result, digests."""
    found = find_version(project, name, version or "")
    manifest, result = read_published(project, found), read_published_validation(project, found)
    return {
        **found.model_dump(mode="json", exclude={"new", "source"}),
        "source": manifest.source,
        "licence": manifest.licence,
        "class_names": list(manifest.class_names),
        "columns": manifest.columns,
        "dropped": manifest.dropped,
        "notes": list(manifest.notes),
        "rules": {"checked": len(result.rules), "broken": [rule.sentence for rule in result.broken]},
        "shards": {shard.path: shard.sha256 for shard in manifest.shards},
    }


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


def _same_content(project: Project, name: str, sha256: str) -> DataVersion | None:
    return next((version for version in versions(project, name) if version.sha256 == sha256), None)


def _send(project: Project, name: str, manifest: Manifest, lock: bytes) -> None:
    """Local files checked and fsynced, pushed, and read back from the remote."""
    from components.data.verify import check_store

    for shard in manifest.shards:
        _fsync(checked_shard(project, shard))
    dvc_repo.push(project, name)
    with dvc_repo.stores(project) as (remote, _):
        broken = check_store(remote, lock, manifest, trusted=_hashed_before(project, name, remote)).broken
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


def _commit(project: Project, manifest: Manifest, result: ValidationResult, lock: bytes, actor: str) -> DataVersion:
    """Write the commit and the tag and move the refs; again from the new tip when somebody was faster."""
    for _ in range(_ATTEMPTS):
        known = _same_content(project, manifest.name, manifest.sha256)
        if known:
            return known
        try:
            return _attempt(project, manifest, result, lock, actor)
        except git.RefConflict as conflict:
            reason = str(conflict)
            time.sleep(0.1)
    raise UserError(f"Branch {BRANCH} cannot be moved ({reason}): see whether another git command hangs in {project.root}, then run again.")


def _attempt(project: Project, manifest: Manifest, result: ValidationResult, lock: bytes, actor: str) -> DataVersion:
    root, name = project.root, manifest.name
    local = git.resolve(root, f"refs/heads/{BRANCH}")
    # In a fresh clone the branch is known only as the remote's: go on from there.
    tip = local or next((ref.commit for ref in git.remote_branches(root, BRANCH)), None)
    number = 1 + _newest_number(root, name, tip)
    tag = f"data/{name}/v{number}"
    version = DataVersion(
        dataset=name,
        version=f"v{number}",
        sha256=manifest.sha256,
        tag=tag,
        commit="",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        actor=actor,
        rows=manifest.rows_by_split(),
        bytes=manifest.num_bytes,
        validation=result.outcome,
        source=json.dumps(manifest.source, sort_keys=True),
    )
    files = {
        ".dvc/config": (root / ".dvc/config").read_bytes(),
        "dvc.yaml": (root / "dvc.yaml").read_bytes(),
        "params.yaml": project.params.read_bytes(),
        "dvc.lock": merged_lock(_blob(root, tip, "dvc.lock"), lock, name),
        f"manifests/{name}.json": manifest.to_json().encode(),
        f"validation/{name}.json": (result.model_dump_json(indent=1) + "\n").encode(),
    }
    numbers = {**_numbers_at(root, tip), name: number}
    listed = " ".join(f"{dataset}=v{newest}" for dataset, newest in sorted(numbers.items()))
    message = f"{tag}\n\n{_sentence(version)}\n\nActor: {actor}\nCode-Commit: {git.head(root) or 'none'}\n{_NEWEST} {listed}\n"
    commit = git.commit_tree(root, files, [tip] if tip else [], message, actor, base=tip)
    body = json.dumps(version.model_dump(mode="json", exclude={"commit", "new"}), indent=1)
    tag_object = git.make_tag(root, tag, commit, f"{_sentence(version)}\n\n{body}", actor)
    updates = [git.RefUpdate(f"refs/heads/{BRANCH}", commit, local), git.RefUpdate(f"refs/tags/{tag}", tag_object, None)]
    git.transaction(root, updates, f"genmill: publish {tag}")
    return version.model_copy(update={"commit": commit, "new": True})


def _newest_number(root: Path, name: str, tip: str | None) -> int:
    """The highest version that the tags or, where a clone brought no tags, the branch's last commit knows."""
    tags = [ref.name.rsplit("/", 1)[-1] for ref in git.list_refs(root, f"refs/tags/data/{name}/")]
    numbers = [int(tag[1:]) for tag in tags if tag.startswith("v") and tag[1:].isdigit()]
    return max([*numbers, _numbers_at(root, tip).get(name, 0)])


def _numbers_at(root: Path, tip: str | None) -> dict[str, int]:
    """The newest version of every dataset as the commit ``tip`` lists them."""
    for _, message in git.log(root, tip, limit=1) if tip else []:
        for line in message.splitlines():
            if line.startswith(_NEWEST):
                pairs = [entry.split("=v") for entry in line.removeprefix(_NEWEST).split()]
                return {dataset: int(number) for dataset, number in pairs}
    return {}


def _blob(root: Path, ref: str | None, path: str) -> bytes | None:
    try:
        return git.read_blob(root, ref, path) if ref else None
    except FileNotFoundError:
        return None


def _sentence(version: DataVersion) -> str:
    rows = ", ".join(f"{split} {number:,}" for split, number in version.rows.items())
    return f"{version.dataset} {version.version}: {rows} rows, {version.bytes:,} bytes, validation {version.validation}"


def _from_tag(ref: git.Ref) -> DataVersion | None:
    """The version that a tag describes; None for a tag that somebody else put there."""
    _, _, body = ref.message.partition("\n\n")
    try:
        return DataVersion.model_validate({**json.loads(body), "commit": ref.commit})
    except ValueError:
        return None


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
