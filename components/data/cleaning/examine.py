"""Examines one shard of raw rows and writes down what the comparison with all other rows needs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.atomic import write_atomically
from components.data.config import SplitConfig
from components.data.modalities import Examined, Limits, Modality, Rejection, examined, find_modality
from components.data.near import Likeness
from components.data.near.pairs import FEATURE, POSITION, band_column

if TYPE_CHECKING:
    import pyarrow as pa

ROW_BITS = 32
"""A position is the number of the raw shard and, in the lower bits, the row within it (blocks of documents counted one by one)."""
_READ_AT_ONCE = 256


@dataclass(frozen=True)
class ShardTask:
    """What a process needs to work on one raw shard."""

    path: Path
    number: int
    modality: str
    config: Limits
    split: SplitConfig
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class ExamineTask:
    shard: ShardTask
    output: Path


def examine_shard(task: ExamineTask) -> Path:
    """Write a row for every raw row: keys, form and bands where it is good, a reason where it is not."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if task.output.is_file():
        return task.output
    shard, modality = task.shard, find_modality(task.shard.modality)
    labelled = bool(shard.class_names)
    rows, compared = [], []
    for row_number, raw in enumerate(read_rows(shard, modality)):
        found = examined(modality, raw, shard.config, labelled)
        rows.append({"position": shard.number << ROW_BITS | row_number, "id": raw["id"], "source": raw["source"], "given": raw["split"], **_columns(found)})
        compared.append(found.compared if isinstance(found, Examined) else None)
    likeness = modality.likeness(shard.config)
    table = pa.Table.from_pylist(rows, _schema())
    if likeness:
        table = _with_bands(table, compared, likeness)
    # Digests do not compress, and no value stands there often.
    write_atomically(task.output, lambda scratch: pq.write_table(table, scratch, compression="none", use_dictionary=["given", "reason", "form"]))
    return task.output


def read_rows(shard: ShardTask, modality: Modality) -> Iterator[Mapping[str, Any]]:
    """The raw rows in order, cut into blocks where the split asks for them."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(shard.path) as file:
        for batch in file.iter_batches(batch_size=_READ_AT_ONCE):
            for row in batch.to_pylist():
                yield from _cut(row, shard.split, modality)


def _cut(row: Mapping[str, Any], split: SplitConfig, modality: Modality) -> Iterator[Mapping[str, Any]]:
    if split.method == "given":
        yield row
    elif split.method == "hash":
        yield {**row, "split": None}
    else:
        for block in modality.blocks(row, split.block_chars):
            yield {**block, "split": None}


def _schema() -> "pa.Schema":
    import pyarrow as pa

    text = ("id", "source", "given", "reason", "detail", "form")
    part = pa.struct([pa.field("index", pa.int32()), pa.field("digest", pa.binary()), pa.field("length", pa.int64())])
    change = pa.struct([pa.field("what", pa.string()), pa.field("count", pa.int64())])
    return pa.schema(
        [
            pa.field(POSITION, pa.int64()),
            *(pa.field(name, pa.string()) for name in text),
            *(pa.field(name, pa.binary()) for name in ("duplicate_key", "group_key", "repeated_key")),
            pa.field("parts", pa.list_(part)),
            pa.field("changes", pa.list_(change)),
            *(pa.field(name, pa.int64()) for name in ("num_parts", "length", "least", "most")),
        ]
    )


def _columns(found: Examined | Rejection) -> dict[str, Any]:
    if isinstance(found, Rejection):
        return {"reason": found.reason, "detail": found.detail}
    return {
        "duplicate_key": bytes.fromhex(found.duplicate_key),
        "group_key": bytes.fromhex(found.group_key) if found.group_key else None,
        "repeated_key": bytes.fromhex(found.repeated_key) if found.repeated_key else None,
        "most": found.most,
        "form": json.dumps(found.form),
        "changes": [{"what": what, "count": count} for what, count in found.changes.items()],
        "parts": [{"index": index, "digest": bytes.fromhex(digest), "length": length} for index, (digest, length) in enumerate(found.parts) if digest],
        "num_parts": len(found.parts),
        "length": sum(length for _, length in found.parts),
        "least": found.least,
    }


def _with_bands(table: "pa.Table", compared: Sequence[Any], likeness: Likeness) -> "pa.Table":
    """The feature of each row that is compared, and its value in each band."""
    import numpy as np
    import pyarrow as pa

    found = [index for index, content in enumerate(compared) if content is not None]
    features = likeness.features([compared[index] for index in found])
    kept = [(index, feature) for index, feature in zip(found, features, strict=True) if feature]
    where = np.asarray([index for index, _ in kept], dtype=np.int64)
    bands = likeness.bands([feature for _, feature in kept]) if kept else np.zeros((0, likeness.num_bands), dtype=np.uint64)
    column = np.full(len(compared), None, dtype=object)
    column[where] = [feature for _, feature in kept]
    table = table.append_column(FEATURE, pa.array(column, pa.binary()))
    absent = np.ones(len(compared), dtype=bool)
    absent[where] = False
    for band in range(likeness.num_bands):
        values = np.zeros(len(compared), dtype=np.uint64)
        values[where] = bands[:, band]
        table = table.append_column(band_column(band), pa.array(values, mask=absent))
    return table
