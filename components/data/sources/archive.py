"""An archive of files, `.zip` or `.tar` plain or packed, read member by member: what a folder may hold, without unpacking it.

The folder that most archives wrap round everything says nothing of a file. What no honest archive has (members that lead out of it, links, devices, a name
twice, more bytes than it can hold) has it refused as a whole.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

from components.data.files import check_files, reading_files
from components.data.readers import FilesConfig, reader_modules, reader_names
from components.data.sources import Reading
from components.data.trees import Caps
from components.data.trees.archive import Archive, open_archive_file
from components.errors import UserError

MODALITIES = reader_names()
LICENCE = ""
code = reader_modules


class Config(FilesConfig, Caps):
    kind: Literal["archive"]
    path: str
    """Relative to the project, or absolute."""


def check(config: Config, modality: str, root: Path) -> None:
    tree = _tree(config, root)
    try:
        check_files(tree, config, modality)
    finally:
        tree.close()


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    """Size and time of the archive, which is not opened."""
    status = _path(config, root).stat()
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def reading(config: Config, modality: str, root: Path) -> AbstractContextManager[Reading]:
    return reading_files(_tree(config, root), config, modality, {"kind": "archive", "path": config.path})


def _tree(config: Config, root: Path) -> Archive:
    return open_archive_file(_path(config, root), config)


def _path(config: Config, root: Path) -> Path:
    path = root / Path(config.path).expanduser()
    if not path.is_file():
        raise UserError(f"there is no file {path}: give source.path an archive that exists.")
    return path
