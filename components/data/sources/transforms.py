"""Posed photos in a folder: `transforms.json` or `transforms_train.json` with the cameras, see `components.data.frames`.

As kind folder with modality views, but that the path may be the file itself, and that its photos may lie outside of its folder.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from components.data.files import entries_fingerprint
from components.data.frames import SPLIT_FILES, WHOLE, Frame, frame_entries, frame_parts, frames_in, refuse_unusable
from components.data.sources import Reading, SourceConfig
from components.data.trees import Entry
from components.data.trees.folder import Folder
from components.errors import UserError

MODALITIES = ("views",)
LICENCE = ""


class Config(SourceConfig):
    kind: Literal["transforms"]
    path: str
    """A folder with `transforms.json` or `transforms_train.json`, or one such file; relative to the project, or absolute."""
    licence: str = ""


def check(config: Config, modality: str, root: Path) -> None:
    refuse_unusable(config.path, _frames(config, root)[2])


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    _, files, frames = _frames(config, root)
    return entries_fingerprint([*files, *frame_entries(frames)])


@contextmanager
def reading(config: Config, modality: str, root: Path) -> Iterator[Reading]:
    tree, _, frames = _frames(config, root)
    refuse_unusable(config.path, frames)
    yield Reading(lambda: frame_parts(tree, frames), {"kind": "transforms", "path": config.path, "files": len(frames)}, ())


def code(modality: str) -> tuple[str, ...]:
    return ()


def _frames(config: Config, root: Path) -> tuple[Folder, list[Entry], list[Frame]]:
    """The folder, the files with the cameras, and what they name."""
    place = root / Path(config.path).expanduser()
    if place.is_file():
        tree, names = Folder(place.parent), [place.name]
    elif not place.is_dir():
        raise UserError(f"there is no folder or file {place}: give source.path one that exists.")
    else:
        tree, names = Folder(place), [WHOLE] if (place / WHOLE).is_file() else list(SPLIT_FILES)
    files = [entry for name in names if (entry := tree.find(name))]
    if not files:
        raise UserError(f"{place} holds neither {WHOLE} nor transforms_train.json: put the file with the cameras there, or mend source.path.")
    return tree, files, frames_in(tree, files)
