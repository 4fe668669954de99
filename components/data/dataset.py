"""The format on disk: Parquet shards and the manifest that names, counts and hashes them."""

import hashlib
import json
import threading
from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from components.errors import UserError, nearest
from components.params import Strict
from components.project import Project

if TYPE_CHECKING:
    import pyarrow as pa

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
STAGE_FOLDERS = {"collect": "raw", "clean": "clean", "augment": "augmented"}
COMMON_COLUMNS = ("id", "split", "parent_id", "source")
MANIFEST = "manifest.json"


class ShardInfo(Strict):
    """One Parquet file of a dataset."""

    path: str
    """Relative to the project's root, with forward slashes."""
    split: str
    """`train`, `validation` or `test`; `raw` before the split is drawn."""
    rows: int
    sha256: str
    bytes: int


class Manifest(Strict):
    """What a stage made: every shard with its digest, what was dropped, and where it all came from."""

    name: str
    modality: str
    stage: str
    """`collect`, `clean` or `augment`."""
    shards: tuple[ShardInfo, ...]
    dropped: dict[str, int] = {}
    """Rows in quarantine by reason."""
    source: dict[str, Any] = {}
    licence: str = ""
    columns: dict[str, str] = {}
    """Column name to Arrow type."""
    class_names: tuple[str, ...] = ()
    """Empty where the dataset has no labels; a label is an index into it."""
    code: str = ""
    """Digest of the code of the stage."""
    params: dict[str, Any] = {}
    """The stage's resolved params."""
    parent_sha256: str = ""
    """`sha256` of the manifest that the stage read."""
    notes: tuple[str, ...] = ()
    """What the stage changed inside rows, one sentence each."""

    @property
    def sha256(self) -> str:
        """Digest of the content: shards, classes, columns, licence. Code, params and times are left out, so the same bytes are the same version."""
        content = self.model_dump(mode="json", include={"name", "modality", "shards", "licence", "columns", "class_names"})
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def rows(self, split: str | None = None) -> int:
        return sum(shard.rows for shard in self.shards if split in (None, shard.split))

    def rows_by_split(self) -> dict[str, int]:
        return {split: self.rows(split) for split in sorted({shard.split for shard in self.shards}, key=_split_order)}

    @property
    def num_bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)

    def to_json(self) -> str:
        """Canonical text: the same manifest is always the same bytes."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: bytes) -> "Manifest":
        return cls.model_validate_json(text)


def stage_folder(project: Project, name: str, stage: str) -> Path:
    """The folder of the output of ``stage`` (`collect`, `clean` or `augment`; `raw` and `augmented` are understood too)."""
    folder = STAGE_FOLDERS.get(stage, stage)
    assert folder in STAGE_FOLDERS.values(), f"no stage {stage}"
    return project.data / folder / name


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a stage's folder, or None where there is none yet."""
    try:
        return Manifest.from_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise UserError(f"{folder / MANIFEST} is damaged: delete {folder} and run `genmill run` again.") from None


class Dataset:
    """A readable dataset: a manifest and its shards, each shard checked against its digest when it is first read."""

    def __init__(self, project: Project, manifest: Manifest) -> None:
        self.project = project
        self.manifest = manifest
        self._checked: set[str] = set()
        self._checking = threading.Lock()

    @classmethod
    def open(cls, project: Project, name: str, stage: str = "augmented") -> "Dataset":
        """The dataset ``name`` as its stage left it.

        Raises:
            UserError: there is no such dataset, or it was not prepared yet.
        """
        folder = stage_folder(project, name, stage)
        manifest = read_manifest(folder)
        if manifest is None:
            prepared = [path.parent.name for path in folder.parent.glob(f"*/{MANIFEST}")]
            hint = f" ({nearest(name, prepared)})" if prepared else ""
            raise UserError(f"Dataset {name!r} is not prepared in {project.root}{hint}: run `genmill run --dataset {name}`.")
        return cls(project, manifest)

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def modality(self) -> str:
        return self.manifest.modality

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the labels 0, 1, …; empty where the dataset has none."""
        return self.manifest.class_names

    def table(self, split: Split, columns: list[str] | None = None, augmented: bool = True) -> "pa.Table":
        """All rows of ``split``: the originals in order, then the added ones unless ``augmented`` is False.

        Raises:
            UserError: a shard is missing or is not what the manifest says.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        shards = self.shards(split, augmented)
        if not shards:
            return self._empty(columns)
        return pa.concat_tables([pq.read_table(self._check(shard), columns=columns) for shard in shards])

    def shards(self, split: Split, augmented: bool = True) -> tuple[ShardInfo, ...]:
        """The shards of ``split`` in the order of `table`."""
        return tuple(shard for shard in self.manifest.shards if shard.split == split and (augmented or not is_added(shard)))

    def tables(self, split: Split, columns: list[str], augmented: bool = True) -> "Iterator[pa.Table]":
        """The rows of `table`, shard by shard."""
        return (self.read(shard, columns) for shard in self.shards(split, augmented))

    def read(self, shard: ShardInfo, columns: list[str], start: int = 0, rows: int | None = None) -> "pa.Table":
        """``rows`` rows of ``shard`` (default: all) from its row ``start`` on; only the row groups that hold them are read. May be called by threads.

        Raises:
            UserError: the shard is missing or is not what the manifest says.
        """
        import pyarrow.parquet as pq

        stop = shard.rows if rows is None else start + rows
        with pq.ParquetFile(self._check(shard)) as file:
            wanted, skipped, end = [], 0, 0
            for group in range(file.num_row_groups):
                begin, end = end, end + file.metadata.row_group(group).num_rows
                if begin < stop and start < end:
                    wanted.append(group)
                elif end <= start:
                    skipped = end
            return file.read_row_groups(wanted, columns=columns).select(columns).slice(start - skipped, stop - start)

    def num_bytes(self, shard: ShardInfo, columns: Container[str]) -> int:
        """What ``columns`` of ``shard`` take when they are unpacked, by its footer."""
        import pyarrow.parquet as pq

        footer = pq.read_metadata(self._check(shard))
        groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
        chunks = [group.column(index) for group in groups for index in range(group.num_columns)]
        return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns)

    def _empty(self, columns: list[str] | None) -> "pa.Table":
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self.manifest.shards:
            return pa.table({name: pa.array([], pa.string()) for name in columns or COMMON_COLUMNS})
        schema = pq.read_schema(self.project.root / self.manifest.shards[0].path)
        empty: pa.Table = schema.empty_table()
        return empty.select(columns) if columns else empty

    def _check(self, shard: ShardInfo) -> Path:
        if shard.path not in self._checked:
            with self._checking:  # two threads that want two rows of one shard hash it once
                if shard.path not in self._checked:
                    checked_shard(self.project, shard)
                    self._checked.add(shard.path)
        return self.project.root / shard.path


def is_added(shard: ShardInfo) -> bool:
    """Whether the shard holds rows made by augmentation."""
    return shard.path.startswith(f"data/{STAGE_FOLDERS['augment']}/")


def shard_number(shard: ShardInfo) -> int:
    """Of `raw-00007.parquet` 7: it stays when other shards come or go."""
    return int(shard.path.rsplit("-", 1)[-1].removesuffix(".parquet"))


def shard_problem(path: Path, shard: ShardInfo) -> str | None:
    """What is wrong with the shard at ``path`` in half a sentence, or None."""
    if not path.is_file():
        return f"Shard {shard.path} is missing"
    found = file_sha256(path)
    if found != shard.sha256:
        return f"Shard {shard.path} is damaged (sha256 {found[:12]}…, the manifest says {shard.sha256[:12]}…)"
    return None


def checked_shard(project: Project, shard: ShardInfo) -> Path:
    """The shard's file, after its digest was compared with the manifest.

    Raises:
        UserError: it is missing or differs.
    """
    path = project.root / shard.path
    problem = shard_problem(path, shard)
    if problem:
        name = path.parent.name
        raise UserError(f"{problem}: delete {path.parent} and run `genmill run --dataset {name}`; `genmill data verify {name}` checks all.")
    return path


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _split_order(split: str) -> int:
    return SPLITS.index(split) if split in SPLITS else len(SPLITS)
