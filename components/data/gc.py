"""Frees the bytes of old versions and of leftovers, and never those that something kept still needs.

What is kept: the newest versions, those that the caller protects (what a registered model was trained on), those that the source of a kept
version was made of, and what dvc.lock pins here or on any branch. The record of a freed version stays: its tag, its manifest, the gate's result.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from components import git
from components.data import dvc_repo
from components.data.config import find_git_remote
from components.data.faults import read_list
from components.data.freed import Freed, freed_versions, record_freed
from components.data.lockfile import all_outputs, locked_outputs
from components.data.locking import data_lock
from components.data.published import DataVersion, published_datasets, read_published, versions
from components.data.sharing import brief, share, take_over
from components.data.store import Store, files_of
from components.errors import UserError
from components.params import Strict
from components.project import Project

NEWEST = "the newest"


class Protected(NamedTuple):
    """A version that must be kept, by its name or by its content, and why."""

    dataset: str
    version: str
    """`v3`."""
    sha256: str
    """Digest of its content; empty where it is not known."""
    why: str
    """`gan-digits/3 was trained on it`."""

    def means(self, version: DataVersion) -> bool:
        return version.dataset == self.dataset and (version.version == self.version or version.sha256 == self.sha256)


class Kept(Strict):
    version: str
    """`digits@v3`."""
    why: str


class Collection(Strict):
    """What was freed, or would be."""

    dry_run: bool
    versions: tuple[str, ...]
    """`digits@v1`: in the remote and the cache with ``remote``, else in the cache alone."""
    remote: bool
    objects: int
    bytes: int
    """In all places together."""
    leftovers: int
    """How many of ``objects`` belonged to no version."""
    kept: tuple[Kept, ...]
    notes: tuple[str, ...] = ()


class _Doomed(NamedTuple):
    """An object that nothing kept needs."""

    store: Store
    md5: str
    size: int


@dataclass(frozen=True)
class _Plan:
    freed: list[DataVersion]
    """Those that were freed before are among them: a collection that was interrupted left something of them."""
    gone: frozenset[str]
    """Tags of those."""
    kept: list[Kept]
    needed: frozenset[str]
    """Objects that must stay."""
    owned: Mapping[str, frozenset[str]]
    """Objects of each version that is freed, by its tag."""


def collect_garbage(
    project: Project, name: str | None, protected: Iterable[Protected], *, keep: int = 1, remote: bool = False, dry_run: bool = False, actor: str
) -> Collection:
    """Free the versions of ``name`` (None: of every dataset) but the newest ``keep`` and what else must stay, in the cache and with ``remote`` there too.

    In the cache an object goes only where the remote has it. With ``remote`` the versions are recorded as freed before anything is deleted, and
    where there is a git remote, what others published is asked for before that and the record is pushed there.

    Raises:
        UserError: it is not known what others published or what a kept version needs, or a store fails.
    """
    assert keep >= 1, "the newest version is always kept"
    git.require_repository(project.root)
    with data_lock(project, "genmill: data gc"), dvc_repo.stores(project) as stores:
        if remote:
            _with_others(project, take_over)
        plan = _planned(project, name, list(protected), keep, stores)
        doomed, notes = _doomed(project, plan, stores, remote=remote)
        leftovers = [one for one in _leftovers(project, plan, stores, remote=remote) if name is None]
        if not dry_run:
            if remote:
                record_freed(project, [_freed(version, doomed, plan, actor) for version in plan.freed if version.tag not in plan.gone], actor)
                _with_others(project, share)
            _delete([*doomed, *leftovers])
            _drop_restored(project, plan.freed)
    if remote and not dry_run:
        dvc_repo.forget_sent(project)
    every, fresh = [*doomed, *leftovers], [version for version in plan.freed if version.tag not in plan.gone]
    return Collection(
        dry_run=dry_run, versions=tuple(f"{version.dataset}@{version.version}" for version in fresh), remote=remote, objects=len(every),
        bytes=sum(one.size for one in every), leftovers=len(leftovers), kept=tuple(plan.kept), notes=tuple(notes),
    )  # fmt: skip


def _with_others(project: Project, action: Callable[[Project, str], object]) -> None:
    """Do ``action`` with the git remote, where params.yaml names one: what others published may share what is about to go."""
    others = find_git_remote(project)
    try:
        if others:
            action(project, others)
    except git.RemoteUnreachable as error:
        raise UserError(
            f"The git remote {others} cannot be reached ({brief(project, error)}), so that it is not known what others published: nothing was deleted; "
            "run again when it can be."
        ) from None


def _planned(project: Project, name: str | None, protected: Sequence[Protected], keep: int, stores: Sequence[Store]) -> _Plan:
    every = [version for dataset in published_datasets(project) for version in versions(project, dataset)]
    freed_before = {dataset: freed_versions(project, dataset) for dataset in published_datasets(project)}
    gone = {version.tag for version in every if version.version in freed_before[version.dataset]}
    why = _kept(project, every, name, protected, keep)
    freed = [version for version in every if version.tag not in why]
    # A version that was freed before has nothing left that must stay, whatever speaks for it now.
    needed = {md5 for version in every if version.tag in why and version.tag not in gone for md5 in _objects(project, version, stores, strict=True)}
    needed |= _pinned(project, stores)
    owned = {version.tag: frozenset(_objects(project, version, stores, strict=False)) for version in freed}
    kept = [Kept(version=f"{version.dataset}@{version.version}", why=why[version.tag]) for version in every if version.tag in why and version.tag not in gone]
    return _Plan(freed, frozenset(gone), kept, frozenset(needed), owned)


def _kept(project: Project, every: Sequence[DataVersion], name: str | None, protected: Sequence[Protected], keep: int) -> dict[str, str]:
    """Why each version that is kept is kept, by its tag."""
    why: dict[str, str] = {}
    for dataset in {version.dataset for version in every}:
        own = [version for version in every if version.dataset == dataset]
        chosen = own if name not in (None, dataset) else own[:keep]
        why |= {version.tag: NEWEST if version is own[0] else "asked to be kept" for version in chosen}
    for one in protected:
        why = {version.tag: one.why for version in every if one.means(version)} | why
    # What a kept version was made of is kept too, and what that was made of.
    waiting = [version for version in every if version.tag in why]
    while waiting:
        reader = waiting.pop()
        for source in _read_by(project, reader):
            found = [version for version in every if version.tag not in why and source.means(version)]
            why |= {version.tag: source.why for version in found}
            waiting += found
    return why


def _read_by(project: Project, version: DataVersion) -> list[Protected]:
    """The versions that the rows of ``version`` came from: the real rows beside drawn ones, and what the model was trained on that drew."""
    try:
        source = read_published(project, version).source
    except (FileNotFoundError, ValueError):
        raise UserError(f"The manifest of {version.tag} cannot be read, so that it is not known what it was made of: see `genmill data verify`.") from None
    why = f"the source of {version.dataset}@{version.version} reads it"
    found = [Protected(str(source["real"]), "", str(source.get("real_sha256", "")), why)] if source.get("real") else []
    dataset, at, number = str(source.get("trained_on", "")).partition("@")
    return [*found, Protected(dataset, number, str(source.get("data_sha256", "")), why)] if at else found


def _objects(project: Project, version: DataVersion, stores: Sequence[Store], *, strict: bool) -> set[str]:
    """Every object of a version, lists included; ``strict`` where one that is overlooked would be lost."""
    lock = git.read_blob(project.root, version.commit, "dvc.lock")
    found: set[str] = set()
    for folder, md5 in locked_outputs(lock, version.dataset):
        listed = _list(stores, md5)
        if listed is None and strict:
            see = f"`genmill data verify {version.dataset}@{version.version} --mend`"
            raise UserError(f"The list of the files of {folder} of {version.tag} is not whole, so that it is not known what must stay: run {see} first.")
        found |= {md5, *(file.md5 for file in files_of(folder, listed or b"[]"))}
    return found


def _pinned(project: Project, stores: Sequence[Store]) -> set[str]:
    """What any dvc.lock or .dvc file pins: of the work tree, of the commit that is checked out, and of every branch."""
    root = project.root
    texts = [path.read_bytes() for path in (root / "dvc.lock", *root.glob("*.dvc"), *root.glob("data/**/*.dvc")) if path.is_file()]
    for ref in ("HEAD", *(one.name for prefix in ("refs/heads", "refs/remotes") for one in git.list_refs(root, prefix))):
        texts += [git.read_blob(root, ref, path) for path in git.list_files(root, ref) if path.endswith(("dvc.lock", ".dvc"))]
    found: set[str] = set()
    for md5 in {md5 for text in set(texts) for md5 in all_outputs(text)}:
        listed = _list(stores, md5) if md5.endswith(".dir") else None
        found |= {md5, *(file.md5 for file in files_of("", listed or b"[]"))}
    return found


def _list(stores: Sequence[Store], md5: str) -> bytes | None:
    return next((listed for store in reversed(stores) if (listed := read_list(store, md5)) is not None), None)


def _doomed(project: Project, plan: _Plan, stores: Sequence[Store], *, remote: bool) -> tuple[list[_Doomed], list[str]]:
    """The objects that only freed versions have, in each place."""
    far, cache = stores
    mine = sorted({md5 for owned in plan.owned.values() for md5 in owned} - plan.needed)
    found, only_here = list[_Doomed](), 0
    for md5 in mine:
        in_remote, in_cache = far.has(md5), cache.has(md5)
        if in_remote and remote:
            found.append(_Doomed(far, md5, far.size(md5)))
        if in_cache and (in_remote or remote):
            found.append(_Doomed(cache, md5, cache.size(md5)))
        only_here += in_cache and not in_remote and not remote
    if only_here:
        return found, [f"{only_here} objects stay in {cache.where}, for {far.where} does not have them: `genmill data verify --all --mend` sends them there."]
    return found, []


def _leftovers(project: Project, plan: _Plan, stores: Sequence[Store], *, remote: bool) -> list[_Doomed]:
    """Objects of no version at all, e.g. of what was prepared and never published.

    In a store outside of the project they are left alone: they may be somebody else's, whose versions are not known here.
    """
    far, cache = stores
    owned = {md5 for objects in plan.owned.values() for md5 in objects}
    places = [store for store in ([cache, far] if remote else [cache]) if store.is_below(project.root)]
    return [_Doomed(store, md5, store.size(md5)) for store in places for md5 in sorted(store.names()) if md5 not in plan.needed and md5 not in owned]


def _freed(version: DataVersion, doomed: Sequence[_Doomed], plan: _Plan, actor: str) -> tuple[DataVersion, Freed]:
    size = sum(one.size for one in doomed if one.md5 in plan.owned[version.tag])
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return version, Freed(version=version.version, sha256=version.sha256, when=now, who=actor, bytes=size)


def _delete(doomed: Sequence[_Doomed]) -> None:
    """The lists of files last: as long as one stands, a collection that was interrupted knows what is left to delete."""
    for one in sorted(doomed, key=lambda one: one.md5.endswith(".dir")):
        one.store.delete(one.md5)


def _drop_restored(project: Project, freed: Sequence[DataVersion]) -> None:
    """What was restored of freed versions for a comparison."""
    for version in freed:
        folder: Path = project.cache / "versions" / version.sha256[:16]
        if folder.is_dir():
            shutil.rmtree(folder)
