"""Two versions of a dataset, or a version and what is prepared now, row by row and in everything that is recorded of them."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import Field

from components import git
from components.data.changed_rows import ChangedSample, Samples, changed_samples, samples
from components.data.changes import KINDS, Changes, Kind, RowComparison, Rows, compared_rows, differing_shards
from components.data.dataset import Manifest, ShardInfo, checked_shard, is_added, read_manifest, stage_folder
from components.data.drift import Drift, drift
from components.data.modalities import find_modality
from components.data.profile import Profile
from components.data.published import DataVersion, current_version, find_version, read_published, read_published_validation
from components.data.result import ValidationResult, read_result
from components.data.shard_files import shard_files
from components.errors import UserError
from components.params import Strict
from components.project import Project

if TYPE_CHECKING:
    from components.data.changes import ChangedRow

NUM_SAMPLES, NUM_CHANGED = 24, 6
"""Added or removed rows that are shown, and changed ones, which take more room."""
PREPARED = "prepared"
"""In the place of a version: what lies in the project's folders."""


@dataclass(frozen=True)
class Side:
    """A published version, or what is prepared (``version`` is None)."""

    label: str
    """`mine@v1` or `mine (prepared)`."""
    manifest: Manifest
    result: ValidationResult | None
    params: Mapping[str, Any]
    """The dataset's block of params.yaml as it was written."""
    version: DataVersion | None

    @property
    def profile(self) -> Profile:
        return self.result.profile if self.result else Profile()


class Move(Strict):
    """Rows that were dealt to another split."""

    before: str
    after: str
    rows: int


class Fact(Strict):
    """Something recorded of a version that is not the same on both sides; empty where a side has none."""

    name: str
    before: str
    after: str


class DatasetDiff(Strict):
    """What differs between two sides of a dataset."""

    dataset: str
    before: str
    """`mine@v1`."""
    after: str
    rows: Changes
    moves: tuple[Move, ...]
    ids: dict[Kind, tuple[str, ...]]
    """Some of the rows of each kind."""
    facts: tuple[Fact, ...]
    drift: tuple[Drift, ...]
    page: Path | None = None
    """Where the page was written, if one was."""
    profiles: tuple[Profile, Profile] = Field(exclude=True)
    samples: dict[Kind, Samples] = Field({}, exclude=True)
    changed: tuple[ChangedSample, ...] = Field((), exclude=True)

    @property
    def is_same(self) -> bool:
        return not (self.rows.added or self.rows.removed or self.rows.changed or self.rows.moved or self.facts)


def diff(project: Project, name: str, before: str = "latest", after: str = PREPARED, *, show: bool = False) -> DatasetDiff:
    """What differs between the versions ``before`` and ``after`` of dataset ``name``; with ``show`` also what some of the rows look like.

    Raises:
        UserError: there is no such version, nothing is prepared, or a shard that has to be opened cannot be had.
    """
    old, new = side(project, name, before), side(project, name, after)
    of_old, of_new = differing_shards(old.manifest, new.manifest)
    with _files(project, old, of_old) as old_files, _files(project, new, of_new) as new_files:
        rows = Rows(old.manifest, old_files), Rows(new.manifest, new_files)
        with compared_rows(project, *rows, old.version.version if old.version else "") as comparison:
            found = {kind: comparison.examples(kind, NUM_SAMPLES) for kind in KINDS}
            counts, moves = comparison.counts(), _moves(comparison)
        looks = _looks(new.manifest.modality, found, rows) if show else {}
    return DatasetDiff(
        dataset=name, before=old.label, after=new.label, rows=counts, moves=moves, ids={kind: tuple(row.id for row in some) for kind, some in found.items()},
        facts=tuple(_facts(old, new)), drift=tuple(drift(old.profile, new.profile)), profiles=(old.profile, new.profile), **looks,
    )  # fmt: skip


def side(project: Project, name: str, ref: str) -> Side:
    """What ``ref`` means: a version in any of its forms, or `prepared`."""
    if ref == PREPARED:
        return _prepared(project, name)
    version = find_version(project, name, ref)
    manifest, result = read_published(project, version), read_published_validation(project, version)
    params = git.read_blob(project.root, version.commit, "params.yaml")
    return Side(f"{name}@{version.version}", manifest, result, _block(params, name), version)


def _prepared(project: Project, name: str) -> Side:
    manifest = read_manifest(stage_folder(project, name, "augment"))
    if manifest is None:
        newest = current_version(project, name)
        hint = f"name two versions, e.g. `genmill data diff {name} v1 {newest.version}`, or " if newest else ""
        raise UserError(f"Dataset {name!r} is not prepared: {hint}run `genmill run --dataset {name}`.")
    result = read_result(project, name)
    fits = result is not None and result.manifest_sha256 == manifest.sha256
    return Side(f"{name} ({PREPARED})", manifest, result if fits else None, _block(project.params.read_bytes(), name), None)


def _block(params: bytes, name: str) -> Mapping[str, Any]:
    return ((yaml.safe_load(params) or {}).get("datasets") or {}).get(name) or {}


@contextlib.contextmanager
def _files(project: Project, one: Side, shards: Sequence[ShardInfo]) -> Iterator[Mapping[str, Path]]:
    if one.version is None:
        yield {shard.path: checked_shard(project, shard) for shard in shards}
        return
    with shard_files(project, one.version, shards) as files:
        yield files


def _moves(comparison: RowComparison) -> tuple[Move, ...]:
    return tuple(Move(before=before, after=after, rows=number) for (before, after), number in comparison.moves().items())


def _looks(modality: str, found: "Mapping[Kind, list[ChangedRow]]", rows: tuple[Rows, Rows]) -> dict[str, Any]:
    module, (old, new) = find_modality(modality), rows
    shown: dict[Kind, Samples | None] = {
        "added": samples(module, found["added"], new, lambda row: row.after),
        "removed": samples(module, found["removed"], old, lambda row: row.before),
    }
    return {
        "samples": {kind: some for kind, some in shown.items() if some},
        "changed": tuple(changed_samples(module, found["changed"][:NUM_CHANGED], old, new)),
    }


def _facts(old: Side, new: Side) -> Iterator[Fact]:
    before, after = _recorded(old), _recorded(new)
    for name in dict.fromkeys([*before, *after]):
        if before.get(name, "") != after.get(name, ""):
            yield Fact(name=name, before=before.get(name, ""), after=after.get(name, ""))


def _recorded(one: Side) -> dict[str, str]:
    """What is recorded of a side, in words; sizes and digests of shards left out, since they follow from the rows."""
    manifest = one.manifest
    added = sum(shard.rows for shard in manifest.shards if is_added(shard))
    return {
        **{f"rows, {split}": f"{rows:,}" for split, rows in manifest.rows_by_split().items()},
        **({"rows, of augmentation": f"{added:,}"} if added else {}),
        **{f"dropped, {reason}": f"{rows:,}" for reason, rows in manifest.dropped.items()},
        "validation": one.result.summary if one.result else "",
        **{f"params, {key}": value for key, value in _flat(one.params)},
        **{f"source, {key}": value for key, value in _flat(manifest.source)},
        "licence": manifest.licence,
        "classes": ", ".join(manifest.class_names),
        **{f"column, {name}": kind for name, kind in manifest.columns.items()},
        "code of the last stage": manifest.code[:16],
    }


def _flat(values: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{at}{key}.")
        else:
            yield f"{at}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
