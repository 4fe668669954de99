"""Small datasets of the tests' own, and the stages run in this process (without DVC)."""

import io
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml
from PIL import Image

from components.data.augment import augment
from components.data.clean import clean
from components.data.cleaning.examples import EXAMPLES
from components.data.cleaning.quarantine import QUARANTINE
from components.data.collect import collect
from components.data.dataset import Manifest, stage_folder
from components.data.gate.metadata import metadata_files
from components.data.profile import Profile, profile_of
from components.data.stages import probe
from components.data.stamp import Stamp, read_stamp
from components.project import Project
from tests.conftest import make_project

if TYPE_CHECKING:
    import duckdb

FUNCTIONS: dict[str, Callable[[Project, Stamp], Manifest]] = {"collect": collect, "clean": clean, "augment": augment}


def folder_project(tmp_path: Path, modality: str, **block: Any) -> Project:
    """A project with one dataset `mine` from the folder `files` beside it; ``block`` adds keys to the dataset."""
    (tmp_path / "files").mkdir()
    return one_dataset(tmp_path, {"modality": modality, "source": {"kind": "folder", "path": "../files"}, **block})


def one_dataset(tmp_path: Path, dataset: dict[str, Any]) -> Project:
    """A project with the one dataset `mine`."""
    return make_project(tmp_path / "project", yaml.safe_dump({"datasets": {"mine": dataset}}, sort_keys=False), commit=False)


def frame_connection(frame: pd.DataFrame) -> "duckdb.DuckDBPyConnection":
    """DuckDB with ``frame`` as the view `metadata`."""
    import duckdb

    connection = duckdb.connect()
    connection.register("metadata", frame)
    return connection


def profile_of_frame(frame: pd.DataFrame) -> Profile:
    with frame_connection(frame) as connection:
        return profile_of(connection)


def metadata_frame(project: Project, manifest: Manifest) -> pd.DataFrame:
    """The metadata of every row."""
    return pd.concat([pq.read_table(file).to_pandas() for file in metadata_files(project, manifest)], ignore_index=True)


def set_params(project: Project, **changes: Any) -> None:
    """Set keys of the only dataset's block; a dict is merged into what is there."""
    params = yaml.safe_load(project.params.read_text())
    (name,) = params["datasets"]
    for key, value in changes.items():
        old = params["datasets"][name].get(key)
        params["datasets"][name][key] = {**old, **value} if isinstance(value, dict) and isinstance(old, dict) else value
    project.params.write_text(yaml.safe_dump(params, sort_keys=False))


def run(project: Project, name: str = "mine", stages: Iterable[str] = ("collect", "clean", "augment")) -> Manifest:
    """Probe and run ``stages``; the last manifest."""
    probe(project, name)
    manifest = None
    for stage in stages:
        manifest = FUNCTIONS[stage](project, read_stamp(project, name, stage))
    assert manifest is not None
    return manifest


def png(seed: int, size: tuple[int, int] = (16, 16), mode: str = "RGB", kind: str = "PNG") -> bytes:
    """An encoded noise image, another one for every seed."""
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, size=(size[1], size[0], *channels), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def announced(png: bytes, side: int) -> bytes:
    """``png`` with ``side`` pixels of width and height in its header."""
    header = b"IHDR" + struct.pack(">II", side, side) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def write_images(project: Project, num: int, classes: tuple[str, ...] = ("a", "b"), start: int = 0) -> list[Path]:
    """``num`` distinct images, dealt to the class folders in turn."""
    paths = []
    for index in range(start, start + num):
        path = files(project) / classes[index % len(classes)] / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(index))
        paths.append(path)
    return paths


def files(project: Project) -> Path:
    return project.root.parent / "files"


def quarantine(project: Project, name: str = "mine") -> dict[str, tuple[str, str]]:
    """(reason, detail) by id."""
    table = pq.read_table(stage_folder(project, name, "clean") / QUARANTINE)
    return {row["id"]: (row["reason"], row["detail"]) for row in table.to_pylist()}


def shard_bytes(folder: Path) -> dict[str, bytes]:
    """The shards of a stage's folder, without what tells of dropped rows."""
    return {path.name: path.read_bytes() for path in _shards(folder)}


def rows(project: Project, name: str = "mine", stage: str = "clean") -> list[dict[str, Any]]:
    """Every row of every shard of a stage's folder, quarantine apart."""
    return [row for path in _shards(stage_folder(project, name, stage)) for row in pq.read_table(path).to_pylist()]


def _shards(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.parquet")) if path.name not in (QUARANTINE, EXAMPLES)]
