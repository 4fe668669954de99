"""The rows that raw shards hold, by what tells them apart, and which of them the source still has."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from components.data.dataset import ShardInfo
from components.data.digests import BYTES, DigestIndex, all_different, as_array, short_digest
from components.project import Project

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Places = np.ndarray[Any, np.dtype[np.int32]]


def row_digest(row_id: str, content: str) -> bytes:
    """Tells a row, and what it holds, from every other one."""
    return short_digest(row_id, content)


class KnownRows:
    """Every row of ``shards`` by its place among all of them: 40 bytes each, so a million are no burden."""

    def __init__(self, project: Project, shards: Sequence[ShardInfo]) -> None:
        import numpy as np
        import pyarrow.parquet as pq

        rows, ids = bytearray(), bytearray()
        self._ends: list[int] = []
        for shard in shards:
            for row_id, content in _id_and_content(pq.read_table(project.root / shard.path, columns=["id", "content"])):
                rows += row_digest(row_id, content)
                ids += short_digest(row_id)
            self._ends.append(len(ids) // BYTES)
        self.index = DigestIndex(rows)
        self._ids = as_array(ids)
        self._seen = np.zeros(len(self._ids), dtype=bool)
        self._new_ids = bytearray()

    def places(self, rows: bytes) -> "Places":
        """The place of each of ``rows`` (digests, one behind the other), -1 of a new one."""
        return self.index.places(rows)

    def see(self, places: "Places") -> None:
        """The source has the rows at ``places``."""
        self._seen[places] = True

    def add(self, row_id: str) -> None:
        """The source has a new row."""
        self._new_ids += short_digest(row_id)

    def kept(self, shard: int) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        """Which rows of the shard of number ``shard`` the source still has, [rows]."""
        return self._seen[self._ends[shard - 1] if shard else 0 : self._ends[shard]]

    def ids_differ(self) -> bool:
        """Whether no two rows that the source has are called the same."""
        import numpy as np

        return all_different(np.concatenate([self._ids[self._seen], as_array(self._new_ids)]))


def _id_and_content(table: "pa.Table") -> "list[tuple[str, str]]":
    return list(zip(table["id"].to_pylist(), table["content"].to_pylist(), strict=True))
