"""A folder of files: images (flat, or one folder per class) or texts (.txt, .md).

Where the folders at the top are named train, validation and test, they are the source's own split.
"""

import hashlib
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
    if not _files(folder, modality):
        raise UserError(f"{folder} holds no {modality} files ({', '.join(_SUFFIXES[modality])}): put some there or mend source.path.")


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    """Names, sizes and times of every file: seen without reading one."""
    folder, digest, num_bytes = _folder(config, root), hashlib.sha256(), 0
    files = _files(folder, modality)
    for path in files:
        status = path.stat()
        num_bytes += status.st_size
        digest.update(f"{path.relative_to(folder).as_posix()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return {"sha256": digest.hexdigest(), "files": len(files), "bytes": num_bytes}


def describe(config: Config, modality: str, root: Path) -> dict[str, Any]:
    return {"kind": "folder", "path": config.path, "files": len(_files(_folder(config, root), modality))}


def class_names(config: Config, modality: str, root: Path) -> tuple[str, ...]:
    if modality != "image" or config.labels == "none":
        return ()
    folder = _folder(config, root)
    places = [_place(path.relative_to(folder).as_posix(), _has_splits(folder)) for path in _files(folder, modality)]
    return tuple(sorted({label for _, label in places if label}))


def read(config: Config, modality: str, root: Path) -> Iterator[RawRow]:
    folder = _folder(config, root)
    has_splits, labelled = _has_splits(folder), config.labels == "folders"
    for path in _files(folder, modality):
        name = path.relative_to(folder).as_posix()
        split, label = _place(name, has_splits)
        fields: dict[str, Any]
        if modality == "image":
            fields = {"image": {"bytes": _content(path), "path": name}, "label": label if labelled else None, "caption": None}
        else:
            fields = {"text": _content(path), "title": PurePosixPath(name).stem}
        yield RawRow(id=name, source=name, fields=fields, split=split)


def _folder(config: Config, root: Path) -> Path:
    return root / Path(config.path).expanduser()


def _files(folder: Path, modality: str) -> list[Path]:
    """Visible files of the modality, sorted by their relative names."""
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES[modality] and path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _has_splits(folder: Path) -> bool:
    tops = {path.name.lower() for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    return "train" in tops and tops <= set(_SPLIT_NAMES)


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
