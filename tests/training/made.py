"""Datasets written down row by row: real shards and a real manifest, without a source."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components.data.cleaning.convert import clean_schema
from components.data.dataset import Dataset, Manifest, stage_folder
from components.data.modalities import find_modality
from components.data.pixels import encode_image
from components.data.shards import OutputFolder, columns_of
from components.project import Project


def texts(root: Path, splits: Mapping[str, Sequence[str]], *, shard_rows: int = 5000, titles: Sequence[str] = ("",)) -> Dataset:
    """Documents by split, with ``titles`` in turn."""
    rows = {
        split: [{"text": text, "title": titles[number % len(titles)], "num_chars": len(text)} for number, text in enumerate(contents)]
        for split, contents in splits.items()
    }
    return made(root, "text", rows, shard_rows=shard_rows)


def images(root: Path, splits: Mapping[str, int], *, shard_rows: int = 5000, side: int = 8, added: int = 0) -> Dataset:
    """Grey images by split, all different; the label of row n is n % 10. ``added`` of the training ones stand in shards of their own."""
    rows, first = {}, 0
    for split, num in splits.items():
        rows[split] = [_image(number, side) for number in range(first, first + num)]
        first += num
    copies = [{**row, "parent_id": "train-0"} for row in (_image(first + number, side) for number in range(added))]
    return made(root, "image", rows, shard_rows=shard_rows, added=copies, class_names=tuple("0123456789"))


def _image(number: int, side: int) -> dict[str, Any]:
    from PIL import Image

    pixels = np.random.default_rng(number).integers(0, 256, (side, side), dtype=np.uint8)
    picture = {"bytes": encode_image(Image.fromarray(pixels)), "path": f"{number}.png"}
    return {"image": picture, "label": number % 10, "caption": None, "width": side, "height": side, "mode": "L"}


def made(
    root: Path,
    modality: str,
    splits: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    shard_rows: int = 5000,
    added: Sequence[Mapping[str, Any]] = (),
    class_names: tuple[str, ...] = (),
) -> Dataset:
    """Rows of ``modality`` by split, ``shard_rows`` to a shard."""
    project = Project(root)
    schema = clean_schema(find_modality(modality))
    shards = []
    for stage, groups in (("clean", splits), ("augment", {"train": added})):
        output = OutputFolder(root, stage_folder(project, "mine", stage))
        for split, rows in groups.items():
            for number, start in enumerate(range(0, len(rows), shard_rows)):
                named = [
                    {"id": f"{split}-{start + index}", "split": split, "parent_id": None, "source": "", **row}
                    for index, row in enumerate(rows[start : start + shard_rows])
                ]
                shards.append(output.write_shard(f"{split}-{number:05d}.parquet", split, pa.Table.from_pylist(named, schema)))
    manifest = Manifest(name="mine", modality=modality, stage="augment", shards=tuple(shards), columns=columns_of(schema), class_names=class_names)
    output.finish(manifest)
    return Dataset.open(project, "mine")
