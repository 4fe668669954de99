"""Which kind of source a path or an address is."""

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from components.data.frames import SPLIT_FILES, WHOLE
from components.errors import UserError

_ARCHIVE = re.compile(r".*\.(?:zip|tar|tar\.(?:gz|bz2|xz|zst)|tgz|txz|tzst)", re.IGNORECASE)
_IDX = re.compile(r".*-idx[13]-ubyte(?:\.gz)?|.*\.idx[13]-ubyte(?:\.gz)?", re.IGNORECASE)
_PARQUET = (".parquet", ".pq")
_HUB = re.compile(r"[\w.-]+/[\w.-]+")
_SAVED = ("dataset_info.json", "dataset_dict.json", "state.json")
"""What a folder holds that the library `datasets` wrote."""
_LOOKED_AT = 10_000
"""Files of a folder whose names are looked at."""


def source_block(where: str, root: Path, here: Path) -> dict[str, Any]:
    """The block `source:` for what ``where`` names, a path as seen from the folder ``here``.

    Raises:
        UserError: nothing is there.
    """
    scheme = urlsplit(where).scheme.lower()
    if scheme in ("http", "https"):
        return {"kind": "http", "urls": [where]}
    if scheme == "hf":
        return {"kind": "hugging-face", "path": where.removeprefix("hf://").removeprefix("datasets/")}
    if len(scheme) > 1 and "://" in where:
        return {"kind": "fsspec", "url": where}
    path = (here / Path(where).expanduser()).resolve()
    if not path.exists():
        hint = f", or hf://{where} for the dataset of that name on the Hugging Face hub" if _HUB.fullmatch(where) else ""
        raise UserError(f"there is no {where}: give a path that exists, an address (https://, s3://){hint}.")
    return {"kind": _kind(path), "path": _written(where, path, root)}


def _kind(path: Path) -> str:
    return _kind_of_file(path.name.lower()) if path.is_file() else _kind_of_folder(path)


def _kind_of_file(name: str) -> str:
    if _ARCHIVE.fullmatch(name):
        return "archive"
    if name.endswith(_PARQUET):
        return "parquet"
    return "transforms" if name in (WHOLE, *SPLIT_FILES) else "folder"


def _kind_of_folder(folder: Path) -> str:
    names = _names(folder)
    if any((folder / name).is_file() for name in (WHOLE, *SPLIT_FILES)):
        return "transforms"
    if any(name in _SAVED for name in names):
        return "hugging-face"
    if any(_IDX.fullmatch(name) for name in names):
        return "idx"
    return "parquet" if names and sum(name.lower().endswith(_PARQUET) for name in names) > len(names) / 2 else "folder"


def _names(folder: Path) -> list[str]:
    found: list[str] = []
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [name for name in names if not name.startswith(".")]
        if len(found) >= _LOOKED_AT:
            break
    return found


def _written(where: str, path: Path, root: Path) -> str:
    """As short as it stays true: relative to the project where the file lies in it or beside it."""
    if path.is_relative_to(root.resolve()):
        return path.relative_to(root.resolve()).as_posix() or "."
    relative = os.path.relpath(path, root.resolve())
    return relative if not Path(where).expanduser().is_absolute() and relative.count("..") <= 3 else str(path)
