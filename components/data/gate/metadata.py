"""The table that the gate looks at, one line per row and no pixels or texts: a file per shard, known by content."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from components.atomic import write_atomically
from components.data.dataset import Manifest, checked_shard
from components.data.executor import executor_for
from components.data.modalities import find_modality, modality_module
from components.data.progress import Progress
from components.project import Project

CONTENT = "content_sha256"
"""Of the pixels or the text: for rules on repetition, and not for the user's."""


@dataclass(frozen=True)
class MetadataTask:
    shard: Path
    modality: str
    class_names: tuple[str, ...]
    output: Path


def metadata_files(project: Project, manifest: Manifest) -> list[Path]:
    """The metadata of every shard, in the manifest's order; of a shard that was looked at before it is there already."""
    from components.code import code_digest

    folder = project.cache / "metadata" / manifest.name
    folder.mkdir(parents=True, exist_ok=True)
    depends = (manifest.modality, *manifest.class_names, code_digest(__name__, modality_module(manifest.modality)))
    tasks = []
    for shard in manifest.shards:
        key = hashlib.sha256("\0".join((shard.sha256, shard.split, *depends)).encode()).hexdigest()
        tasks.append(MetadataTask(checked_shard(project, shard), manifest.modality, manifest.class_names, folder / f"{key}.parquet"))
    with executor_for(manifest.num_bytes, len(tasks)) as executor:
        files = list(Progress("reading", len(tasks)).over(executor.map(write_metadata, tasks)))
    for old in set(folder.glob("*.parquet")) - set(files):
        old.unlink()
    return files


def write_metadata(task: MetadataTask) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if task.output.is_file():
        return task.output
    modality = find_modality(task.modality)
    frame = modality.metadata(pq.read_table(task.shard, columns=modality.metadata_columns()), task.class_names)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    write_atomically(task.output, lambda scratch: pq.write_table(table, scratch, compression="zstd"))
    return task.output
