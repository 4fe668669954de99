"""Re-hashes published versions, byte by byte, in every place; and has them mended when asked."""

from collections.abc import Iterator, Sequence

from components import git
from components.data import dvc_repo
from components.data.dataset import Manifest
from components.data.faults import Fault, Hashes, inspect, store_faults
from components.data.freed import freed_versions
from components.data.locking import data_lock
from components.data.mend import HOPELESS, mend
from components.data.published import DataVersion, current_version, find_version, published_datasets, read_published, versions
from components.data.recorded import check_records
from components.data.store import Store
from components.errors import UserError
from components.params import Strict
from components.project import Project


class Verification(Strict):
    ok: bool
    """Nothing is broken now; what was mended is whole again."""
    checked: int
    """Files hashed, in all places together."""
    bytes: int
    broken: tuple[str, ...]
    """One sentence each."""
    mended: tuple[str, ...] = ()
    """One sentence each."""
    freed: tuple[str, ...] = ()
    """One sentence for each version whose bytes were freed, so that only its records were looked at."""


def verify(project: Project, name: str, version: str | None = None, *, repair: bool = False) -> Verification:
    """Compare every byte of a version (default: the newest) with its manifest: on the remote, in the cache, and in the project's folders.

    The folders are looked at where they hold that version, the cache for what it has of it; the remote must have everything. What is written
    down of the version is compared as well, see `check_records`. With ``repair`` what one place lost is written anew from another one.
    """
    found = find_version(project, name, version) if version else current_version(project, name)
    if found is None:
        raise UserError(f"Dataset {name!r} has no published version: run `genmill run --dataset {name}`.")
    return _verified(project, [found], repair=repair)


def verify_all(project: Project, name: str | None = None, *, repair: bool = False) -> Verification:
    """The same for every version of ``name``, or of every dataset that is published; what versions share is hashed once."""
    names = [name] if name else published_datasets(project)
    return _verified(project, [version for one in names for version in versions(project, one)], repair=repair)


def verify_files(project: Project, version: DataVersion) -> Verification:
    """The files of a version whose records hold: on the remote, in the cache, and in the project's folders."""
    with dvc_repo.stores(project) as stores:
        hashes = Hashes()
        return _verification(hashes, [fault.sentence for fault in _inspected(project, stores, version, hashes)])


def check_store(store: Store, lock: bytes, manifest: Manifest, *, trusted: frozenset[str] = frozenset()) -> Iterator[Fault]:
    """What one store does not have of a dataset as ``lock`` pins it; ``trusted`` md5s need only be there, because they were hashed before.

    Raises:
        FileNotFoundError: it does not have the list of the files of a folder.
        ValueError: such a list is damaged.
    """
    return store_faults(store, store.files(lock, manifest.name), manifest, Hashes(), partial=False, trusted=trusted)


def _verified(project: Project, found: Sequence[DataVersion], *, repair: bool) -> Verification:
    hashes = Hashes()
    broken, mended, freed = list[str](), list[str](), list[str]()
    for version in found:
        gone = freed_versions(project, version.dataset).get(version.version)
        records = check_records(project, version, whole=gone is None)
        if gone:
            freed.append(f"{gone.sentence(version.dataset)}.")
            broken += records.broken
        elif records.lock or records.manifest:  # nothing to compare bytes with
            broken += records.broken
        elif repair:
            repaired, left = _mended(project, version, hashes)
            mended += repaired
            broken += [*check_records(project, version).broken, *(f"{fault.sentence}; {HOPELESS}" for fault in left)]
        else:
            with dvc_repo.stores(project) as stores:
                broken += [*records.broken, *(fault.sentence for fault in _inspected(project, stores, version, hashes))]
    broken = list(dict.fromkeys(broken))
    return _verification(hashes, broken).model_copy(update={"mended": tuple(dict.fromkeys(mended)), "freed": tuple(freed)})


def _mended(project: Project, version: DataVersion, hashes: Hashes) -> tuple[list[str], list[Fault]]:
    with data_lock(project, f"genmill: mend {version.tag}"), dvc_repo.stores(project) as stores:
        return mend(project, stores, _lock(project, version), read_published(project, version), hashes)


def _inspected(project: Project, stores: Sequence[Store], version: DataVersion, hashes: Hashes) -> list[Fault]:
    return inspect(project, stores, _lock(project, version), read_published(project, version), hashes).faults


def _lock(project: Project, version: DataVersion) -> bytes:
    return git.read_blob(project.root, version.commit, "dvc.lock")


def _verification(hashes: Hashes, broken: Sequence[str]) -> Verification:
    return Verification(ok=not broken, checked=hashes.checked, bytes=hashes.bytes, broken=tuple(broken))
