"""Brings a published version back into another folder, whole or not at all."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from components import git
from components.cache import mark_used
from components.data import dvc_repo
from components.data.dataset import Dataset, Manifest, shard_problem
from components.data.faults import read_list
from components.data.freed import refuse_freed
from components.data.lockfile import locked_outputs
from components.data.published import DataVersion, read_published
from components.data.store import Store, StoredFile, digests, files_of
from components.errors import UserError
from components.project import Project

_RESTORED = ("clean", "augmented", "validation")
_BLOCK = 2**20


def restore(project: Project, version: DataVersion, to: Path, *, from_remote: bool = False) -> Path:
    """Put the published ``version`` into the folder ``to``, laid out as in a project (data/clean/NAME, data/augmented/NAME, …).

    Nothing else is touched. Each file is read from the local cache where that has it whole, else from the remote (with ``from_remote`` from there
    alone). Every one is hashed on the way; the folder appears only when it is whole.

    Raises:
        UserError: it was freed, ``to`` is not empty, or a file cannot be had undamaged from the remote or the cache.
    """
    refuse_freed(project, version)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"{to} is not empty: give a folder that does not exist yet.")
    manifest = read_published(project, version)
    lock = git.read_blob(project.root, version.commit, "dvc.lock")
    with dvc_repo.stores(project) as (remote, cache):
        stores = [remote] if from_remote else [cache, remote]
        files = _files(stores, lock, version)
        to.parent.mkdir(parents=True, exist_ok=True)
        # Of its own: what an earlier restore left of another version must not get into this one.
        part = Path(tempfile.mkdtemp(prefix=f"{to.name}.", suffix=".part", dir=to.parent))
        try:
            damaged = [file for file in files if not _copy(stores, file, part / file.path)]
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    _check_restored(part, manifest, version, damaged)
    part.chmod(0o755)  # a scratch folder is its owner's alone
    if to.is_dir():
        to.rmdir()
    part.replace(to)
    return to


def dataset_at(project: Project, version: DataVersion) -> Dataset:
    """The published ``version`` of a dataset: the prepared one where that is it, else restored into the cache."""
    prepared = Dataset.open(project, version.dataset)
    if prepared.manifest.sha256 == version.sha256:
        return prepared
    folder = project.cache / "versions" / version.sha256[:16]
    if not folder.is_dir():
        restore(project, version, folder)
    mark_used(folder)
    return Dataset.open(Project(folder), version.dataset)


def _files(stores: Sequence[Store], lock: bytes, version: DataVersion) -> list[StoredFile]:
    """The files to restore, from the first store that has the list of each folder."""
    found: list[StoredFile] = []
    for folder, md5 in locked_outputs(lock, version.dataset):
        if folder.split("/")[1] not in _RESTORED:
            continue
        listed = next((one for store in stores if (one := read_list(store, md5)) is not None), None)
        if listed is None:
            raise UserError(f"{version.tag} is not whole in {stores[-1].where}: see `genmill data verify {version.dataset}@{version.version}`.")
        found += files_of(folder, listed)
    return found


def _copy(stores: Sequence[Store], file: StoredFile, to: Path) -> bool:
    """Whether one of ``stores`` had the file whole; a damaged one is copied all the same, for whoever wants to save what there is."""
    to.parent.mkdir(parents=True, exist_ok=True)
    for store in stores:
        try:
            with store.open(file.md5) as stream, to.open("wb") as target:
                while block := stream.read(_BLOCK):
                    target.write(block)
        except FileNotFoundError:
            continue
        with to.open("rb") as stream:
            if digests(stream).md5 == file.md5:
                return True
    return False


def _check_restored(folder: Path, manifest: Manifest, version: DataVersion, damaged: Sequence[StoredFile]) -> None:
    problems = [problem for shard in manifest.shards if (problem := shard_problem(folder / shard.path, shard))]
    problems += [f"{file.path} is missing or damaged" for file in damaged]
    if problems:
        see = f"`genmill data verify {version.dataset}@{version.version} --mend`"
        raise UserError(f"{problems[0]}: {version.tag} cannot be restored whole; see {see}. What could be had is in {folder}.")
