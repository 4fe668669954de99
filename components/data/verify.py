"""Re-hashes published versions, byte by byte, and restores one into another folder."""

import hashlib
from pathlib import Path
from typing import BinaryIO

from components import git
from components.data import dvc_repo
from components.data.dataset import Manifest, read_manifest, shard_problem, stage_folder
from components.data.publish import DataVersion, current_version, find_version, read_published
from components.errors import UserError
from components.params import Strict
from components.project import Project

_RESTORED = ("clean", "augmented", "validation")
_BLOCK = 2**20


class Verification(Strict):
    ok: bool
    checked: int
    """Files hashed, in all places together."""
    bytes: int
    broken: tuple[str, ...]
    """One sentence each."""


def verify(project: Project, name: str, version: str | None = None) -> Verification:
    """Compare every byte of a version (default: the newest) with its manifest: on the remote, in the cache, and in the project's folders.

    The folders are looked at where they hold that version, the cache for what it has of it; the remote must have everything.
    """
    found = find_version(project, name, version) if version else current_version(project, name)
    if found is None:
        raise UserError(f"Dataset {name!r} has no published version: run `genmill run --dataset {name}`.")
    manifest = read_published(project, found)
    if manifest.sha256 != found.sha256:
        return Verification(ok=False, checked=0, bytes=0, broken=(f"The manifest in {found.tag} is not the one that was published (its digest differs)",))
    lock = git.read_blob(project.root, found.commit, "dvc.lock")
    with dvc_repo.stores(project) as (remote, cache):
        results = [check_store(remote, lock, manifest), check_store(cache, lock, manifest, partial=True)]
    results.append(_check_folders(project, manifest))
    broken = tuple(sentence for result in results for sentence in result.broken)
    return Verification(ok=not broken, checked=sum(result.checked for result in results), bytes=sum(result.bytes for result in results), broken=broken)


def check_store(store: dvc_repo.Store, lock: bytes, manifest: Manifest, *, partial: bool = False, trusted: frozenset[str] = frozenset()) -> Verification:
    """Hash every file of the dataset in ``store``: shards against the manifest, all against dvc.lock.

    ``partial``: what is absent is no fault. ``trusted``: md5s that need only be there, because they were hashed before.
    """
    name = manifest.name
    broken: list[str] = []
    checked = num_bytes = 0
    files, missing = _listed(store, lock, name)
    if missing and not partial:
        broken.append(f"The list of files of {missing} is missing or damaged in {store.where}")
    shards = {shard.path: shard.sha256 for shard in manifest.shards}
    unseen = set(shards)
    for file in files:
        unseen.discard(file.path)
        if not store.has(file.md5):
            if not partial:
                broken.append(f"{file.path} is missing in {store.where}")
            continue
        if file.md5 in trusted:
            continue
        with store.open(file.md5) as stream:
            md5, sha256, size = _digests(stream)
        checked, num_bytes = checked + 1, num_bytes + size
        if md5 != file.md5 or shards.get(file.path, sha256) != sha256:
            broken.append(f"{file.path} is damaged in {store.where} (sha256 {sha256[:12]}…)")
    if not missing:
        broken += [f"{path} of the manifest is not in dvc.lock" for path in sorted(unseen)]
    return Verification(ok=not broken, checked=checked, bytes=num_bytes, broken=tuple(broken))


def restore(project: Project, name: str, version: str, to: Path) -> Path:
    """Put the published ``version`` into the folder ``to``, laid out as in a project (data/clean/NAME, data/augmented/NAME, …).

    Nothing else is touched. Every shard is hashed on the way; the folder appears only when it is whole.

    Raises:
        UserError: no such version, ``to`` is not empty, or a file cannot be had undamaged from the remote or the cache.
    """
    found = find_version(project, name, version)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"{to} is not empty: give a folder that does not exist yet.")
    manifest = read_published(project, found)
    lock = git.read_blob(project.root, found.commit, "dvc.lock")
    part = to.with_name(f"{to.name}.part")
    with dvc_repo.stores(project) as pair:
        store = next((store for store in reversed(pair) if _complete(store, lock, name)), pair[0])
        for file in store_files(store, lock, found):
            if file.path.split("/")[1] in _RESTORED:
                _copy(store, file, part / file.path)
    _check_restored(part, manifest, found)
    to.parent.mkdir(parents=True, exist_ok=True)
    if to.is_dir():
        to.rmdir()
    part.replace(to)
    return to


def store_files(store: dvc_repo.Store, lock: bytes, version: DataVersion) -> list[dvc_repo.StoredFile]:
    try:
        return store.files(lock, version.dataset)
    except (FileNotFoundError, ValueError):
        raise UserError(f"{version.tag} is not whole in {store.where}: see `genmill data verify {version.dataset}`.") from None


def _listed(store: dvc_repo.Store, lock: bytes, name: str) -> tuple[list[dvc_repo.StoredFile], str | None]:
    """The files that ``lock`` pins, or what is missing to know them."""
    try:
        return store.files(lock, name), None
    except (FileNotFoundError, ValueError) as error:
        return [], f"dataset {name!r} ({error})"


def _complete(store: dvc_repo.Store, lock: bytes, name: str) -> bool:
    files, missing = _listed(store, lock, name)
    return not missing and all(store.has(file.md5) for file in files)


def _check_folders(project: Project, manifest: Manifest) -> Verification:
    local = read_manifest(stage_folder(project, manifest.name, "augment"))
    if local is None or local.sha256 != manifest.sha256:
        return Verification(ok=True, checked=0, bytes=0, broken=())
    broken = [f"{problem} in {project.root}" for shard in manifest.shards if (problem := shard_problem(project.root / shard.path, shard))]
    return Verification(ok=not broken, checked=len(manifest.shards), bytes=manifest.num_bytes, broken=tuple(broken))


def _check_restored(folder: Path, manifest: Manifest, version: DataVersion) -> None:
    problems = [problem for shard in manifest.shards if (problem := shard_problem(folder / shard.path, shard))]
    if problems:
        see = f"`genmill data verify {version.dataset}@{version.version}`"
        raise UserError(f"{problems[0]}: {version.tag} cannot be restored whole; see {see}. What could be had is in {folder}.")


def _copy(store: dvc_repo.Store, file: dvc_repo.StoredFile, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    with store.open(file.md5) as stream, to.open("wb") as target:
        while block := stream.read(_BLOCK):
            target.write(block)


def _digests(stream: BinaryIO) -> tuple[str, str, int]:
    """md5 (DVC's), sha256 (the manifest's) and size."""
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    while block := stream.read(_BLOCK):
        md5.update(block)
        sha256.update(block)
        size += len(block)
    return md5.hexdigest(), sha256.hexdigest(), size
