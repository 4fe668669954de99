"""Stage 1: the source's samples as raw shards. New samples add shards; a shard whose samples all still exist is left untouched.

Parts of the source whose stamp is that of the last run are not opened again, and a run that was killed goes on behind its last shard.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data.dataset import Manifest, ShardInfo, read_manifest, shard_number, shard_problem, stage_folder
from components.data.digests import short_digest
from components.data.known_rows import KnownRows, row_digest
from components.data.modalities import Modality, find_modality
from components.data.remembered import Log, PartRows, about_to_be_rewritten, interrupted, memory_key, remember
from components.data.shards import SHARD_BYTES, SHARD_ROWS, OutputFolder, columns_of
from components.data.sources import PROBLEM, Part, RawRow, find_source, is_parted, reading
from components.data.stamp import Stamp
from components.errors import UserError
from components.project import Project

if TYPE_CHECKING:
    import pyarrow as pa

RAW = "raw"
_PARTS_AT_ONCE = 4096
_ROWS_AT_ONCE, _BYTES_AT_ONCE = 256, 16 * 2**20
_Row = dict[str, Any]
_Parts = Callable[[], Iterator[Part]]


def collect(project: Project, stamp: Stamp) -> Manifest:
    """Bring `data/raw/NAME` up to the source.

    Raises:
        UserError: the source is missing or empty.
    """
    name, modality_name = stamp.params["name"], stamp.params["modality"]
    modality, source = find_modality(modality_name), find_source(stamp.params["source"]["kind"])
    config = source.Config.model_validate(stamp.params["source"])
    if not is_parted(source):  # files are looked into while they are read
        source.check(config, modality_name, project.root)
    folder = stage_folder(project, name, "collect")
    output, cache = OutputFolder(project.root, folder), project.cache / "collect" / name
    prior = _usable_prior(project, read_manifest(folder), modality_name, about_to_be_rewritten(cache))
    with reading(source, config, modality_name, project.root) as opened:
        shards, log = _bring_up(project, output, prior, modality, opened.parts, stamp, cache)
        if not shards:
            raise UserError(f"Dataset {name!r} is empty: its source {stamp.params['source']} gives no samples; mend datasets.{name}.source.")
        manifest = Manifest(
            name=name,
            modality=modality_name,
            stage="collect",
            shards=tuple(shards),
            source=opened.origin,
            licence=getattr(config, "licence", "") or source.LICENCE,
            columns=columns_of(raw_schema(modality)),
            class_names=_class_names(prior, opened.class_names),
            code=stamp.code,
            params=stamp.params,
        )
    output.finish(manifest)
    log.finish(_memory_of(manifest, stamp))
    return manifest


def raw_schema(modality: Modality) -> "pa.Schema":
    import pyarrow as pa

    common = ("id", "split", "source", "content", PROBLEM)
    return pa.schema([*(pa.field(name, pa.string()) for name in common), *modality.raw_fields()])


def _bring_up(
    project: Project, output: OutputFolder, prior: Manifest | None, modality: Modality, parts: _Parts, stamp: Stamp, cache: Path
) -> tuple[list[ShardInfo], Log]:
    """Old shards first (without what has gone), then new ones with what is new or changed; and the log of what was read."""
    old = _as_they_are(project, prior.shards if prior else (), about_to_be_rewritten(cache))
    memory = remember(cache, _memory_of(prior, stamp)) if prior else PartRows()
    key = memory_key(prior.sha256 if prior else None, stamp.model_dump(mode="json"))
    read, done = interrupted(cache, key)
    if any(shard_problem(project.root / shard.path, shard) for shard in done):
        read, done = PartRows(), ()
    known = KnownRows(project, [*old, *done])
    log = Log(cache, key)
    new = _NewShards(output, modality, 1 + max((shard_number(shard) for shard in (*old, *done)), default=-1), list(done), log)
    try:
        _read(parts, [read, memory], known, new, log, modality)
        fresh = new.close()
        assert known.ids_differ(), "the source gave an id twice"
        if not all(known.kept(len(old) + number).all() for number in range(len(done))):
            log.forget()  # the source was changed between the killed run and this one
            return _bring_up(project, output, prior, modality, parts, stamp, cache)
        kept = _keep(project, output, old, known, lambda rewritten: log.save(fresh, rewritten))
    finally:
        log.close()
    return kept + fresh, log


def _read(parts: _Parts, read_before: Sequence[PartRows], known: KnownRows, new: "_NewShards", log: Log, modality: Modality) -> None:
    """Mark what the source still has, and hand what is new to ``new``; a part that was read before is not opened."""
    for memory in read_before:
        memory.locate_rows(known.index)
    columns = [field.name for field in modality.raw_fields()]
    stream = parts()
    while chunk := list(islice(stream, _PARTS_AT_ONCE)):
        digests = [short_digest(part.name, part.stamp) for part in chunk]
        remembered = [memory.known(b"".join(digests)) for memory in read_before]
        for number, (part, digest) in enumerate(zip(chunk, digests, strict=True)):
            found = next((found[number] for found in remembered if found[number]), None) if part.stamp else None
            if found:
                records, places = found
                known.see(places)
                log.add_records(records)
            else:
                rows = _read_part((_raw_row(raw, columns, modality) for raw in part.rows()), known, new)
                if part.stamp:
                    log.add(digest, rows)


def _read_part(rows: Iterator[_Row], known: KnownRows, new: "_NewShards") -> bytearray:
    """Read one part; the digests of its rows, one behind the other."""
    digests = bytearray()
    for batch in _batches(rows) if len(known.index) else ():
        found = b"".join(row_digest(row["id"], row["content"]) for row in batch)
        places = known.places(found)
        known.see(places[places >= 0])
        for row, place in zip(batch, places, strict=True):
            if place < 0:
                known.add(row["id"])
                new.add(row)
        digests += found
    for row in rows:  # none is known, so none need be looked up
        digests += row_digest(row["id"], row["content"])
        known.add(row["id"])
        new.add(row)
    return digests


def _batches(rows: Iterator[_Row]) -> Iterator[list[_Row]]:
    """Some rows at a time, few where they are large."""
    batch: list[_Row] = []
    num_bytes = 0
    for row in rows:
        batch.append(row)
        num_bytes += _size(row)
        if len(batch) >= _ROWS_AT_ONCE or num_bytes >= _BYTES_AT_ONCE:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


class _NewShards:
    """Gathers new rows and writes a shard whenever there are enough of them."""

    def __init__(self, output: OutputFolder, modality: Modality, next_index: int, done: list[ShardInfo], log: Log) -> None:
        self._output, self._modality, self._next_index, self._log = output, modality, next_index, log
        self._shards = done
        self._rows: list[_Row] = []
        self._num_bytes = 0
        for shard in done:
            output.keep(_file_name(shard))

    def add(self, row: _Row) -> None:
        self._rows.append(row)
        self._num_bytes += _size(row)
        if len(self._rows) >= SHARD_ROWS or self._num_bytes >= SHARD_BYTES:
            self._write()

    def close(self) -> list[ShardInfo]:
        """All new shards."""
        if self._rows:
            self._write()
        return self._shards

    def _write(self) -> None:
        import pyarrow as pa

        table = pa.Table.from_pylist(self._rows, raw_schema(self._modality))
        self._rows, self._num_bytes = [], 0
        self._shards.append(self._output.write_shard(f"{RAW}-{self._next_index:05d}.parquet", RAW, table))
        self._next_index += 1
        self._log.save(self._shards)


def _raw_row(raw: RawRow, columns: list[str], modality: Modality) -> _Row:
    fields, problem = {column: raw.fields.get(column) for column in columns}, raw.fields.get(PROBLEM)
    content = modality.content_key({**fields, "split": raw.split})
    content = short_digest(content, problem).hex() if problem else content
    return {"id": raw.id, "split": raw.split, "source": raw.source, "content": content, PROBLEM: problem, **fields}


def _keep(project: Project, output: OutputFolder, old: Sequence[ShardInfo], known: KnownRows, announce: Callable[[list[ShardInfo]], None]) -> list[ShardInfo]:
    """The old shards, as they are, or rewritten without the rows that the source no longer has.

    They are replaced after ``announce``, so that a run which is killed meanwhile is understood by the next one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: list[ShardInfo] = []
    rewritten: list[ShardInfo] = []
    for number, shard in enumerate(old):
        rows, name = known.kept(number), _file_name(shard)
        if rows.all():
            output.keep(name)
            found.append(shard)
        elif rows.any():
            rewritten.append(output.stage_shard(name, RAW, pq.read_table(project.root / shard.path).filter(pa.array(rows))))
            found.append(rewritten[-1])
    if rewritten:
        announce(rewritten)
    for shard in rewritten:
        output.take_staged(_file_name(shard))
    return found


def _as_they_are(project: Project, old: Sequence[ShardInfo], rewritten: Mapping[str, ShardInfo]) -> list[ShardInfo]:
    """The old shards; those that a killed run has replaced already as it left them."""
    replaced = {path for path, shard in rewritten.items() if not shard_problem(project.root / path, shard)}
    return [rewritten[shard.path] if shard.path in replaced else shard for shard in old]


def _memory_of(manifest: Manifest, stamp: Stamp) -> str:
    """What the memory of the run that made ``manifest`` is valid for."""
    return memory_key(manifest.to_json(), stamp.params, stamp.code)


def _file_name(shard: ShardInfo) -> str:
    return shard.path.rsplit("/", 1)[-1]


def _size(row: _Row) -> int:
    """Bytes and characters in it."""
    size = 0
    for value in row.values():
        if isinstance(value, dict):
            size += _size(value)
        elif isinstance(value, (bytes, str)):
            size += len(value)
    return size


def _usable_prior(project: Project, prior: Manifest | None, modality: str, rewritten: Mapping[str, ShardInfo]) -> Manifest | None:
    """What an earlier run collected, unless it is of another modality or its files were changed by anybody but a killed run."""
    if prior is None or prior.modality != modality:
        return None
    shards = _as_they_are(project, prior.shards, rewritten)
    problems = [problem for shard in shards if (problem := shard_problem(project.root / shard.path, shard))]
    if problems:
        print(f"{problems[0]}: collecting {prior.name} from the start.")
        return None
    return prior


def _class_names(prior: Manifest | None, names: tuple[str, ...]) -> tuple[str, ...]:
    """New classes come after the old ones, so that the old labels keep their numbers."""
    if prior is None or not set(prior.class_names) <= set(names):
        return names
    return (*prior.class_names, *(name for name in names if name not in prior.class_names))
