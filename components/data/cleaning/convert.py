"""Writes the clean shards of one raw shard, one per split that has rows."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from components.atomic import write_text
from components.data.cleaning.examine import ShardTask, read_rows
from components.data.dataset import SPLITS, ShardInfo, shard_problem
from components.data.modalities import Modality, find_modality
from components.data.shards import OutputFolder
from components.params import Strict

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ConvertTask:
    shard: ShardTask
    form: tuple[Any, ...]
    dealt: Mapping[int, tuple[str, tuple[int, ...]]]
    """Row to split and the parts to drop; rows that are not in it were refused."""
    root: Path
    folder: Path
    key: str
    """Of everything that the output depends on."""
    record: Path
    """Where it is written down what came out, so that it need not be made again."""


class Converted(Strict):
    key: str
    shards: tuple[ShardInfo, ...]
    dropped_parts: int


def convert_shard(task: ConvertTask) -> Converted:
    done = _done(task)
    if done:
        return done
    modality = find_modality(task.shard.modality)
    output = OutputFolder(task.root, task.folder)
    shards = [output.write_shard(f"{split}-{task.shard.number:05d}.parquet", split, table) for split, table in _tables(task, modality).items()]
    dropped_parts = sum(len(drop) for _, drop in task.dealt.values())
    result = Converted(key=task.key, shards=tuple(shards), dropped_parts=dropped_parts)
    write_text(task.record, result.model_dump_json())
    return result


def convert_key(*parts: Any) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def clean_schema(modality: Modality) -> "pa.Schema":
    import pyarrow as pa

    common = [pa.field(name, pa.string()) for name in ("id", "split", "parent_id", "source")]
    fields = [*common, *modality.clean_fields()]
    return pa.schema(fields, metadata=modality.schema_metadata(fields) or None)


def _done(task: ConvertTask) -> Converted | None:
    """What an earlier run made of the same input, where its files are still whole."""
    try:
        result = Converted.model_validate_json(task.record.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    whole = result.key == task.key and not any(shard_problem(task.root / shard.path, shard) for shard in result.shards)
    return result if whole else None


def _tables(task: ConvertTask, modality: Modality) -> "dict[str, pa.Table]":
    """The shard's clean rows by split."""
    import pyarrow as pa

    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for number, row in enumerate(read_rows(task.shard, modality)):
        place = task.dealt.get(number)
        if place is None:
            continue
        split, drop = place
        columns = modality.convert(row, task.form, drop, task.shard.config, task.shard.class_names)
        rows[split].append({"id": row["id"], "split": split, "parent_id": None, "source": row["source"], **columns})
    schema = clean_schema(modality)
    return {split: pa.Table.from_pylist(found, schema) for split, found in rows.items() if found}
