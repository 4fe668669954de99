"""Mends what is damaged or missing of a version from a place that has it whole: remote, cache or the project's folders."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from components.atomic import write_atomically
from components.data.dataset import Manifest
from components.data.faults import Fault, Hashes, inspect, read_list, rebuilt_list
from components.data.store import Store, digests
from components.project import Project

_BLOCK = 2**20
HOPELESS = "no place has it whole, so bring it back from another clone or a backup, or publish the same data again"


def mend(project: Project, stores: Sequence[Store], lock: bytes, manifest: Manifest, hashes: Hashes) -> tuple[list[str], list[Fault]]:
    """Mend a version; a sentence for each object that was mended, and what is left. The caller holds the data lock.

    Bytes are hashed before they are written and read back after it, and every object is replaced in one step.
    """
    mended: list[str] = []
    # Twice: a list that is whole again names files that nobody could know of before.
    for _ in range(2):
        found = inspect(project, stores, lock, manifest, hashes)
        known = {file.path: file.md5 for file in found.files}
        repaired = [sentence for fault in found.faults if (sentence := _mend_one(project, stores, _named(fault, known), hashes))]
        mended += repaired
        if not repaired:
            return mended, found.faults
    return mended, inspect(project, stores, lock, manifest, hashes).faults


def _named(fault: Fault, md5_by_path: dict[str, str]) -> Fault:
    """A shard in the folders is known by the manifest alone where the project's dvc.lock does not pin it: the version's does."""
    return fault._replace(md5=fault.md5 or md5_by_path.get(fault.path, ""))


def _mend_one(project: Project, stores: Sequence[Store], fault: Fault, hashes: Hashes) -> str | None:
    """Put one object right; None where no place has it whole."""
    if not fault.md5:
        return None
    with _scratch(project) as copy:
        source = _fetch_list(project, stores, fault, copy) if fault.md5.endswith(".dir") else _fetch(project, stores, fault, copy)
        if source is None:
            return None
        if fault.place is None:
            write_atomically(project.root / fault.path, partial(shutil.copyfile, copy))
            where = str(project.root)
        else:
            fault.place.write(fault.md5, copy)
            hashes.forget(fault.place, fault.md5)
            where = fault.place.where
    what = f"the list of the files of {fault.path}" if fault.md5.endswith(".dir") else fault.path
    return f"Mended {what} in {where}, from {source}"


def _fetch(project: Project, stores: Sequence[Store], fault: Fault, copy: Path) -> str | None:
    """Copy the object's bytes from the first place that has them whole; the place."""
    for store in stores:
        if store is fault.place:
            continue
        with contextlib.suppress(FileNotFoundError), store.open(fault.md5) as stream, copy.open("wb") as target:
            while block := stream.read(_BLOCK):
                target.write(block)
            target.flush()
            if _is_whole(copy, fault):
                return store.where
    here = project.root / fault.path
    if fault.place is not None and here.is_file() and _is_whole(here, fault):
        copy.write_bytes(here.read_bytes())
        return str(project.root) if _is_whole(copy, fault) else None
    return None


def _fetch_list(project: Project, stores: Sequence[Store], fault: Fault, copy: Path) -> str | None:
    for store in stores:
        listed = read_list(store, fault.md5) if store is not fault.place else None
        if listed is not None:
            copy.write_bytes(listed)
            return store.where
    rebuilt = rebuilt_list(project.root / fault.path, fault.md5)
    if rebuilt is None:
        return None
    copy.write_bytes(rebuilt)
    return str(project.root)


def _is_whole(path: Path, fault: Fault) -> bool:
    with path.open("rb") as stream:
        found = digests(stream)
    return found.md5 == fault.md5 and fault.sha256 in (None, found.sha256)


@contextlib.contextmanager
def _scratch(project: Project) -> Iterator[Path]:
    project.state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mend-", dir=project.state) as folder:
        yield Path(folder) / "object"
