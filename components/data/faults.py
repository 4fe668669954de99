"""Finds what is damaged or missing of a version: in the remote, in the cache and in the project's folders, each object hashed once."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from components.data.dataset import MANIFEST, STAGE_FOLDERS, Manifest, read_manifest, stage_folder
from components.data.lockfile import locked_outputs
from components.data.pending import current_stages
from components.data.store import Digests, Store, StoredFile, digests, files_of, is_named
from components.errors import UserError
from components.project import Project


class Fault(NamedTuple):
    """An object that one place does not have as it was published."""

    place: Store | None
    """None: the project's folders."""
    path: str
    """Of the file, or of the folder whose list of files it is, relative to the project."""
    md5: str
    sha256: str | None
    """Of a shard."""
    sentence: str
    """Without an end."""


class Hashes:
    """What the objects of the stores have been found to be, so that versions which share objects read them once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Digests | None] = {}
        self.checked = 0
        self.bytes = 0

    def of(self, store: Store, md5: str) -> Digests | None:
        """The digests of an object; None where the store does not have it."""
        key = (store.where, md5)
        if key not in self._found:
            self._found[key] = self._read(store, md5)
        return self._found[key]

    def note(self, found: Digests) -> Digests:
        """Count a file that was hashed."""
        self.checked, self.bytes = self.checked + 1, self.bytes + found.size
        return found

    def forget(self, store: Store, md5: str) -> None:
        self._found.pop((store.where, md5), None)

    def _read(self, store: Store, md5: str) -> Digests | None:
        try:
            with store.open(md5) as stream:
                return self.note(digests(stream))
        except FileNotFoundError:
            return None


class Inspection(NamedTuple):
    """What was found of one version."""

    faults: list[Fault]
    files: list[StoredFile]
    """That its dvc.lock pins; without those of a folder whose list no place has."""
    lists: Mapping[str, bytes]
    """The lists of files by their names, as far as any place has them whole."""


def inspect(project: Project, stores: Sequence[Store], lock: bytes, manifest: Manifest, hashes: Hashes) -> Inspection:
    """Look at every object of a version in every place. The first of ``stores`` is the remote, which must have everything; what the others
    do not have is no fault, and the folders are looked at where they hold that version."""
    outputs = locked_outputs(lock, manifest.name)
    lists = {md5: listed for folder, md5 in outputs if (listed := _whole_list(project, stores, folder, md5)) is not None}
    files = [file for folder, md5 in outputs if md5 in lists for file in files_of(folder, lists[md5])]
    faults = [fault for store in stores for fault in _list_faults(store, outputs, partial=store is not stores[0])]
    for store in stores:
        faults += store_faults(store, files, manifest, hashes, partial=store is not stores[0])
    if len(lists) == len(outputs):
        unlisted = {shard.path for shard in manifest.shards} - {file.path for file in files}
        faults += [Fault(stores[0], path, "", None, f"{path} of the manifest is not in dvc.lock") for path in sorted(unlisted)]
    return Inspection([*faults, *_folder_faults(project, stores, manifest, hashes)], files, lists)


def store_faults(
    store: Store, files: Sequence[StoredFile], manifest: Manifest, hashes: Hashes, *, partial: bool, trusted: frozenset[str] = frozenset()
) -> Iterator[Fault]:
    """Hash ``files`` in ``store``: shards against the manifest, all against dvc.lock.

    ``partial``: what is absent is no fault. ``trusted``: md5s that need only be there, because they were hashed before.
    """
    shards = {shard.path: shard.sha256 for shard in manifest.shards}
    for file in files:
        expected = shards.get(file.path)
        if file.md5 in trusted and store.has(file.md5):
            continue
        found = hashes.of(store, file.md5)
        if found is None and not partial:
            yield Fault(store, file.path, file.md5, expected, f"{file.path} is missing in {store.where}")
        if found is not None and (found.md5 != file.md5 or expected not in (None, found.sha256)):
            yield Fault(store, file.path, file.md5, expected, f"{file.path} is damaged in {store.where} (sha256 {found.sha256[:12]}…)")


def rebuilt_list(folder: Path, md5: str) -> bytes | None:
    """A list of files written anew from the folder itself, as DVC writes it; None where that is not the list of the name ``md5``."""
    if not folder.is_dir():
        return None
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    entries = [{"md5": _digests_of(path).md5, "relpath": path.relative_to(folder).as_posix()} for path in paths]
    listed = json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True).encode()
    return listed if is_named(listed, md5) else None


def read_list(store: Store, md5: str) -> bytes | None:
    """A list of files as the store has it, None unless it is whole."""
    try:
        return store.list_of(md5)
    except (FileNotFoundError, ValueError):
        return None


def _whole_list(project: Project, stores: Sequence[Store], folder: str, md5: str) -> bytes | None:
    return next((listed for store in stores if (listed := read_list(store, md5)) is not None), None) or rebuilt_list(project.root / folder, md5)


def _list_faults(store: Store, outputs: Sequence[tuple[str, str]], *, partial: bool) -> Iterator[Fault]:
    for folder, md5 in outputs:
        if read_list(store, md5) is None and not (partial and not store.has(md5)):
            yield Fault(store, folder, md5, None, f"The list of the files of {folder} is missing or damaged in {store.where}")


def _folder_faults(project: Project, stores: Sequence[Store], manifest: Manifest, hashes: Hashes) -> Iterator[Fault]:
    """Hash what the project's folders hold of the version: the shards by the manifest, all else by the project's own dvc.lock."""
    pinned = _pinned_here(project, stores, manifest)
    if not pinned and not _lies_here(project, manifest):
        return
    shards = {shard.path: shard.sha256 for shard in manifest.shards}
    names = {**dict.fromkeys(shards, ""), **{file.path: file.md5 for file in pinned}}
    for path, md5 in names.items():
        what = f"Shard {path}" if path in shards else path
        if not (project.root / path).is_file():
            yield Fault(None, path, md5, shards.get(path), f"{what} is missing in {project.root}")
            continue
        found = hashes.note(_digests_of(project.root / path))
        if path in shards and found.sha256 != shards[path]:
            said = f"sha256 {found.sha256[:12]}…, the manifest says {shards[path][:12]}…"
            yield Fault(None, path, md5, shards[path], f"{what} is damaged ({said}) in {project.root}")
        elif path not in shards and found.md5 != md5:
            yield Fault(None, path, md5, None, f"{what} is damaged (md5 {found.md5[:12]}…, dvc.lock says {md5[:12]}…) in {project.root}")


def _lies_here(project: Project, manifest: Manifest) -> bool:
    """Whether the manifest in the project's folders is one of the same content."""
    try:
        local = read_manifest(stage_folder(project, manifest.name, "augment"))
    except UserError:
        return False
    return local is not None and local.sha256 == manifest.sha256


def _pinned_here(project: Project, stores: Sequence[Store], manifest: Manifest) -> list[StoredFile]:
    """The files that the project's dvc.lock pins, where they are of this content and no stage is about to write them anew.

    The manifest is read from a store, not from the folder: were it damaged there, it would name another version, and nothing would be looked at.
    """
    lock = project.root / "dvc.lock"
    outputs = locked_outputs(lock.read_bytes(), manifest.name) if lock.is_file() else []
    lists = {folder: _whole_list(project, stores, folder, md5) for folder, md5 in outputs}
    files = [file for folder, listed in lists.items() if listed is not None for file in files_of(folder, listed)]
    own = f"data/{STAGE_FOLDERS['augment']}/{manifest.name}/{MANIFEST}"
    md5 = next((file.md5 for file in files if file.path == own), None)
    pinned = _stored_manifest(stores, md5) if md5 else None
    if pinned is None or pinned.sha256 != manifest.sha256:
        return []
    folders = tuple(f"{folder}/" for folder in current_stages(project, manifest.name))
    return [file for file in files if file.path.startswith(folders)]


def _stored_manifest(stores: Sequence[Store], md5: str) -> Manifest | None:
    for store in reversed(stores):
        try:
            content = store.read(md5)
            if is_named(content, md5):
                return Manifest.from_json(content)
        except (FileNotFoundError, ValidationError):
            continue
    return None


def _digests_of(path: Path) -> Digests:
    with path.open("rb") as stream:
        return digests(stream)
