"""Photos with their cameras in `transforms.json`: as Blender's NeRF exporter writes it, and as instant-ngp and nerfstudio do.

Blender: `transforms_train.json`, `transforms_val.json`, `transforms_test.json` with `camera_angle_x` and frames of `file_path` (without its ending) and
`transform_matrix`. instant-ngp and nerfstudio: one `transforms.json` with `fl_x`, `cx`, `w`, `k1` and so on, for all frames or per frame, and
`train_filenames`, `val_filenames` and `test_filenames`. `aabb_scale`, `scale` and `offset` are left aside: the bounds of a scene come from its cameras.
"""

import hashlib
import json
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from components.data.readers import content_of
from components.data.sources import PROBLEM, Part, RawRow
from components.data.trees import Entry, Tree, Unreadable, read_entry
from components.errors import UserError

WHOLE = "transforms.json"
SPLIT_FILES = {"transforms_train.json": "train", "transforms_val.json": "validation", "transforms_test.json": "test"}
SPLIT_LISTS = {"train_filenames": "train", "val_filenames": "validation", "test_filenames": "test"}
LENS_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG")
_NUMBERS = ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "k3", "k4", "p1", "p2", "camera_angle_x", "camera_angle_y")
_FOCAL = ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y")
_MOST_BYTES = 256 * 2**20
"""Of a file of cameras: some hundred thousand frames."""


@dataclass(frozen=True)
class Frame:
    """One photo as the file names it; nothing in it is checked yet."""

    id: str
    """The photo's name from where the file with the cameras stands."""
    name: str
    """The photo's name in the tree, or the likeliest one where it is not there."""
    photo: Entry | None
    values: dict[str, Any]
    """Its own keys over those of the file."""
    split: str | None

    @property
    def digest(self) -> str:
        """Of what is said of the photo."""
        return hashlib.blake2b(json.dumps([self.values, self.split], sort_keys=True).encode(), digest_size=16).hexdigest()


def transforms_in(tree: Tree) -> list[Entry]:
    """The files with the cameras: `transforms.json`, or those of the splits; of several folders the one that is nearest to the top."""
    places: dict[str, dict[str, Entry]] = {}
    for entry in tree.entries():
        folder, name = posixpath.split(entry.name)
        if name == WHOLE or name in SPLIT_FILES:
            places.setdefault(folder, {})[name] = entry
    if not places:
        return []
    found = places[min(places, key=lambda folder: (folder.count("/") + bool(folder), folder))]
    return [found[WHOLE]] if WHOLE in found else [found[name] for name in SPLIT_FILES if name in found]


def frames_in(tree: Tree, files: Sequence[Entry]) -> list[Frame]:
    """Every frame of every file, in order; a photo that is named twice counts once, where it stands first.

    Raises:
        UserError: a file is no JSON, or has no frames.
    """
    frames: dict[str, Frame] = {}
    for file in files:
        whole = _object(tree, file)
        folder, base = posixpath.split(file.name)
        shared = {name: whole.get(name) for name in (*_NUMBERS, "w", "h", "camera_model")}
        given = _split_lists(whole)
        for values in whole["frames"]:
            written = str(values.get("file_path", ""))
            name, photo = _photo(tree, folder, written)
            split = SPLIT_FILES.get(base) or (given.get(_key(written), "train") if given else None)
            # The files of two splits may each number their photos from 0 in one folder of that split.
            frame_id = posixpath.relpath(name, folder or ".")
            frames.setdefault(frame_id, Frame(frame_id, name, photo, {**shared, **_known(values)}, split))
    return list(frames.values())


def refuse_unusable(place: str, frames: Sequence[Frame]) -> None:
    """Refuse what gives no photo, no ray, or rays through a lens that is not known.

    Raises:
        UserError: with the fix.
    """
    if not any(frame.photo for frame in frames):
        raise UserError(
            f"none of the {len(frames):,} images that {place} names is there; the first is {frames[0].name}: "
            "put them there, or mend the file_path of the frames."
        )
    if not any(frame.values.get(name) is not None for frame in frames for name in _FOCAL):
        raise UserError(f"{place} gives neither fl_x nor camera_angle_x, so no ray is known: add one of them to the file.")
    models = {str(frame.values.get("camera_model") or "OPENCV") for frame in frames}
    other = sorted(models - set(LENS_MODELS))
    if other:
        raise UserError(f"{place} has cameras of model {other[0]}, and only {', '.join(LENS_MODELS)} are known: undistort the photos first.")


def frame_fields(frame: Frame) -> dict[str, Any]:
    """The raw columns of the modality `views`, but the image."""
    numbers = {name: _number(frame.values.get(name)) for name in _NUMBERS}
    size = {name: _side(frame.values.get(short)) for name, short in (("width", "w"), ("height", "h"))}
    return {"pose": _pose(frame.values.get("transform_matrix")), **numbers, **size}


def frame_entries(frames: Sequence[Frame]) -> list[Entry]:
    """The photos as files; those that are not there too."""
    return [frame.photo or Entry(frame.name, 0, "missing") for frame in frames]


def frame_parts(tree: Tree, frames: Sequence[Frame]) -> Iterator[Part]:
    for frame in frames:
        yield Part(frame.id, f"{frame.photo.stamp if frame.photo else 'missing'} {frame.digest}", partial(_row, tree, frame))


def _row(tree: Tree, frame: Frame) -> Iterator[RawRow]:
    content, problem = content_of(tree, frame.photo)
    fields = {"image": {"bytes": content, "path": posixpath.basename(frame.name)}, **frame_fields(frame), PROBLEM: problem or None}
    yield RawRow(id=frame.id, source=frame.id, fields=fields, split=frame.split)


def _object(tree: Tree, file: Entry) -> dict[str, Any]:
    where = f"{tree.place}/{file.name}"
    try:
        whole = json.loads(read_entry(tree, file, _MOST_BYTES).decode())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not JSON ({error}): mend it or export it again.") from None
    except Unreadable as error:
        raise UserError(f"{where} cannot be had, {error}: make it readable.") from None
    frames = whole.get("frames") if isinstance(whole, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise UserError(f"{where} has no frames: it needs a list `frames` with file_path and transform_matrix of each photo.")
    nameless = sum(not isinstance(frame.get("file_path"), str) or not frame["file_path"] for frame in frames)
    if nameless:
        raise UserError(f"{nameless} of the {len(frames)} frames in {where} name no photo: give each one its file_path.")
    assert isinstance(whole, dict)
    return whole


def _split_lists(whole: dict[str, Any]) -> dict[str, str]:
    return {_key(str(name)): split for key, split in SPLIT_LISTS.items() for name in whole.get(key) or []}


def _key(name: str) -> str:
    """A photo's name as frames and lists may both write it."""
    plain = name.replace("\\", "/").removeprefix("./")
    return plain.rsplit(".", 1)[0] if plain.endswith(_SUFFIXES) else plain


def _photo(tree: Tree, folder: str, written: str) -> tuple[str, Entry | None]:
    """Name and entry of a photo, whose ending may be left out; where none is there the likeliest name."""
    name = posixpath.normpath(posixpath.join(folder, written.replace("\\", "/")))
    names = [name] if name.endswith(_SUFFIXES) else [name, *(name + suffix for suffix in _SUFFIXES)]
    for candidate in names:
        entry = tree.find(candidate)
        if entry is not None:
            return candidate, entry
    return names[min(1, len(names) - 1)], None


def _known(frame: dict[str, Any]) -> dict[str, Any]:
    return {name: frame[name] for name in (*_NUMBERS, "w", "h", "camera_model", "transform_matrix") if frame.get(name) is not None}


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
