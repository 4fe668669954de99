"""The posed photos of a dataset as cameras and arrays; training and evaluation read them the same way."""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.cameras import Camera, Lens
from components.data.dataset import Dataset, Split

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_LENS = ("fl_x", "fl_y", "cx", "cy", "width", "height", "k1", "k2", "k3", "k4", "p1", "p2")


@dataclass(frozen=True)
class Photos:
    """Photos of one size and their cameras, in the order of the dataset."""

    cameras: tuple[Camera, ...]
    pixels: "np.ndarray[Any, np.dtype[np.uint8]]"
    """[N, H, W, 3]; with alpha, over a background that `read_photos` was given."""


def read_photos(dataset: Dataset, split: Split, background: tuple[float, float, float]) -> Photos:
    """The photos of ``split``; what is transparent shows ``background`` (RGB in [0, 1])."""
    import numpy as np

    table = dataset.table(split, columns=["image", "pose", *_LENS], augmented=False)
    width, height = (table[name][0].as_py() if table.num_rows else 1 for name in ("width", "height"))
    pixels = np.empty((table.num_rows, height, width, 3), dtype=np.uint8)
    for index, value in enumerate(table["image"].to_pylist()):
        pixels[index] = _over(value["bytes"], background)
    return Photos(cameras_of(table), pixels)


def has_alpha(dataset: Dataset) -> bool:
    """Whether the background of the photos was cut away; cleaning has given all of them one mode."""
    modes = dataset.table("train", columns=["mode"], augmented=False)
    return bool(modes.num_rows) and modes["mode"][0].as_py() == "RGBA"


def cameras_of(table: "pa.Table") -> tuple[Camera, ...]:
    """The camera of each row, from the columns pose and those of the lens."""
    rows = table.select(["pose", *_LENS]).to_pylist()
    return tuple(Camera(Lens(**{name: row[name] for name in _LENS}), tuple(row["pose"])) for row in rows)


def _over(content: bytes, background: tuple[float, float, float]) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image)
    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3:].astype(np.float32) / 255
    behind = 255 * np.asarray(background, dtype=np.float32)
    return np.rint(pixels[..., :3] * alpha + behind * (1 - alpha)).astype(np.uint8)
