"""Writing a stage's output folder: files appear whole or not at all, and unchanged ones keep their bytes and times."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from components.data.dataset import MANIFEST, Manifest, ShardInfo, file_sha256

if TYPE_CHECKING:
    import pyarrow as pa

SHARD_ROWS = 5_000
SHARD_BYTES = 64 * 2**20
"""A shard is closed at whichever comes first: small enough to hold one per core in memory."""
_PART, _STAGED = ".part", ".staged"


class OutputFolder:
    """The folder of one stage. What was neither written nor kept is removed by `finish`."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.folder = folder
        self._names: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def write_shard(self, name: str, split: str, table: "pa.Table") -> ShardInfo:
        """Write ``table`` as the Parquet file ``name``, fsynced, in one rename."""
        self.write_table(name, table)
        return self.shard_info(name, split, table.num_rows)

    def stage_shard(self, name: str, split: str, table: "pa.Table") -> ShardInfo:
        """Write ``table`` beside the Parquet file ``name``, which stays as it is until `take_staged`."""
        import pyarrow.parquet as pq

        staged = self.folder / f"{name}{_STAGED}"
        pq.write_table(table, staged, compression="zstd", row_group_size=1024)
        path = (self.folder / name).relative_to(self.root).as_posix()
        return ShardInfo(path=path, split=split, rows=table.num_rows, sha256=file_sha256(staged), bytes=staged.stat().st_size)

    def take_staged(self, name: str) -> None:
        self._replace(self.folder / f"{name}{_STAGED}", name)

    def write_table(self, name: str, table: "pa.Table") -> None:
        import pyarrow.parquet as pq

        part = self.folder / f"{name}{_PART}"
        pq.write_table(table, part, compression="zstd", row_group_size=1024)
        self._replace(part, name)

    def write_batches(self, name: str, schema: "pa.Schema", batches: "Iterable[pa.RecordBatch]") -> None:
        """The same in as much memory as one of ``batches``."""
        import pyarrow.parquet as pq

        part = self.folder / f"{name}{_PART}"
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)
        self._replace(part, name)

    def write_bytes(self, name: str, content: bytes) -> None:
        part = self.folder / f"{name}{_PART}"
        part.write_bytes(content)
        self._replace(part, name)

    def keep(self, name: str) -> None:
        """Let the existing file ``name`` stand."""
        self._names.add(name)

    def shard_info(self, name: str, split: str, rows: int) -> ShardInfo:
        path = self.folder / name
        return ShardInfo(path=path.relative_to(self.root).as_posix(), split=split, rows=rows, sha256=file_sha256(path), bytes=path.stat().st_size)

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest and remove what an earlier run left."""
        self.write_bytes(MANIFEST, manifest.to_json().encode())
        self.prune()

    def prune(self) -> None:
        for path in self.folder.iterdir():
            if path.is_file() and path.name not in self._names:
                path.unlink()

    def _replace(self, part: Path, name: str) -> None:
        target = self.folder / name
        self._names.add(name)
        if target.is_file() and target.stat().st_size == part.stat().st_size and file_sha256(target) == file_sha256(part):
            part.unlink()
            return
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)


def columns_of(schema: "pa.Schema") -> dict[str, str]:
    return {field.name: str(field.type) for field in schema}
