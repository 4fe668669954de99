"""Shards of any version as local files to read: from the project's folders, the cache, or fetched for as long as they are looked at."""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from components import git
from components.data import dvc_repo
from components.data.dataset import ShardInfo, file_sha256
from components.data.freed import refuse_freed
from components.data.published import DataVersion
from components.data.store import Store
from components.errors import UserError
from components.project import Project

_BLOCK = 2**20


@contextlib.contextmanager
def shard_files(project: Project, version: DataVersion, shards: Sequence[ShardInfo]) -> Iterator[Mapping[str, Path]]:
    """A file with the bytes of each of ``shards`` by the shard's path; those that were fetched are gone after the block.

    Raises:
        UserError: one of them cannot be had undamaged.
    """
    found = {shard.path: path for shard in shards if (path := _here(project, shard))}
    missing = [shard for shard in shards if shard.path not in found]
    if not missing:
        yield found
        return
    refuse_freed(project, version)
    project.state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="shards-", dir=project.state) as folder:
        yield {**found, **_from_stores(project, version, missing, Path(folder))}


def _here(project: Project, shard: ShardInfo) -> Path | None:
    """The file in the project's folders, where it still is this shard."""
    path = project.root / shard.path
    same = path.is_file() and path.stat().st_size == shard.bytes and file_sha256(path) == shard.sha256
    return path if same else None


def _from_stores(project: Project, version: DataVersion, shards: Sequence[ShardInfo], folder: Path) -> dict[str, Path]:
    lock = git.read_blob(project.root, version.commit, "dvc.lock")
    found: dict[str, Path] = {}
    with dvc_repo.stores(project) as (remote, cache):
        md5 = _names(lock, version, (cache, remote))
        for shard in shards:
            path = _from_cache(cache, md5[shard.path], shard) or _fetched(remote, md5[shard.path], shard, folder)
            if path is None:
                see = f"`genmill data verify {version.dataset}@{version.version} --mend`"
                raise UserError(f"Shard {shard.path} of {version.tag} is neither in {cache.where} nor in {remote.where} undamaged: run {see}.")
            found[shard.path] = path
    return found


def _names(lock: bytes, version: DataVersion, stores: Sequence[Store]) -> dict[str, str]:
    """md5 by path, from the first store that has the lists of the files."""
    for store in stores:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return {file.path: file.md5 for file in store.files(lock, version.dataset)}
    raise UserError(f"The lists of the files of {version.tag} are not whole: run `genmill data verify {version.dataset}@{version.version} --mend`.")


def _from_cache(cache: Store, md5: str, shard: ShardInfo) -> Path | None:
    path = cache.local_path(md5)
    return path if path and file_sha256(path) == shard.sha256 else None


def _fetched(remote: Store, md5: str, shard: ShardInfo, folder: Path) -> Path | None:
    """The shard's bytes in a file of ``folder``; None where the remote does not have them whole."""
    path, sha256 = folder / f"{shard.sha256}.parquet", hashlib.sha256()
    try:
        with remote.open(md5) as stream, path.open("wb") as target:
            while block := stream.read(_BLOCK):
                sha256.update(block)
                target.write(block)
    except FileNotFoundError:
        return None
    return path if sha256.hexdigest() == shard.sha256 else None
