"""Stage 3: adds altered copies of training rows. Writes the added rows alone; the manifest refers to the clean shards as they are.

With `when: load` it adds none: it only looks whether the settings fit the rows, which a training alters as it draws them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data.cleaning.convert import clean_schema
from components.data.config import dataset_block
from components.data.dataset import Dataset, Manifest, checked_shard, read_manifest, stage_folder
from components.data.executor import executor_for
from components.data.modalities import Additions, Modality, find_modality
from components.data.shards import OutputFolder
from components.data.stamp import Stamp
from components.errors import UserError
from components.params import load
from components.project import Project

if TYPE_CHECKING:
    import pyarrow as pa

TRAIN = "train"


@dataclass(frozen=True)
class Task:
    path: Path
    modality: str
    config: Additions
    class_names: tuple[str, ...]


def augment(project: Project, stamp: Stamp) -> Manifest:
    """Make `data/augmented/NAME` from `data/clean/NAME`; validation and test are never touched.

    Raises:
        UserError: a setting makes no sense for rows like these.
    """
    name, modality = stamp.params["name"], find_modality(stamp.params["modality"])
    cleaned = read_manifest(stage_folder(project, name, "clean"))
    if cleaned is None:
        raise UserError(f"Dataset {name!r} was not cleaned yet: run `genmill run --dataset {name}`.")
    config = modality.AugmentConfig.model_validate(stamp.params["augment"])
    output = OutputFolder(project.root, stage_folder(project, name, "augment"))
    originals = [shard for shard in cleaned.shards if shard.split == TRAIN] if config.is_on else []
    if originals:
        _require_fit(project, modality, config, Dataset(project, cleaned).read(originals[0], list(cleaned.columns), 0, 1).to_pylist()[0], cleaned)
    shards = originals if config.copies else []
    tasks = [Task(checked_shard(project, shard), cleaned.modality, config, cleaned.class_names) for shard in shards]
    with executor_for(config.copies * sum(shard.bytes for shard in shards), len(tasks)) as executor:
        tables = executor.map(augment_shard, tasks)
        added = [output.write_shard(task.path.name, TRAIN, table) for task, table in zip(tasks, tables, strict=True)]
    manifest = cleaned.model_copy(
        update={"stage": "augment", "shards": (*cleaned.shards, *added), "code": stamp.code, "params": stamp.params, "parent_sha256": cleaned.sha256}
    )
    output.finish(manifest)
    return manifest


def _require_fit(project: Project, modality: Modality, config: Additions, row: Mapping[str, Any], cleaned: Manifest) -> None:
    unfit = modality.unfit_setting(row, config, cleaned.class_names)
    if unfit:
        setting, sentence = unfit
        block = dataset_block(load(project.params), cleaned.name)
        raise block.error(f"datasets.{cleaned.name}.augment.{setting} {sentence}.", "augment", setting)


def augment_shard(task: Task) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    modality = find_modality(task.modality)
    rows = pq.read_table(task.path).to_pylist()
    return pa.Table.from_pylist(list(modality.augment(rows, task.config, task.class_names)), clean_schema(modality))
