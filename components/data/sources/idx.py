"""IDX files as MNIST and its kin have them: images in one file, their labels in another, plain or packed by gzip, of training and of test."""

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from components.data.files import entries_fingerprint
from components.data.pixels import encode_image
from components.data.sources import Part, RawRow, Reading, SourceConfig
from components.data.trees import Caps, Entry, Unreadable
from components.data.trees.folder import Folder
from components.data.trees.inflating import TooMuch, inflated
from components.errors import UserError

MODALITIES = ("image",)
LICENCE = ""
_NAME = re.compile(r"(?P<prefix>.*?)(?P<split>train|t10k|test)-(?P<what>images|labels)[-.]idx[13]-ubyte(?P<packing>\.gz)?")
_SPLITS = {"train": "train", "t10k": "test", "test": "test"}
_IMAGES, _LABELS = 0x00000803, 0x00000801
_PIECE = 2**20
_MOST_PIXELS = 50_000_000


class Config(SourceConfig, Caps):
    kind: Literal["idx"]
    path: str
    """The folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-…`, with or without `.gz`; relative to the project, or absolute."""
    class_names: tuple[str, ...] = ()
    """Names of the labels 0, 1, …; empty calls them by their numbers."""
    licence: str = ""


class _Pair(NamedTuple):
    """Images and their labels of one split."""

    split: str
    images: Entry
    labels: Entry | None


class _Shape(NamedTuple):
    number: int
    height: int
    width: int


def check(config: Config, modality: str, root: Path) -> None:
    """Every header against the size of its file, which of a packed one is counted."""
    tree, pairs = _pairs(config, root)
    for pair in pairs:
        shape = _checked(tree, pair.images, _IMAGES, config)
        labels = _checked(tree, pair.labels, _LABELS, config).number if pair.labels else shape.number
        if pair.labels and labels != shape.number:
            raise UserError(f"{pair.images.name} has {shape.number:,} images and {pair.labels.name} {labels:,} labels: fetch both again.")


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    return entries_fingerprint(entry for pair in _pairs(config, root)[1] for entry in pair[1:] if isinstance(entry, Entry))


def code(modality: str) -> tuple[str, ...]:
    return ()


@contextmanager
def reading(config: Config, modality: str, root: Path) -> Iterator[Reading]:
    check(config, modality, root)
    tree, pairs = _pairs(config, root)
    origin = {"kind": "idx", "path": config.path, "files": [entry.name for pair in pairs for entry in pair[1:] if isinstance(entry, Entry)]}
    classes = config.class_names or tuple(str(number) for number in _numbers(tree, pairs, config))
    yield Reading(lambda: (_part(tree, pair, config) for pair in pairs), origin, classes)


def _part(tree: Folder, pair: _Pair, config: Config) -> Part:
    return Part(pair.images.name, f"{pair.images.stamp} {pair.labels.stamp if pair.labels else ''}", partial(_rows, tree, pair, config))


def _rows(tree: Folder, pair: _Pair, config: Config) -> Iterator[RawRow]:
    import numpy as np
    from PIL import Image

    labels = _label_bytes(tree, pair.labels, config) if pair.labels else None
    with tree.open(pair.images) as packed:
        file = _plain(packed, pair.images, config)
        shape = _header(file, pair.images, _IMAGES)
        for index in range(shape.number):
            pixels = np.frombuffer(file.read(shape.height * shape.width), dtype=np.uint8).reshape(shape.height, shape.width)
            name = f"{pair.split}-{index:06d}"
            fields = {
                "image": {"bytes": encode_image(Image.fromarray(pixels)), "path": f"{name}.png"},
                "label": _name(labels[index], config) if labels is not None else None,
            }
            yield RawRow(id=name, source=f"{pair.images.name} image {index}", fields=fields, split=pair.split)


def _name(label: int, config: Config) -> str:
    if config.class_names and label >= len(config.class_names):
        raise UserError(f"{config.path} has the label {label}, and source.class_names names only {len(config.class_names)}: name the others too.")
    return config.class_names[label] if config.class_names else str(label)


def _numbers(tree: Folder, pairs: list[_Pair], config: Config) -> list[int]:
    return sorted({label for pair in pairs if pair.labels for label in _label_bytes(tree, pair.labels, config)})


def _label_bytes(tree: Folder, entry: Entry, config: Config) -> bytes:
    with tree.open(entry) as packed:
        file = _plain(packed, entry, config)
        return file.read(_header(file, entry, _LABELS).number)


def _checked(tree: Folder, entry: Entry, magic: int, config: Config) -> _Shape:
    """The file's shape, once as many bytes were found behind the header as it says."""
    with tree.open(entry) as packed:
        file = _plain(packed, entry, config)
        try:
            shape = _header(file, entry, magic)
            said = shape.number * shape.height * shape.width
            if said > config.max_total_bytes or shape.height * shape.width > _MOST_PIXELS:
                raise UserError(f"{entry.name} says that it holds {shape.number:,} images of {shape.width}x{shape.height} pixels, which cannot be.")
            found = _counted(file, said + 1) if file is not packed else entry.size - file.tell()
        except (TooMuch, Unreadable) as error:
            raise UserError(f"{entry.name} is not read, {error}: fetch it again.") from None
    if found != said:
        raise UserError(f"{entry.name} says that {said:,} bytes follow its header, and {'more' if found > said else f'{found:,}'} do: fetch it again.")
    return shape


def _counted(file: BinaryIO, most: int) -> int:
    number = 0
    while number < most and (piece := file.read(min(_PIECE, most - number))):
        number += len(piece)
    return number


def _header(file: BinaryIO, entry: Entry, magic: int) -> _Shape:
    head = file.read(16 if magic == _IMAGES else 8)
    if len(head) < 8 or struct.unpack(">L", head[:4])[0] != magic or (magic == _IMAGES and len(head) < 16):
        raise UserError(f"{entry.name} is no IDX file of {'images' if magic == _IMAGES else 'labels'} with 8 bits each: fetch it again.")
    return _Shape(*struct.unpack(">LLL", head[4:])) if magic == _IMAGES else _Shape(struct.unpack(">L", head[4:])[0], 1, 1)


def _plain(file: BinaryIO, entry: Entry, caps: Caps) -> BinaryIO:
    return inflated(file, "gz", caps) if entry.name.endswith(".gz") else file


def _pairs(config: Config, root: Path) -> tuple[Folder, list[_Pair]]:
    folder = root / Path(config.path).expanduser()
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: give source.path the folder with the IDX files.")
    tree = Folder(folder)
    found: dict[tuple[str, str], Entry] = {}
    prefixes = set()
    for entry in tree.entries():
        match = _NAME.fullmatch(entry.name)
        if match:
            prefixes.add(match["prefix"])
            found.setdefault((_SPLITS[match["split"]], match["what"]), entry)
    if len(prefixes) > 1:
        raise UserError(f"{folder} holds IDX files of several datasets ({', '.join(sorted(prefixes))}…): give each a folder of its own.")
    pairs = [_Pair(split, found[split, "images"], found.get((split, "labels"))) for split in ("train", "test") if (split, "images") in found]
    if not pairs:
        raise UserError(f"{folder} holds no train-images-idx3-ubyte (or with .gz): put the IDX files there, or mend source.path.")
    return tree, pairs
