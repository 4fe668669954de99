"""Stage 1: the source's samples as raw shards. New samples add shards; a shard whose samples all still exist is left untouched."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from components.data.dataset import Manifest, ShardInfo, read_manifest, shard_problem, stage_folder
from components.data.modalities import Modality, find_modality
from components.data.shards import SHARD_BYTES, SHARD_ROWS, OutputFolder, columns_of
from components.data.sources import RawRow, Source, SourceConfig, find_source
from components.data.stamp import Stamp
from components.errors import UserError
from components.project import Project

if TYPE_CHECKING:
    import pyarrow as pa

RAW = "raw"
_Row = dict[str, Any]
_Key = tuple[str, str]
"""Id and content of a row."""


def collect(project: Project, stamp: Stamp) -> Manifest:
    """Bring `data/raw/NAME` up to the source.

    Raises:
        UserError: the source is missing or empty.
    """
    name, modality_name = stamp.params["name"], stamp.params["modality"]
    modality, source = find_modality(modality_name), find_source(stamp.params["source"]["kind"])
    config = source.Config.model_validate(stamp.params["source"])
    source.check(config, modality_name, project.root)
    folder = stage_folder(project, name, "collect")
    prior = _usable_prior(project, read_manifest(folder), modality_name)
    output = OutputFolder(project.root, folder)
    shards = _bring_up(project, output, prior, modality, _rows(source, config, modality_name, modality, project))
    if not shards:
        raise UserError(f"Dataset {name!r} is empty: its source {stamp.params['source']} gives no samples; mend datasets.{name}.source.")
    manifest = Manifest(
        name=name,
        modality=modality_name,
        stage="collect",
        shards=tuple(shards),
        source=source.describe(config, modality_name, project.root),
        licence=getattr(config, "licence", "") or source.LICENCE,
        columns=columns_of(raw_schema(modality)),
        class_names=_class_names(prior, source.class_names(config, modality_name, project.root)),
        code=stamp.code,
        params=stamp.params,
    )
    output.finish(manifest)
    return manifest


def raw_schema(modality: Modality) -> "pa.Schema":
    import pyarrow as pa

    common = [pa.field("id", pa.string()), pa.field("split", pa.string()), pa.field("source", pa.string()), pa.field("content", pa.string())]
    return pa.schema([*common, *modality.raw_fields()])


def _rows(source: Source, config: SourceConfig, modality_name: str, modality: Modality, project: Project) -> Iterator[_Row]:
    columns = [field.name for field in modality.raw_fields()]
    seen: set[str] = set()
    for raw in source.read(config, modality_name, project.root):
        assert raw.id not in seen, f"the source gave the id {raw.id} twice"
        seen.add(raw.id)
        yield _raw_row(raw, columns, modality)


def _raw_row(raw: RawRow, columns: list[str], modality: Modality) -> _Row:
    fields = {column: raw.fields.get(column) for column in columns}
    return {"id": raw.id, "split": raw.split, "source": raw.source, "content": modality.content_key({**fields, "split": raw.split}), **fields}


def _bring_up(project: Project, output: OutputFolder, prior: Manifest | None, modality: Modality, rows: Iterator[_Row]) -> list[ShardInfo]:
    """Old shards first (without what has gone), then new ones with what is new or changed."""
    old = prior.shards if prior else ()
    index = _index(project, old)
    missing = set().union(*index.values())
    known = frozenset(missing)
    fresh: list[ShardInfo] = []
    buffer: list[_Row] = []
    next_index = 1 + max((_number(shard) for shard in old), default=-1)
    buffered_bytes = 0
    for row in rows:
        key = (row["id"], row["content"])
        if key in known:
            missing.discard(key)
            continue
        buffer.append(row)
        buffered_bytes += _size(row)
        if len(buffer) >= SHARD_ROWS or buffered_bytes >= SHARD_BYTES:
            fresh.append(_write(output, next_index + len(fresh), buffer, modality))
            buffer, buffered_bytes = [], 0
    if buffer:
        fresh.append(_write(output, next_index + len(fresh), buffer, modality))
    kept = [left for shard in old for left in _keep(project, output, shard, index[shard.path] & missing)]
    return kept + fresh


def _index(project: Project, shards: Sequence[ShardInfo]) -> dict[str, set[_Key]]:
    """The keys of the rows of every shard, by the shard's path."""
    import pyarrow.parquet as pq

    return {shard.path: set(_keys(pq.read_table(project.root / shard.path, columns=["id", "content"]))) for shard in shards}


def _keys(table: "pa.Table") -> list[_Key]:
    return list(zip(table["id"].to_pylist(), table["content"].to_pylist(), strict=True))


def _keep(project: Project, output: OutputFolder, shard: ShardInfo, gone: set[_Key]) -> list[ShardInfo]:
    """The old shard as it is, or rewritten without the rows that the source no longer has."""
    import pyarrow.parquet as pq

    name = shard.path.rsplit("/", 1)[-1]
    if not gone:
        output.keep(name)
        return [shard]
    table = pq.read_table(project.root / shard.path)
    table = table.filter([key not in gone for key in _keys(table)])
    return [output.write_shard(name, RAW, table)] if table.num_rows else []


def _write(output: OutputFolder, index: int, rows: list[_Row], modality: Modality) -> ShardInfo:
    import pyarrow as pa

    return output.write_shard(f"{RAW}-{index:05d}.parquet", RAW, pa.Table.from_pylist(rows, raw_schema(modality)))


def _number(shard: ShardInfo) -> int:
    return int(shard.path.rsplit("-", 1)[-1].removesuffix(".parquet"))


def _size(row: _Row) -> int:
    return sum(len(part) for value in row.values() for part in (value.values() if isinstance(value, dict) else [value]) if isinstance(part, (bytes, str)))


def _usable_prior(project: Project, prior: Manifest | None, modality: str) -> Manifest | None:
    """What an earlier run collected, unless it is of another modality or its files were changed."""
    if prior is None or prior.modality != modality:
        return None
    problems = [problem for shard in prior.shards if (problem := shard_problem(project.root / shard.path, shard))]
    if problems:
        print(f"{problems[0]}: collecting {prior.name} from the start.")
        return None
    return prior


def _class_names(prior: Manifest | None, names: tuple[str, ...]) -> tuple[str, ...]:
    """New classes come after the old ones, so that the old labels keep their numbers."""
    if prior is None or not set(prior.class_names) <= set(names):
        return names
    return (*prior.class_names, *(name for name in names if name not in prior.class_names))
