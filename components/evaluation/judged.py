"""The rows that figures are measured on: all of a split, or of one that would not fit into memory some that are spread evenly over it."""

from typing import TYPE_CHECKING

from components.data.dataset import Dataset, ShardInfo, Split
from components.data.modalities import find_modality, spread
from components.evaluation.evidence import Evidence
from components.evaluation.protocol import Figure
from components.models.capabilities import DataSpec

if TYPE_CHECKING:
    import pyarrow as pa

LEAST_ROWS = 256
"""Of a split, whatever they take: with fewer no figure means anything."""


def judged(dataset: Dataset, data_spec: DataSpec, buffer_mib: float) -> Dataset:
    """``dataset`` where each of its splits takes no more than ``buffer_mib`` in memory, else the part of it that does.

    A part has another digest, so that nothing that is kept of the one is taken for the other.
    """
    shards = dataset.manifest.shards
    kept = [shard for split in dict.fromkeys(shard.split for shard in shards) for shard in _kept(dataset, data_spec, split, buffer_mib)]  # type: ignore[arg-type]
    return dataset if sum(shard.rows for shard in kept) == dataset.manifest.rows() else _Part(dataset, tuple(kept))


def named(evidence: Evidence, dataset: Dataset, part: Dataset) -> Evidence:
    """``evidence`` from ``part`` of ``dataset``, with figures that refer to the version and say how much of it they saw."""
    if part is dataset:
        return evidence
    seen = {split: f"{part.manifest.rows(split):,} of {dataset.manifest.rows(split):,} rows" for split in ("test", "train")}
    note = f"Figures are of {seen['test']} of the test and {seen['train']} of the training split, evenly spread: raise evaluation.buffer_mib for more."

    def of_version(figure: Figure) -> Figure:
        identity = figure.identity.model_copy(update={"split": f"test, {seen['test']}", "reference_sha256": dataset.manifest.sha256})
        return figure.model_copy(update={"identity": identity})

    return Evidence(tuple(map(of_version, evidence.figures)), evidence.pictures, evidence.texts, (*evidence.notes, note), evidence.animations)


class _Part(Dataset):
    """A dataset of which each shard shows some rows, as many as the manifest says."""

    def __init__(self, whole: Dataset, shards: tuple[ShardInfo, ...]) -> None:
        super().__init__(whole.project, whole.manifest.model_copy(update={"shards": tuple(shard for shard in shards if shard.rows)}))
        self._whole = whole
        self._shards = {shard.path: shard for shard in whole.manifest.shards}

    def table(self, split: Split, columns: list[str] | None = None, augmented: bool = True) -> "pa.Table":
        import pyarrow as pa

        wanted = list(self.manifest.columns) if columns is None else columns
        parts = [self.read(shard, wanted) for shard in self.shards(split, augmented)]
        return pa.concat_tables(parts) if parts else self._whole.table(split, wanted, augmented).slice(0, 0)

    def read(self, shard: ShardInfo, columns: list[str], start: int = 0, rows: int | None = None) -> "pa.Table":
        return spread(self._whole.read(self._shards[shard.path], columns), shard.rows).slice(start, rows)


def _kept(dataset: Dataset, data_spec: DataSpec, split: Split, buffer_mib: float) -> list[ShardInfo]:
    """The shards of ``split``, each with as many rows as are looked at of it."""
    shards = dataset.shards(split)
    total = sum(shard.rows for shard in shards)
    most = max(LEAST_ROWS, int(buffer_mib * 2**20 / max(_row_bytes(dataset, data_spec, shards), 1)))
    if total <= most:
        return list(shards)
    found, before = list[ShardInfo](), 0
    for shard in shards:
        after = before + shard.rows
        found.append(shard.model_copy(update={"rows": after * most // total - before * most // total}))
        before = after
    return found


def _row_bytes(dataset: Dataset, data_spec: DataSpec, shards: tuple[ShardInfo, ...]) -> float:
    """What a row takes: its columns, by the first shard, or its image as bytes where that is more."""
    pixels = data_spec.channels * data_spec.image_size**2 if "image" in find_modality(dataset.modality).PARTS else 0
    stored = dataset.num_bytes(shards[0], dataset.manifest.columns) / shards[0].rows if shards else 0
    return max(pixels, stored)
