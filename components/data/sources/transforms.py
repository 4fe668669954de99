"""Photos with their cameras in `transforms.json`: as Blender's NeRF exporter writes it, and as instant-ngp and nerfstudio do.

Blender: `transforms_train.json`, `transforms_val.json`, `transforms_test.json` with `camera_angle_x` and frames of `file_path` (without its ending) and
`transform_matrix`. instant-ngp and nerfstudio: one `transforms.json` with `fl_x`, `cx`, `w`, `k1` and so on, for all frames or per frame, and
`train_filenames`, `val_filenames` and `test_filenames`. `aabb_scale`, `scale` and `offset` are left aside: the bounds of a scene come from its cameras.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from components.data.sources import RawRow, SourceConfig
from components.errors import UserError

MODALITIES = ("views",)
LICENCE = ""
WHOLE = "transforms.json"
SPLIT_FILES = {"transforms_train.json": "train", "transforms_val.json": "validation", "transforms_test.json": "test"}
SPLIT_LISTS = {"train_filenames": "train", "val_filenames": "validation", "test_filenames": "test"}
LENS_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG")
_NUMBERS = ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "k3", "k4", "p1", "p2", "camera_angle_x", "camera_angle_y")
_FOCAL = ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y")


class Config(SourceConfig):
    kind: Literal["transforms"]
    path: str
    """A folder with `transforms.json` or `transforms_train.json`, or one such file; relative to the project, or absolute."""
    licence: str = ""


@dataclass(frozen=True)
class Frame:
    """One photo as the file names it; nothing in it is checked yet."""

    id: str
    path: Path
    values: dict[str, Any]
    """Its own keys over those of the file."""
    split: str | None


def check(config: Config, modality: str, root: Path) -> None:
    frames = _frames(config, root)
    if not any(frame.path.is_file() for frame in frames):
        raise UserError(
            f"none of the {len(frames):,} images that {config.path} names is there; the first is {frames[0].path}: "
            "put them there, or mend the file_path of the frames."
        )
    if not any(frame.values.get(name) is not None for frame in frames for name in _FOCAL):
        raise UserError(f"{config.path} gives neither fl_x nor camera_angle_x, so no ray is known: add one of them to the file.")
    _refuse_other_lenses(config, frames)


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    """The files' own bytes, and names, sizes and times of the images."""
    digest, num_bytes = hashlib.sha256(), 0
    for file in _files(config, root):
        digest.update(file.read_bytes())
    frames = _frames(config, root)
    for frame in frames:
        try:
            status = frame.path.stat()
        except OSError:
            digest.update(f"{frame.id}\0missing\n".encode())
            continue
        num_bytes += status.st_size
        digest.update(f"{frame.id}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return {"sha256": digest.hexdigest(), "files": len(frames), "bytes": num_bytes}


def describe(config: Config, modality: str, root: Path) -> dict[str, Any]:
    return {"kind": "transforms", "path": config.path, "files": len(_frames(config, root))}


def class_names(config: Config, modality: str, root: Path) -> tuple[str, ...]:
    return ()


def read(config: Config, modality: str, root: Path) -> Iterator[RawRow]:
    for frame in _frames(config, root):
        values = frame.values
        numbers = {name: _number(values.get(name)) for name in _NUMBERS}
        size = {name: _side(values.get(short)) for name, short in (("width", "w"), ("height", "h"))}
        fields = {"image": {"bytes": _content(frame.path), "path": frame.path.name}, "pose": _pose(values.get("transform_matrix")), **numbers, **size}
        yield RawRow(id=frame.id, source=frame.id, fields=fields, split=frame.split)


def _files(config: Config, root: Path) -> list[Path]:
    """The JSON files to read: the one named, `transforms.json`, or those of the splits."""
    place = root / Path(config.path).expanduser()
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise UserError(f"there is no folder or file {place}: give source.path one that exists.")
    if (place / WHOLE).is_file():
        return [place / WHOLE]
    found = [place / name for name in SPLIT_FILES if (place / name).is_file()]
    if not found:
        raise UserError(f"{place} holds neither {WHOLE} nor transforms_train.json: put the file with the cameras there, or mend source.path.")
    return found


def _frames(config: Config, root: Path) -> list[Frame]:
    """Every frame of every file, in order; a photo that is named twice counts once, where it stands first."""
    frames: dict[str, Frame] = {}
    for file in _files(config, root):
        whole = _object(file)
        shared = {name: whole.get(name) for name in (*_NUMBERS, "w", "h", "camera_model")}
        given = _split_lists(whole)
        for frame in whole["frames"]:
            name = str(frame.get("file_path", ""))
            path = _image(file.parent, name)
            key = _key(name)
            split = SPLIT_FILES.get(file.name) or (given.get(key, "train") if given else None)
            # The files of two splits may each number their photos from 0 in one folder of that split.
            frames.setdefault(_relative(path, file.parent), Frame(_relative(path, file.parent), path, {**shared, **_known(frame)}, split))
    return list(frames.values())


def _object(file: Path) -> dict[str, Any]:
    try:
        whole = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not JSON ({error}): mend it or export it again.") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): make it readable.") from None
    frames = whole.get("frames") if isinstance(whole, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise UserError(f"{file} has no frames: it needs a list `frames` with file_path and transform_matrix of each photo.")
    nameless = sum(not isinstance(frame.get("file_path"), str) or not frame["file_path"] for frame in frames)
    if nameless:
        raise UserError(f"{nameless} of the {len(frames)} frames in {file} name no photo: give each one its file_path.")
    assert isinstance(whole, dict)
    return whole


def _split_lists(whole: dict[str, Any]) -> dict[str, str]:
    return {_key(str(name)): split for key, split in SPLIT_LISTS.items() for name in whole.get(key) or []}


def _key(name: str) -> str:
    """A photo's name as frames and lists may both write it."""
    plain = name.replace("\\", "/").removeprefix("./")
    return plain.rsplit(".", 1)[0] if plain.endswith(_SUFFIXES) else plain


def _image(folder: Path, name: str) -> Path:
    """The file of a photo, whose ending may be left out; where none is there the likeliest name."""
    path = folder / name.replace("\\", "/")
    if path.suffix in _SUFFIXES or path.is_file():
        return path
    candidates = [path.with_name(path.name + suffix) for suffix in _SUFFIXES]
    return next((candidate for candidate in candidates if candidate.is_file()), candidates[0])


def _relative(path: Path, folder: Path) -> str:
    return os.path.normpath(os.path.relpath(path, folder)).replace(os.sep, "/")


def _known(frame: dict[str, Any]) -> dict[str, Any]:
    return {name: frame[name] for name in (*_NUMBERS, "w", "h", "camera_model", "transform_matrix") if frame.get(name) is not None}


def _refuse_other_lenses(config: Config, frames: list[Frame]) -> None:
    models = {str(frame.values.get("camera_model") or "OPENCV") for frame in frames}
    other = sorted(models - set(LENS_MODELS))
    if other:
        raise UserError(f"{config.path} has cameras of model {other[0]}, and only {', '.join(LENS_MODELS)} are known: undistort the photos first.")


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _side(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number >= 1 else None


def _pose(value: Any) -> list[float] | None:
    """The matrix's numbers row by row, however many there are; None where it is no list of lists of numbers. A missing last row is 0 0 0 1."""
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        return None
    numbers = [_number(item) for row in value for item in row]
    if any(number is None for number in numbers):
        return None
    flat = [number for number in numbers if number is not None]
    return [*flat, 0.0, 0.0, 0.0, 1.0] if [len(row) for row in value] == [4, 4, 4] else flat


def _content(path: Path) -> bytes | None:
    """The file's bytes; None where it cannot be read, which cleaning reports as incomplete."""
    try:
        return path.read_bytes()
    except OSError:
        return None
