"""A folder of files: images (flat, or one folder per class) or texts (.txt, .md).

Where the folders at the top are named train, validation and test, they are the source's own split.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from components.data.sources import RawRow, SourceConfig
from components.errors import UserError

MODALITIES = ("image", "text")
LICENCE = ""
_SUFFIXES = {"image": (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"), "text": (".txt", ".md")}
_SPLIT_NAMES = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


class Config(SourceConfig):
    kind: Literal["folder"]
    path: str
    """Relative to the project, or absolute."""
    labels: Literal["folders", "none"] = "folders"
    """`folders`: the folder that an image lies in is its class; where images lie in no folder there are no labels."""
    licence: str = ""


def check(config: Config, modality: str, root: Path) -> None:
    folder = _folder(config, root)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: give source.path a folder that exists.")
    if next(_walk(folder, modality), None) is None:
        raise UserError(f"{folder} holds no {modality} files ({', '.join(_SUFFIXES[modality])}): put some there or mend source.path.")


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    """Names, sizes and times of every file: seen without reading one."""
    digest, num_bytes = hashlib.sha256(), 0
    files = _files(_folder(config, root), modality)
    for name, path in files:
        status = path.stat()
        num_bytes += status.st_size
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return {"sha256": digest.hexdigest(), "files": len(files), "bytes": num_bytes}


def describe(config: Config, modality: str, root: Path) -> dict[str, Any]:
    return {"kind": "folder", "path": config.path, "files": len(_files(_folder(config, root), modality))}


def class_names(config: Config, modality: str, root: Path) -> tuple[str, ...]:
    if modality != "image" or config.labels == "none":
        return ()
    folder = _folder(config, root)
    has_splits = _has_splits(folder)
    return tuple(sorted({label for name, _ in _files(folder, modality) if (label := _place(name, has_splits)[1])}))


def read(config: Config, modality: str, root: Path) -> Iterator[RawRow]:
    folder = _folder(config, root)
    has_splits, labelled = _has_splits(folder), config.labels == "folders"
    for name, path in _files(folder, modality):
        split, label = _place(name, has_splits)
        fields: dict[str, Any]
        if modality == "image":
            fields = {"image": {"bytes": _content(path), "path": name}, "label": label if labelled else None, "caption": None}
        else:
            fields = {"text": _content(path), "title": PurePosixPath(name).stem}
        yield RawRow(id=name, source=name, fields=fields, split=split)


def _folder(config: Config, root: Path) -> Path:
    return root / Path(config.path).expanduser()


def _files(folder: Path, modality: str) -> list[tuple[str, Path]]:
    """(relative name, path) of every visible file of the modality, sorted by name."""
    return sorted(_walk(folder, modality))


def _walk(folder: Path, modality: str) -> Iterator[tuple[str, Path]]:
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = os.path.relpath(at, folder)
        for name in names:
            if name.lower().endswith(_SUFFIXES[modality]) and not name.startswith("."):
                path = Path(at, name)
                if path.is_file():
                    yield _text(name if here == "." else f"{here}/{name}"), path


def _text(name: str) -> str:
    """The name as text, also where the file system holds bytes that are no UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _has_splits(folder: Path) -> bool:
    tops = {path.name.lower() for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    return "train" in tops and len(tops) > 1 and tops <= set(_SPLIT_NAMES)  # a lone folder `train` may hold pictures of trains


def _place(name: str, has_splits: bool) -> tuple[str | None, str | None]:
    """The split and the class that a file's relative name says."""
    parts = PurePosixPath(name).parts
    split = _SPLIT_NAMES[parts[0].lower()] if has_splits and len(parts) > 1 else None
    inner = parts[1:-1] if split else parts[:-1]
    return split, inner[-1] if inner else None


def _content(path: Path) -> bytes | None:
    """The file's bytes; None where it cannot be read, which cleaning reports as incomplete."""
    try:
        return path.read_bytes()
    except OSError:
        return None
