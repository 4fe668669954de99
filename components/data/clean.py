"""Stage 2: checks every raw row, deals the good ones to splits, and puts the others in quarantine with a reason.

Rows are judged in the order of the raw shards, and each raw shard becomes at most one shard per split. So new raw shards add
clean shards, the old ones keep their bytes, and an existing row wins over a later duplicate of it.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data.config import SplitConfig, dataset_block
from components.data.dataset import SPLITS, Manifest, ShardInfo, checked_shard, read_manifest, stage_folder
from components.data.executor import map_shards
from components.data.modalities import Examined, Limits, Modality, Rejection, find_modality
from components.data.shards import OutputFolder, columns_of
from components.data.splits import Dealer, Dealt
from components.data.stamp import Stamp
from components.errors import UserError
from components.params import load
from components.project import Project

if TYPE_CHECKING:
    import pyarrow as pa

QUARANTINE = "quarantine.parquet"
_POSITION: dict[str, int] = {split: position for position, split in enumerate(SPLITS)}


@dataclass(frozen=True)
class Task:
    """What a worker needs to read one raw shard."""

    path: Path
    modality: str
    config: Limits
    split: SplitConfig
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What examining one row found."""

    id: str
    source: str
    given: str | None
    found: Examined | Rejection


@dataclass(frozen=True)
class ConvertTask:
    task: Task
    form: tuple[Any, ...]
    dealt: dict[str, Dealt]
    """By row id; rows that are not in it were rejected."""


@dataclass(frozen=True)
class Converted:
    tables: "dict[str, pa.Table]"
    """By split."""
    dropped_parts: int


def clean(project: Project, stamp: Stamp) -> Manifest:
    """Make `data/clean/NAME` from `data/raw/NAME`.

    Raises:
        UserError: nothing is left, a split stays empty, or the rows have different forms and none was chosen.
    """
    name, modality = stamp.params["name"], find_modality(stamp.params["modality"])
    raw = read_manifest(stage_folder(project, name, "collect"))
    if raw is None:
        raise UserError(f"Dataset {name!r} was not collected yet: run `genmill run --dataset {name}`.")
    config, split = modality.CleanConfig.model_validate(stamp.params["clean"]), SplitConfig.model_validate(stamp.params["split"])
    tasks = [Task(checked_shard(project, shard), raw.modality, config, split, raw.class_names) for shard in raw.shards]
    verdicts = list(map_shards(examine_shard, tasks, raw.num_bytes))
    dealt, rejected = _deal(verdicts, _dealer(name, split, verdicts))
    block = dataset_block(load(project.params), name)
    forms = Counter(verdict.found.form for shard in verdicts for verdict in shard if verdict.id in dealt and isinstance(verdict.found, Examined))
    output = OutputFolder(project.root, stage_folder(project, name, "clean"))
    _refuse_if_empty(name, forms, rejected, output)
    form = modality.common_form(forms, config, block)
    converted = list(map_shards(convert_shard, [ConvertTask(task, form, dealt) for task in tasks], raw.num_bytes))
    output.write_table(QUARANTINE, _quarantine_table(rejected))
    shards = [output.write_shard(f"{part}-{index:05d}.parquet", part, table) for index, result in enumerate(converted) for part, table in result.tables.items()]
    _refuse_if_too_small(name, split, shards)
    manifest = Manifest(
        name=name,
        modality=raw.modality,
        stage="clean",
        shards=tuple(sorted(shards, key=lambda shard: _POSITION[shard.split])),
        dropped=dict(sorted(Counter(row["reason"] for row in rejected).items())),
        source=raw.source,
        licence=raw.licence,
        columns=columns_of(clean_schema(modality)),
        class_names=raw.class_names,
        code=stamp.code,
        params=stamp.params,
        parent_sha256=raw.sha256,
        notes=_notes(sum(result.dropped_parts for result in converted)),
    )
    output.finish(manifest)
    return manifest


def clean_schema(modality: Modality) -> "pa.Schema":
    import pyarrow as pa

    common = [pa.field(name, pa.string()) for name in ("id", "split", "parent_id", "source")]
    fields = [*common, *modality.clean_fields()]
    return pa.schema(fields, metadata=modality.schema_metadata(fields) or None)


def examine_shard(task: Task) -> list[Verdict]:
    modality = find_modality(task.modality)
    labelled = bool(task.class_names)
    return [Verdict(row["id"], row["source"], row["split"], modality.examine(row, task.config, labelled)) for row in _read(task, modality)]


def convert_shard(work: ConvertTask) -> Converted:
    import pyarrow as pa

    task, modality = work.task, find_modality(work.task.modality)
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    dropped_parts = 0
    for row in _read(task, modality):
        place = work.dealt.get(row["id"])
        if place is None:
            continue
        columns = modality.convert(row, work.form, place.drop, task.config, task.class_names)
        dropped_parts += len(place.drop)
        rows[place.split].append({"id": row["id"], "split": place.split, "parent_id": None, "source": row["source"], **columns})
    schema = clean_schema(modality)
    return Converted({split: pa.Table.from_pylist(found, schema) for split, found in rows.items() if found}, dropped_parts)


def _read(task: Task, modality: Modality) -> Iterator[Mapping[str, Any]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(task.path) as file:
        for batch in file.iter_batches(batch_size=256):
            for row in batch.to_pylist():
                yield from _cut(row, task.split, modality)


def _cut(row: Mapping[str, Any], split: SplitConfig, modality: Modality) -> Iterator[Mapping[str, Any]]:
    """The row itself, or its blocks where the split asks for them."""
    if split.method == "given":
        yield row
    elif split.method == "hash":
        yield {**row, "split": None}
    else:
        for block in modality.blocks(row, split.block_chars):
            yield {**block, "split": None}


def _dealer(name: str, split: SplitConfig, verdicts: Sequence[Sequence[Verdict]]) -> Dealer:
    given = {verdict.given for shard in verdicts for verdict in shard if isinstance(verdict.found, Examined)}
    if split.method == "given" and None in given:
        raise UserError(f"Dataset {name!r}: the source gives no split for some rows: set datasets.{name}.split.method to hash.")
    return Dealer(split, source_has_validation="validation" in given)


def _deal(verdicts: Sequence[Sequence[Verdict]], dealer: Dealer) -> tuple[dict[str, Dealt], list[dict[str, str]]]:
    dealt: dict[str, Dealt] = {}
    rejected: list[dict[str, str]] = []
    for verdict in (verdict for shard in verdicts for verdict in shard):
        found = verdict.found
        place = found if isinstance(found, Rejection) else dealer.deal(verdict.id, found, verdict.given)  # type: ignore[arg-type]
        if isinstance(place, Rejection):
            rejected.append(_rejected(verdict.id, verdict.source, place))
        else:
            dealt[verdict.id] = place
    return dealt, rejected


def _rejected(row_id: str, source: str, rejection: Rejection) -> dict[str, str]:
    return {"id": row_id, "reason": rejection.reason, "detail": rejection.detail, "source": source}


def _quarantine_table(rejected: Sequence[Mapping[str, str]]) -> "pa.Table":
    import pyarrow as pa

    return pa.Table.from_pylist(list(rejected), pa.schema([(name, pa.string()) for name in ("id", "reason", "detail", "source")]))


def _refuse_if_empty(name: str, forms: Mapping[Any, int], rejected: Sequence[Mapping[str, str]], output: OutputFolder) -> None:
    if forms:
        return
    output.write_table(QUARANTINE, _quarantine_table(rejected))
    first = rejected[0]
    raise UserError(
        f"Dataset {name!r}: none of its {len(rejected):,} rows is usable; the first, {first['source']}, is {first['reason']} ({first['detail']}). "
        f"All are listed in {output.folder / QUARANTINE}: mend the source or the limits in datasets.{name}.clean."
    )


def _refuse_if_too_small(name: str, split: SplitConfig, shards: Sequence[ShardInfo]) -> None:
    rows = {part: sum(shard.rows for shard in shards if shard.split == part) for part in SPLITS}
    empty = [part for part in SPLITS if split.fractions[part] > 0 and not rows[part]]
    if not empty:
        return
    if split.method == "given":
        raise UserError(f"Dataset {name!r}: the source gives no {empty[0]} rows: add some, or set datasets.{name}.split.method to hash.")
    # With this many rows a split of that share is empty in fewer than one dataset in a hundred.
    least = math.ceil(math.log(0.01) / math.log(1 - min(split.fractions[part] for part in empty)))
    raise UserError(
        f"Dataset {name!r} has {sum(rows.values()):,} usable rows, too few for its split: {empty[0]} stays empty. "
        f"Give it at least {least} rows, or set the shares in datasets.{name}.split."
    )


def _notes(dropped_parts: int) -> tuple[str, ...]:
    return (f"{dropped_parts:,} paragraphs that stand in an earlier document were removed.",) if dropped_parts else ()
