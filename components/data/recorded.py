"""What is written down of a published version, in git, in its tag and in DVC's store: whether all of it still says the same.

The manifest and the gate's result stand twice, byte for byte: in the commit of branch `data-versions`, and among the files that the
same commit's dvc.lock pins. What cleaning dropped stands as counts in the manifest, and row by row in the quarantine.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Mapping

from pydantic import ValidationError

from components import git
from components.data import dvc_repo
from components.data.cleaning.quarantine import QUARANTINE
from components.data.dataset import MANIFEST, STAGE_FOLDERS, Manifest
from components.data.published import DataVersion
from components.data.result import RESULT, ValidationResult
from components.data.store import Store
from components.params import Strict
from components.project import Project


class RecordCheck(Strict):
    """What is wrong with the records of a version, in sentences without an end."""

    lock: tuple[str, ...] = ()
    manifest: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    cleaning: tuple[str, ...] = ()

    @property
    def broken(self) -> tuple[str, ...]:
        return (*self.lock, *self.manifest, *self.validation, *self.cleaning)


def check_records(project: Project, version: DataVersion, *, whole: bool = True) -> RecordCheck:
    """Compare the records of ``version`` with each other and with the names that git and DVC gave their bytes.

    Not ``whole``: its bytes were freed, and only what stands in git is looked at.
    """
    lock, problems = _blob(project, version, "dvc.lock")
    if lock is None:
        return RecordCheck(lock=problems)
    if not whole:
        manifest, of_manifest = _check_manifest(project, version, {})
        return RecordCheck(lock=problems, manifest=of_manifest, validation=_check_validation(project, version, manifest, {}))
    with dvc_repo.stores(project) as stores:
        store, pinned = _listed(stores, lock, version.dataset)
        manifest, of_manifest = _check_manifest(project, version, pinned)
        of_validation = _check_validation(project, version, manifest, pinned)
        of_cleaning = _check_cleaning(store, version, manifest, pinned) if store and manifest else ()
    return RecordCheck(lock=problems, manifest=of_manifest, validation=of_validation, cleaning=of_cleaning)


def _blob(project: Project, version: DataVersion, path: str) -> tuple[bytes | None, tuple[str, ...]]:
    """A file of the version's commit and what is wrong with it; None where it cannot be read."""
    try:
        content = git.read_blob(project.root, version.commit, path)
        intact = git.is_intact(project.root, version.commit, path)
    except FileNotFoundError:
        return None, (f"{path} of {version.tag} is missing or damaged in git",)
    return content, () if intact else (f"{path} of {version.tag} is damaged in git (its bytes are not those of its name)",)


def _listed(stores: tuple[Store, Store], lock: bytes, name: str) -> tuple[Store | None, Mapping[str, str]]:
    """The first of ``stores`` that knows the files which ``lock`` pins, and their md5 by path."""
    for store in stores:
        try:
            return store, {file.path: file.md5 for file in store.files(lock, name)}
        except (FileNotFoundError, ValueError):
            continue
    return None, {}  # that the lists are gone is said where the shards are hashed


def _check_manifest(project: Project, version: DataVersion, pinned: Mapping[str, str]) -> tuple[Manifest | None, tuple[str, ...]]:
    path = f"manifests/{version.dataset}.json"
    content, problems = _blob(project, version, path)
    if content is None:
        return None, problems
    try:
        manifest = Manifest.from_json(content)
    except ValidationError:
        return None, (f"The manifest in {version.tag} cannot be read: {path} is damaged",)
    if manifest.sha256 != version.sha256:
        problems += (f"The manifest in {version.tag} is not the one that was published (its digest differs)",)
    if (manifest.rows_by_split(), manifest.num_bytes) != (version.rows, version.bytes):
        problems += (f"The manifest in {version.tag} counts other rows or bytes than the tag",)
    return manifest, problems + _unlike_pinned(version, path, content, f"data/{STAGE_FOLDERS['augment']}/{version.dataset}/{MANIFEST}", pinned)


def _check_validation(project: Project, version: DataVersion, manifest: Manifest | None, pinned: Mapping[str, str]) -> tuple[str, ...]:
    path = f"validation/{version.dataset}.json"
    content, problems = _blob(project, version, path)
    if content is None:
        return problems
    try:
        result = ValidationResult.model_validate_json(content)
    except ValidationError:
        return (f"The validation result in {version.tag} cannot be read: {path} is damaged",)
    if result.outcome != version.validation:
        problems += (f"The validation result in {version.tag} says {result.outcome}, the tag says {version.validation}",)
    if manifest and (result.manifest_sha256, result.rows, result.dropped) != (manifest.sha256, manifest.rows_by_split(), manifest.dropped):
        problems += (f"The validation result in {version.tag} is that of another manifest",)
    return problems + _unlike_pinned(version, path, content, f"data/validation/{version.dataset}/{RESULT}", pinned)


def _unlike_pinned(version: DataVersion, path: str, content: bytes, pinned_path: str, pinned: Mapping[str, str]) -> tuple[str, ...]:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if pinned and pinned.get(pinned_path) != md5:
        return (f"{path} of {version.tag} is not the file that its dvc.lock pins as {pinned_path}",)
    return ()


def _check_cleaning(store: Store, version: DataVersion, manifest: Manifest, pinned: Mapping[str, str]) -> tuple[str, ...]:
    """The counts of the manifest against the rows in quarantine."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = f"data/{STAGE_FOLDERS['clean']}/{version.dataset}/{QUARANTINE}"
    try:
        # Without threads: one that lets go of what Python holds while Python ends brings the process down.
        file = pq.ParquetFile(io.BytesIO(store.read(pinned[path])), pre_buffer=False)
        reasons = file.read(columns=["reason"], use_threads=False)["reason"].to_pylist()
    except (KeyError, FileNotFoundError, pa.ArrowException):
        return (f"{path} of {version.tag} cannot be read in {store.where}, so that what cleaning dropped cannot be counted",)
    counted = dict(sorted(Counter(reasons).items()))
    if counted != manifest.dropped:
        return (f"The manifest in {version.tag} says that cleaning dropped {manifest.dropped or 'nothing'}, the quarantine holds {counted or 'nothing'}",)
    return ()
