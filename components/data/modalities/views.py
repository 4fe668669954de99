"""Posed photos of one scene: an image (RGB, or RGBA where the background was cut away), where its camera stood, and through which lens.

The pose is camera-to-world, 4x4, in the OpenGL convention of Blender and NeRF; see `components.cameras`.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator, model_validator

from components.cameras import RIGID_TOLERANCE, Lens, pose_problem
from components.data.image_form import conforms, eight_bits, image_field
from components.data.modalities import Additions, Examined, Limits, Rejection, spread
from components.data.near import Likeness
from components.data.pixels import contact_sheet, encode_image, open_image, thumbnail
from components.params import Block

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from PIL.Image import Image as PILImage

PARTS = ("image", "camera")
TEST_ROWS = 5
CAN_CUT = False
FOCAL = ("fl_x", "fl_y", "cx", "cy")
DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_ANGLES = ("camera_angle_x", "camera_angle_y")
_OPAQUE, _CUT_OUT = "RGB", "RGBA"
_LARGEST_SUGGESTED = 400
_ASPECT_TOLERANCE = 0.01


class CleanConfig(Limits):
    min_size: int = Field(16, ge=12)
    """Pixels of the shorter side after cleaning; the window of the similarity figure needs 11."""
    max_pixels: int = Field(50_000_000, ge=1, le=178_000_000)
    """Checked before a pixel is decoded; Pillow itself opens nothing above 178 million."""
    downscale: int = Field(1, ge=1, le=64)
    """Photos are made smaller by this factor, each new pixel the mean of those that it covers; lenses are scaled with them."""
    long_side: int | None = Field(None, ge=8)
    """Or: pixels of the longer side to which larger photos are brought; null leaves them."""

    @model_validator(mode="after")
    def _one_of_them(self) -> "CleanConfig":
        if self.downscale > 1 and self.long_side is not None:
            raise ValueError("downscale and long_side say the same thing twice: set one of them")
        return self

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The size after cleaning of a photo of ``width`` x ``height`` pixels."""
        if self.downscale > 1:
            return max(1, width // self.downscale), max(1, height // self.downscale)
        shrink = min(1.0, (self.long_side or math.inf) / max(width, height))
        return max(1, round(width * shrink)), max(1, round(height * shrink))


class AugmentConfig(Additions):
    """Nothing: an altered photo would no longer be what its camera saw."""

    @field_validator("copies", "when")
    @classmethod
    def _none(cls, value: int | str) -> int | str:
        if value not in (0, "stage"):
            raise ValueError(f"posed photos are not augmented, an altered one is not what its camera saw: leave it {'out' if value == 'load' else 'at 0'}")
        return value


def raw_fields() -> "Sequence[pa.Field]":
    import pyarrow as pa

    numbers = [pa.field(name, pa.float64()) for name in (*FOCAL, *DISTORTION, *_ANGLES)]
    return [image_field(), pa.field("pose", pa.list_(pa.float64())), *numbers, pa.field("width", pa.int64()), pa.field("height", pa.int64())]


def clean_fields() -> "Sequence[pa.Field]":
    import pyarrow as pa

    numbers = [pa.field(name, pa.float64()) for name in (*FOCAL, *DISTORTION)]
    size = [pa.field("width", pa.int32()), pa.field("height", pa.int32()), pa.field("mode", pa.string())]
    return [image_field(), pa.field("pose", pa.list_(pa.float64())), *numbers, *size]


def schema_metadata(fields: "Sequence[pa.Field]") -> dict[str, str]:
    """What makes `datasets.load_dataset("parquet", ...)` open the column as images."""
    features: dict[str, Any] = {field.name: {"dtype": str(field.type), "_type": "Value"} for field in fields}
    features["image"] = {"_type": "Image"}
    features["pose"] = {"feature": {"dtype": "float64", "_type": "Value"}, "_type": "List"}
    return {"huggingface": json.dumps({"info": {"features": features}}, sort_keys=True)}


def content_key(row: Mapping[str, Any]) -> str:
    content = (row.get("image") or {}).get("bytes")
    names = ("split", "pose", "width", "height", *FOCAL, *DISTORTION, *_ANGLES)
    camera = json.dumps([*(row.get(name) for name in names), content is None])
    return hashlib.sha256(camera.encode() + b"\0" + (content or b"")).hexdigest()


def examine(row: Mapping[str, Any], config: CleanConfig, labelled: bool) -> Examined | Rejection:
    problem = pose_problem(row["pose"])
    if problem:
        return Rejection("corrupt" if row["pose"] else "incomplete", problem)
    content = row["image"]["bytes"] if row["image"] else None
    if not content:
        return Rejection("incomplete", "its image is missing or empty")
    image = _decode(content, row, config.max_pixels)
    if isinstance(image, Rejection):
        return image
    if min(config.size(*image.size)) < config.min_size:
        return Rejection("out-of-range", f"{image.width}x{image.height} pixels, the shorter side must have at least {config.min_size} after cleaning")
    lens = lens_of(row, *image.size)
    if isinstance(lens, Rejection):
        return lens
    # An image that stands there twice is one photo too many, whatever its camera: so none can be in two splits.
    head = f"{image.mode}:{image.size}:".encode()
    return Examined(duplicate_key=hashlib.sha256(head + image.tobytes()).hexdigest(), form=(image.mode, *config.size(*image.size)))


def lens_of(row: Mapping[str, Any], width: int, height: int) -> Lens | Rejection:
    """The lens before a photo of ``width`` x ``height`` pixels, from what the source says of it: focal lengths or angles, for this size or another one."""
    said_width, said_height = row["width"] or width, row["height"] or height
    if abs(said_width / said_height / (width / height) - 1) > _ASPECT_TOLERANCE:
        return Rejection("out-of-range", f"the photo has {width}x{height} pixels, but its camera speaks of {said_width}x{said_height}")
    fl_x, fl_y = (_focal(row, axis, side) for axis, side in (("x", said_width), ("y", said_height)))
    if fl_x is None and fl_y is None:
        return Rejection("incomplete", "neither a focal length (fl_x) nor an angle (camera_angle_x) is known")
    fl_x, fl_y = fl_x if fl_x is not None else fl_y, fl_y if fl_y is not None else fl_x
    assert fl_x is not None
    assert fl_y is not None
    if not (0 < fl_x < math.inf and 0 < fl_y < math.inf):
        return Rejection("out-of-range", f"its focal length is {fl_x:g} by {fl_y:g} pixels: it must be above zero")
    cx, cy = (half if row[name] is None else row[name] for name, half in (("cx", said_width / 2), ("cy", said_height / 2)))
    distortion = {name: float(row[name] or 0.0) for name in DISTORTION}
    lens = Lens(fl_x, fl_y, cx, cy, said_width, said_height, **distortion)
    if not all(map(math.isfinite, lens.as_row())):
        return Rejection("corrupt", "an intrinsic of its camera is not finite")
    return lens.resized(width, height)


def _focal(row: Mapping[str, Any], axis: str, side: int) -> float | None:
    """The focal length in pixels as given, or from the angle that ``side`` pixels span."""
    given: float | None = row[f"fl_{axis}"]
    angle: float | None = row[f"camera_angle_{axis}"]
    if given is not None or angle is None:
        return given
    return side / 2 / math.tan(angle / 2) if 0 < angle < math.pi else 0.0


def likeness(config: CleanConfig) -> Likeness | None:
    """None: the photos of a scene are meant to be like each other."""
    return None


def excerpt(row: Mapping[str, Any], config: CleanConfig) -> bytes | str | None:
    content = row["image"]["bytes"] if row["image"] else None
    image = _decode(content, row, config.max_pixels) if content else None
    return thumbnail(image) if image is not None and not isinstance(image, Rejection) else None


def suggested(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Large photos are made smaller: a scene is learnt from a hundred of a few hundred pixels a side."""
    most, sides = CleanConfig().max_pixels, [0]
    for content, row in ((row["image"]["bytes"], row) for row in rows if row["image"]):
        image = _decode(content, row, most) if content else None
        sides += [max(image.size)] if image is not None and not isinstance(image, Rejection) else []
    return {"long_side": _LARGEST_SUGGESTED} if max(sides) > _LARGEST_SUGGESTED else {}


def common_form(forms: Mapping[tuple[Any, ...], int], config: CleanConfig, block: Block) -> tuple[Any, ...]:
    """(mode, width, height) of every photo after cleaning; where some have an alpha channel all get one."""
    sizes: dict[tuple[int, int], int] = {}
    for (_, width, height), number in forms.items():
        sizes[width, height] = sizes.get((width, height), 0) + number
    if len(sizes) > 1:
        raise block.error(_mixed_sizes(sizes), "clean")
    ((width, height),) = sizes
    return (_CUT_OUT if any(form[0] == _CUT_OUT for form in forms) else _OPAQUE, width, height)


def _mixed_sizes(sizes: Mapping[tuple[int, int], int]) -> str:
    shown = ", ".join(f"{width}x{height}: {number:,}" for (width, height), number in sorted(sizes.items(), key=lambda item: -item[1])[:3])
    said = f"the photos have {len(sizes)} different sizes ({shown}), and a scene needs one"
    if len({round(width / height, 2) for width, height in sizes}) == 1:
        return f"{said}: set clean.long_side to {min(max(size) for size in sizes)}."
    return f"{said}: take the others out of the source, or crop them there and mend cx and cy."


def convert(row: Mapping[str, Any], form: tuple[Any, ...], drop: Sequence[int], config: CleanConfig, class_names: Sequence[str]) -> dict[str, Any]:
    mode, width, height = form
    content: bytes = row["image"]["bytes"]
    image = _decode(content, row, config.max_pixels)
    assert not isinstance(image, Rejection)
    lens = lens_of(row, *image.size)
    assert not isinstance(lens, Rejection)
    if (image.mode, *image.size) != form or not conforms(content, form):
        content = encode_image(_scaled(image.convert(mode), width, height, config.downscale))
    lens = lens.resized(width, height)
    intrinsics = {name: getattr(lens, name) for name in (*FOCAL, *DISTORTION)}
    path = row["image"]["path"] or row["id"]
    return {"image": {"bytes": content, "path": path}, "pose": row["pose"], **intrinsics, "width": width, "height": height, "mode": mode}


def blocks(row: Mapping[str, Any], size: int) -> Iterator[Mapping[str, Any]]:
    raise AssertionError("CAN_CUT is False")


def unfit_setting(row: Mapping[str, Any], config: AugmentConfig, class_names: Sequence[str]) -> tuple[str, str] | None:
    return None


def augment(rows: Sequence[Mapping[str, Any]], config: AugmentConfig, class_names: Sequence[str]) -> Iterator[dict[str, Any]]:
    assert not config.copies, "the config allows none"
    return iter(())


def before_after(table: "pa.Table", config: AugmentConfig, class_names: Sequence[str]) -> None:
    return None


def metadata_columns() -> list[str]:
    return ["id", "split", "parent_id", "source", "image", "pose", *FOCAL, *DISTORTION, "width", "height", "mode"]


def metadata(table: "pa.Table", class_names: Sequence[str]) -> "pd.DataFrame":
    import numpy as np
    import pyarrow.compute as pc

    images = pc.struct_field(table["image"], "bytes")
    poses = np.asarray(table["pose"].to_pylist(), dtype=np.float64).reshape(-1, 4, 4)
    rotation = poses[:, :3, :3]
    frame = table.drop_columns(["image", "pose"]).to_pandas()
    frame["num_bytes"] = pc.binary_length(images).to_pylist()
    frame["content_sha256"] = [hashlib.sha256(content).hexdigest() for content in images.to_pylist()]
    frame["camera_x"], frame["camera_y"], frame["camera_z"] = poses[:, :3, 3].T
    frame["rotation_error"] = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max((1, 2), initial=0.0)
    frame["rotation_determinant"] = np.linalg.det(rotation)
    return frame


def suite(config: CleanConfig, class_names: Sequence[str]) -> list[dict[str, Any]]:
    between = "expect_column_values_to_be_between"
    rules: list[dict[str, Any]] = [
        {"rule": "expect_column_unique_value_count_to_be_between", "column": column, "min_value": 1, "max_value": 1} for column in ("width", "height", "mode")
    ]
    rules += [
        {"rule": "expect_column_values_to_be_in_set", "column": "mode", "value_set": [_OPAQUE, _CUT_OUT]},
        {"rule": between, "column": "num_bytes", "min_value": 1},
        {"rule": between, "column": "rotation_error", "min_value": 0, "max_value": RIGID_TOLERANCE},
        {"rule": between, "column": "rotation_determinant", "min_value": 1 - RIGID_TOLERANCE, "max_value": 1 + RIGID_TOLERANCE},
    ]
    rules += [{"rule": between, "column": column, "min_value": 0, "strict_min": True} for column in ("fl_x", "fl_y")]
    rules += [{"rule": "expect_column_values_to_not_be_null", "column": column} for column in (*FOCAL, *DISTORTION, "camera_x", "camera_y", "camera_z")]
    return rules


def preview(table: "pa.Table", num: int = 24, columns: int = 8, cell: int = 96) -> bytes:
    """A PNG grid of ``num`` photos spread evenly over ``table``."""
    return contact_sheet([row["image"]["bytes"] for row in spread(table.select(["image"]), num).to_pylist()], columns, cell)


def _decode(content: bytes, row: Mapping[str, Any], max_pixels: int) -> "PILImage | Rejection":
    """The photo in mode RGB or RGBA, turned as its camera speaks of it, or why it cannot be had."""
    return open_image(content, max_pixels, lambda image: _plain(_turned(image, row["width"], row["height"])))


def _turned(image: "PILImage", width: int | None, height: int | None) -> "PILImage":
    """Upright, unless the camera's size is that of the pixels as they are stored: then its numbers are about those."""
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    return image if image.size == (width, height) != upright.size else upright


def _plain(source: "PILImage") -> "PILImage | Rejection":
    image = eight_bits(source)
    return image if isinstance(image, Rejection) else image.convert(_CUT_OUT if image.has_transparency_data else _OPAQUE)


def _scaled(image: "PILImage", width: int, height: int, factor: int) -> "PILImage":
    from PIL import Image

    if image.size == (width, height):
        return image
    exact = image.size == (width * factor, height * factor)
    return image.resize((width, height), Image.Resampling.BOX if exact else Image.Resampling.LANCZOS)
