"""A folder of files, or one file: images (flat, or one folder per class) with or without captions, texts, books and code, rows of texts or of pairs, a scene.

What files mean is said in `components.data.readers`. Where the folders (or the files of rows) at the top are named train, validation and test, they are
the source's own split.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

from components.data.files import check_files, files_fingerprint, reading_files
from components.data.readers import FilesConfig, reader_modules, reader_names
from components.data.sources import Reading
from components.data.trees.folder import Folder, SingleFile
from components.errors import UserError

MODALITIES = reader_names()
LICENCE = ""
code = reader_modules


class Config(FilesConfig):
    kind: Literal["folder"]
    path: str
    """A folder, or one file of texts or rows; relative to the project, or absolute."""


def check(config: Config, modality: str, root: Path) -> None:
    check_files(_tree(config, root), config, modality)


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    return files_fingerprint(_tree(config, root), config, modality)


def reading(config: Config, modality: str, root: Path) -> AbstractContextManager[Reading]:
    return reading_files(_tree(config, root), config, modality, {"kind": "folder", "path": config.path})


def _tree(config: Config, root: Path) -> Folder:
    path = root / Path(config.path).expanduser()
    if path.is_file():
        return SingleFile(path)
    if not path.is_dir():
        raise UserError(f"there is no folder {path}: give source.path a folder that exists.")
    return Folder(path)
