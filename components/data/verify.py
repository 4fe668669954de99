"""Re-hashes published versions, byte by byte, and restores one into another folder."""

from pathlib import Path

from pydantic import ValidationError

from components import git
from components.data import dvc_repo
from components.data.dataset import MANIFEST, STAGE_FOLDERS, Dataset, Manifest, read_manifest, shard_problem, stage_folder
from components.data.pending import current_stages
from components.data.published import DataVersion, current_version, find_version, read_published
from components.data.recorded import check_records
from components.data.store import Store, StoredFile, digests
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

    The folders are looked at where they hold that version, the cache for what it has of it; the remote must have everything. What is written
    down of the version is compared as well, see `check_records`.
    """
    found = find_version(project, name, version) if version else current_version(project, name)
    if found is None:
        raise UserError(f"Dataset {name!r} has no published version: run `genmill run --dataset {name}`.")
    records = check_records(project, found)
    if records.lock or records.manifest:  # nothing to compare bytes with
        return Verification(ok=False, checked=0, bytes=0, broken=records.broken)
    result = verify_files(project, found)
    broken = (*records.broken, *result.broken)
    return result.model_copy(update={"ok": not broken, "broken": broken})


def verify_files(project: Project, version: DataVersion) -> Verification:
    """The files of a version whose records hold: on the remote, in the cache, and in the project's folders."""
    manifest, lock = read_published(project, version), git.read_blob(project.root, version.commit, "dvc.lock")
    with dvc_repo.stores(project) as (remote, cache):
        results = [check_store(remote, lock, manifest), check_store(cache, lock, manifest, partial=True), _check_folders(project, manifest, cache)]
    broken = tuple(sentence for result in results for sentence in result.broken)
    return Verification(ok=not broken, checked=sum(result.checked for result in results), bytes=sum(result.bytes for result in results), broken=broken)


def check_store(store: Store, lock: bytes, manifest: Manifest, *, partial: bool = False, trusted: frozenset[str] = frozenset()) -> Verification:
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
            md5, sha256, size = digests(stream)
        checked, num_bytes = checked + 1, num_bytes + size
        if md5 != file.md5 or shards.get(file.path, sha256) != sha256:
            broken.append(f"{file.path} is damaged in {store.where} (sha256 {sha256[:12]}…)")
    if not missing:
        broken += [f"{path} of the manifest is not in dvc.lock" for path in sorted(unseen)]
    return Verification(ok=not broken, checked=checked, bytes=num_bytes, broken=tuple(broken))


def restore(project: Project, name: str, version: str, to: Path, *, from_remote: bool = False) -> Path:
    """Put the published ``version`` into the folder ``to``, laid out as in a project (data/clean/NAME, data/augmented/NAME, …).

    Nothing else is touched. The local cache is read where it has everything, unless ``from_remote``.
    Every shard is hashed on the way; the folder appears only when it is whole.

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
        store = pair[0] if from_remote else next((store for store in reversed(pair) if _complete(store, lock, name)), pair[0])
        for file in store_files(store, lock, found):
            if file.path.split("/")[1] in _RESTORED:
                _copy(store, file, part / file.path)
    _check_restored(part, manifest, found)
    to.parent.mkdir(parents=True, exist_ok=True)
    if to.is_dir():
        to.rmdir()
    part.replace(to)
    return to


def dataset_at(project: Project, name: str, version: str) -> Dataset:
    """The published ``version`` of a dataset: the prepared one where that is it, else restored into the cache."""
    found = find_version(project, name, version)
    prepared = Dataset.open(project, name)
    if prepared.manifest.sha256 == found.sha256:
        return prepared
    folder = project.cache / "versions" / found.sha256[:16]
    if not folder.is_dir():
        restore(project, name, found.version, folder)
    return Dataset.open(Project(folder), name)


def store_files(store: Store, lock: bytes, version: DataVersion) -> list[StoredFile]:
    try:
        return store.files(lock, version.dataset)
    except (FileNotFoundError, ValueError):
        raise UserError(f"{version.tag} is not whole in {store.where}: see `genmill data verify {version.dataset}`.") from None


def _listed(store: Store, lock: bytes, name: str) -> tuple[list[StoredFile], str | None]:
    """The files that ``lock`` pins, or what is missing to know them."""
    try:
        return store.files(lock, name), None
    except (FileNotFoundError, ValueError) as error:
        return [], f"dataset {name!r} ({error})"


def _complete(store: Store, lock: bytes, name: str) -> bool:
    files, missing = _listed(store, lock, name)
    return not missing and all(store.has(file.md5) for file in files)


def _check_folders(project: Project, manifest: Manifest, cache: Store) -> Verification:
    """Hash what the project's folders hold of the version: the shards by the manifest, all else by the project's own dvc.lock."""
    pinned = _pinned_here(project, manifest, cache)
    if not pinned and not _lies_here(project, manifest):
        return Verification(ok=True, checked=0, bytes=0, broken=())
    shards = {shard.path: shard for shard in manifest.shards}
    problems = [shard_problem(project.root / path, shard) for path, shard in shards.items()]
    others = [file for file in pinned if file.path not in shards]
    problems += [_file_problem(project.root / file.path, file) for file in others]
    num_bytes = manifest.num_bytes + sum(path.stat().st_size for file in others if (path := project.root / file.path).is_file())
    broken = tuple(f"{problem} in {project.root}" for problem in problems if problem)
    return Verification(ok=not broken, checked=len(problems), bytes=num_bytes, broken=broken)


def _lies_here(project: Project, manifest: Manifest) -> bool:
    """Whether the manifest in the project's folders is one of the same content."""
    try:
        local = read_manifest(stage_folder(project, manifest.name, "augment"))
    except UserError:
        return False
    return local is not None and local.sha256 == manifest.sha256


def _pinned_here(project: Project, manifest: Manifest, cache: Store) -> list[StoredFile]:
    """The files that the project's dvc.lock pins, where they are of this content and no stage is about to write them anew.

    The manifest is read from the cache, not from the folder: were it damaged there, it would name another version, and nothing would be looked at.
    """
    lock = project.root / "dvc.lock"
    files, _ = _listed(cache, lock.read_bytes(), manifest.name) if lock.is_file() else ([], None)
    own = f"data/{STAGE_FOLDERS['augment']}/{manifest.name}/{MANIFEST}"
    md5 = next((file.md5 for file in files if file.path == own), None)
    try:
        pinned = Manifest.from_json(cache.read(md5)) if md5 else None
    except (FileNotFoundError, ValidationError):
        return []
    if pinned is None or pinned.sha256 != manifest.sha256:
        return []
    folders = tuple(f"{folder}/" for folder in current_stages(project, manifest.name))
    return [file for file in files if file.path.startswith(folders)]


def _file_problem(path: Path, file: StoredFile) -> str | None:
    if not path.is_file():
        return f"{file.path} is missing"
    with path.open("rb") as stream:
        md5, _, _ = digests(stream)
    return None if md5 == file.md5 else f"{file.path} is damaged (md5 {md5[:12]}…, dvc.lock says {file.md5[:12]}…)"


def _check_restored(folder: Path, manifest: Manifest, version: DataVersion) -> None:
    problems = [problem for shard in manifest.shards if (problem := shard_problem(folder / shard.path, shard))]
    if problems:
        see = f"`genmill data verify {version.dataset}@{version.version}`"
        raise UserError(f"{problems[0]}: {version.tag} cannot be restored whole; see {see}. What could be had is in {folder}.")


def _copy(store: Store, file: StoredFile, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    with store.open(file.md5) as stream, to.open("wb") as target:
        while block := stream.read(_BLOCK):
            target.write(block)
