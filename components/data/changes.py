"""What differs between the rows of two versions, by their ids and their content, computed by DuckDB in bounded memory."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from components.data.dataset import COMMON_COLUMNS, Manifest, ShardInfo, is_added
from components.data.duck import connect
from components.params import Strict
from components.project import Project

Kind = Literal["added", "removed", "changed", "moved"]
KINDS: tuple[Kind, ...] = ("added", "removed", "changed", "moved")
_WHICH: dict[Kind, str] = {
    "added": "old_id IS NULL",
    "removed": "new_id IS NULL",
    "changed": "old_content <> new_content",
    "moved": "old_split <> new_split",
}


class Changes(Strict):
    """Rows of one version against those of another; rows that augmentation added are not counted, they follow from the others."""

    against: str
    """`v1`; empty for the first version, all of whose rows are added."""
    added: int = 0
    removed: int = 0
    changed: int = 0
    """The same id with another content."""
    moved: int = 0
    """The same id in another split; its content may have changed as well."""
    same: int = 0
    """Neither changed nor moved."""
    unknown: str = ""
    """Why nothing is counted, e.g. a shard of the version before cannot be read any more."""

    def __str__(self) -> str:
        return self.unknown or f"+{self.added:,} −{self.removed:,} ~{self.changed:,}{f', {self.moved:,} moved' if self.moved else ''}"


class ChangedRow(Strict):
    """A row that is not the same on both sides, and the shards it is in; None on the side that does not have it."""

    id: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Rows:
    """One side: its manifest, and where the shards lie that have to be opened."""

    manifest: Manifest
    files: Mapping[str, Path]


def differing_shards(before: Manifest, after: Manifest) -> tuple[list[ShardInfo], list[ShardInfo]]:
    """The shards of each side that have to be opened: a shard with the same digest on both sides holds the same rows.

    Where the classes are numbered anew, equal bytes mean other labels, and every shard is opened.
    """
    own = [[shard for shard in manifest.shards if not is_added(shard)] for manifest in (before, after)]
    if _renumbered(before, after):
        return own[0], own[1]
    common = {(shard.sha256, shard.split) for shard in own[0]} & {(shard.sha256, shard.split) for shard in own[1]}
    differing = [[shard for shard in shards if (shard.sha256, shard.split) not in common] for shards in own]
    return differing[0], differing[1]


class RowComparison:
    """The rows of the differing shards of both sides, beside each other in a database; see `compared_rows`."""

    def __init__(self, connection: Any, against: str, num_same: int) -> None:
        self._connection = connection
        self._against = against
        self._num_same = num_same
        """Rows of the shards that are the same."""

    def counts(self) -> Changes:
        counted = ", ".join(f"count(*) FILTER (WHERE {which})" for which in _WHICH.values())
        row = self._connection.execute(f"SELECT {counted}, count(*) FILTER (WHERE old_content = new_content AND old_split = new_split) FROM rows").fetchone()
        assert row is not None
        numbers = dict(zip(KINDS, row, strict=False))
        return Changes(against=self._against, **numbers, same=self._num_same + row[-1])

    def moves(self) -> dict[tuple[str, str], int]:
        """Moved rows by the split they were in and the one they are in."""
        found = self._connection.execute("SELECT old_split, new_split, count(*) FROM rows WHERE old_split <> new_split GROUP BY ALL ORDER BY ALL").fetchall()
        return {(before, after): number for before, after, number in found}

    def examples(self, kind: Kind, num: int) -> list[ChangedRow]:
        """At most ``num`` rows, spread by their ids and always the same ones."""
        query = f"SELECT coalesce(old_id, new_id) AS id, old_shard, new_shard FROM rows WHERE {_WHICH[kind]} ORDER BY md5(id), id LIMIT ?"
        found = self._connection.execute(query, [num]).fetchall()
        return [ChangedRow(id=name, before=before, after=after) for name, before, after in found]


@contextlib.contextmanager
def compared_rows(project: Project, before: Rows, after: Rows, against: str = "") -> Iterator[RowComparison]:
    """Compare the rows; ``files`` of both sides must have what `differing_shards` names.

    The content of a row is all of its columns but its id, its split, its parent and its place in the source; only columns that both sides have are
    compared, and a label by its name. A content is known by 64 bits of a digest, and held only against that of the same id.
    """
    opened = differing_shards(before.manifest, after.manifest)
    shared = [name for name, kind in before.manifest.columns.items() if after.manifest.columns.get(name) == kind and name not in COMMON_COLUMNS]
    num_same = sum(shard.rows for shard in before.manifest.shards if not is_added(shard)) - sum(shard.rows for shard in opened[0])
    with connect(project) as connection:
        # One thread holds one row group of images, each further one as much again, which DuckDB's limit does not see.
        connection.execute("SET threads = 1")
        connection.execute("SET preserve_insertion_order = false")
        for table, side, shards in (("old", before, opened[0]), ("new", after, opened[1])):
            _load(connection, table, side, shards, shared)
        connection.execute(
            "CREATE VIEW rows AS SELECT old.id AS old_id, new.id AS new_id, old.split AS old_split, new.split AS new_split, "
            "old.content AS old_content, new.content AS new_content, old.shard AS old_shard, new.shard AS new_shard "
            "FROM old FULL JOIN new ON old.id = new.id"
        )
        yield RowComparison(connection, against, num_same)


def _load(connection: Any, table: str, side: Rows, shards: list[ShardInfo], columns: list[str]) -> None:
    """Id, split, digest of the content and shard of every row of ``shards``, one shard after the other."""
    connection.execute(f"CREATE TABLE {table} (id VARCHAR, split VARCHAR, content UBIGINT, shard VARCHAR)")
    names = list(side.manifest.class_names)
    read = [f'$names[CAST("{name}" AS BIGINT) + 1]' if name == "label" and names else f'"{name}"' for name in columns]
    hashed = f"hash({', '.join(read)})" if read else "0"
    for shard in shards:
        given: dict[str, object] = {"shard": shard.path, "path": str(side.files[shard.path])}
        if "$names" in hashed:
            given["names"] = names
        connection.execute(f"INSERT INTO {table} SELECT id, split, {hashed}, $shard FROM read_parquet($path)", given)


def _renumbered(before: Manifest, after: Manifest) -> bool:
    """Whether a label of the one side may mean another class than the same number of the other."""
    shorter = min(len(before.class_names), len(after.class_names))
    return before.class_names[:shorter] != after.class_names[:shorter]
