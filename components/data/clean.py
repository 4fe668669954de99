"""Stage 2: checks every raw row, deals the good ones to splits, and puts the others in quarantine with a reason.

Rows are judged in the order of the raw shards, and each raw shard becomes at most one shard per split. So new raw shards add
clean shards, the old ones keep their bytes, and an existing row wins over a later duplicate of it.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data.cleaning.convert import ConvertTask, clean_schema, convert_key, convert_shard
from components.data.cleaning.deal import deal_rows, load_rows
from components.data.cleaning.examine import ROW_BITS, ExamineTask, ShardTask, examine_shard
from components.data.cleaning.examples import EXAMPLES, PER_REASON, examples_table
from components.data.cleaning.quarantine import QUARANTINE, batches, first_rejected
from components.data.cleaning.quarantine import schema as quarantine_schema
from components.data.config import SplitConfig, dataset_block
from components.data.dataset import SPLITS, Manifest, ShardInfo, checked_shard, read_manifest, shard_number, stage_folder
from components.data.duck import connect
from components.data.executor import Executor, executor_for
from components.data.modalities import find_modality
from components.data.near import Likeness
from components.data.near.pairs import near_pairs
from components.data.progress import Progress
from components.data.shards import OutputFolder, columns_of
from components.data.stamp import Stamp
from components.errors import UserError
from components.params import load
from components.project import Project

if TYPE_CHECKING:
    import duckdb

_POSITION: dict[str, int] = {split: position for position, split in enumerate(SPLITS)}


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
    shards = [ShardTask(checked_shard(project, shard), shard_number(shard), raw.modality, config, split, raw.class_names) for shard in raw.shards]
    output, known = OutputFolder(project.root, stage_folder(project, name, "clean")), project.cache / "clean" / name
    likeness = modality.likeness(config)
    with executor_for(raw.num_bytes, len(shards)) as executor, connect(project) as connection:
        files = _examine(executor, shards, raw, stamp, known)
        load_rows(connection, files)
        if likeness:
            near_pairs(project, executor, files, likeness, known / "bands", connection)
        deal_rows(connection, name, split)
        dropped = _write_quarantine(connection, output, likeness)
        forms = _forms(connection)
        _refuse_if_empty(name, forms, connection, output, likeness)
        form = modality.common_form(forms, config, dataset_block(load(project.params), name))
        output.write_table(EXAMPLES, examples_table(first_rejected(connection, likeness, PER_REASON), shards, modality))
        conversions = _convert_tasks(connection, shards, raw, stamp, form, output, known)
        converted = list(Progress("writing", len(shards)).over(executor.map(convert_shard, conversions)))
        notes = _notes(sum(result.dropped_parts for result in converted), connection)
    made = [shard for result in converted for shard in result.shards]
    for shard in made:
        output.keep(Path(shard.path).name)
    _refuse_if_too_small(name, split, made)
    _forget(known, {*files, *(known / f"converted-{shard.number:05d}.json" for shard in shards)})
    manifest = Manifest(
        name=name,
        modality=raw.modality,
        stage="clean",
        shards=tuple(sorted(made, key=lambda shard: _POSITION[shard.split])),
        dropped=dropped,
        source=raw.source,
        licence=raw.licence,
        columns=columns_of(clean_schema(modality)),
        class_names=raw.class_names,
        code=stamp.code,
        params=stamp.params,
        parent_sha256=raw.sha256,
        notes=notes,
    )
    output.finish(manifest)
    return manifest


def _examine(executor: Executor, shards: Sequence[ShardTask], raw: Manifest, stamp: Stamp, known: Path) -> list[Path]:
    """The examined shards, of which those that were done before are left as they are."""
    cut = {"method": stamp.params["split"]["method"], "block_chars": stamp.params["split"]["block_chars"]}
    depends = json.dumps([raw.modality, stamp.params["clean"], cut, bool(raw.class_names), stamp.code], sort_keys=True)
    keys = [convert_key(info.sha256, shard.number, depends) for info, shard in zip(raw.shards, shards, strict=True)]
    tasks = [ExamineTask(shard, known / f"{key}.parquet") for shard, key in zip(shards, keys, strict=True)]
    return list(Progress("examining", len(tasks)).over(executor.map(examine_shard, tasks)))


def _convert_tasks(
    connection: "duckdb.DuckDBPyConnection", shards: Sequence[ShardTask], raw: Manifest, stamp: Stamp, form: tuple[Any, ...], output: OutputFolder, known: Path
) -> Iterator[ConvertTask]:
    """One per raw shard, made when it is needed."""
    depends = json.dumps([raw.modality, stamp.params["clean"], stamp.params["split"], form, raw.class_names, stamp.code], sort_keys=True)
    query = 'SELECT position & ?, split, "drop" FROM dealt WHERE split IS NOT NULL AND position BETWEEN ? AND ? ORDER BY position'
    for info, shard in zip(raw.shards, shards, strict=True):
        first, mask = shard.number << ROW_BITS, (1 << ROW_BITS) - 1
        dealt = {row: (split, tuple(drop)) for row, split, drop in connection.cursor().execute(query, [mask, first, first | mask]).fetchall()}
        key = convert_key(info.sha256, depends, sorted(dealt.items()))
        yield ConvertTask(shard, form, dealt, output.root, output.folder, key, known / f"converted-{shard.number:05d}.json")


def _write_quarantine(connection: "duckdb.DuckDBPyConnection", output: OutputFolder, likeness: Likeness | None) -> dict[str, int]:
    """Write down every row that was dropped; their number by reason."""
    found = Counter[str]()

    def counted() -> Iterator[Any]:
        for batch in batches(connection, likeness):
            found.update(batch["reason"].to_pylist())
            yield batch

    output.write_batches(QUARANTINE, quarantine_schema(), counted())
    return dict(sorted(found.items()))


def _forms(connection: "duckdb.DuckDBPyConnection") -> dict[tuple[Any, ...], int]:
    """How many rows that are kept have each form."""
    query = "SELECT form, count(*) FROM rows JOIN dealt USING (position) WHERE split IS NOT NULL GROUP BY form ORDER BY min(position)"
    return {tuple(json.loads(form)): number for form, number in connection.execute(query).fetchall()}


def _refuse_if_empty(name: str, forms: Mapping[Any, int], connection: "duckdb.DuckDBPyConnection", output: OutputFolder, likeness: Likeness | None) -> None:
    if forms:
        return
    first = first_rejected(connection, likeness, 1)[0]
    (number,) = connection.execute("SELECT count(*) FROM rows").fetchall()[0]
    raise UserError(
        f"Dataset {name!r}: none of its {number:,} rows is usable; the first, {first['source']}, is {first['reason']} ({first['detail']}). "
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


def _notes(dropped_parts: int, connection: "duckdb.DuckDBPyConnection") -> tuple[str, ...]:
    """What was altered inside rows that were kept."""
    query = (
        "SELECT what, sum(count) FROM (SELECT unnest(changes, recursive := true) FROM rows JOIN dealt USING (position) WHERE split IS NOT NULL) "
        "GROUP BY what ORDER BY what"
    )
    notes = [f"{dropped_parts:,} paragraphs that stand in an earlier document were removed."] if dropped_parts else []
    return (*notes, *(f"{count:,} {what}." for what, count in connection.execute(query).fetchall()))


def _forget(folder: Path, used: set[Path]) -> None:
    """Remove what is known of shards and settings that are no more."""
    for path in folder.iterdir():
        if path.is_file() and path not in used:
            path.unlink()
