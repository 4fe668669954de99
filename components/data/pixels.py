"""The stored images of a table as one array; training and evaluation read them the same way."""

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from PIL.Image import Image as PILImage


def decode_images(table: "pa.Table", size: int | None = None) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """The column ``image`` as bytes [N, C, S, S], C = 1 for grey and 3 for colour; S is ``size``, by default the shorter side.

    Cleaning has made all of them alike in size and mode.
    """
    import numpy as np
    from PIL import Image

    images = []
    for value in table["image"].to_pylist():
        with Image.open(io.BytesIO(value["bytes"])) as image:
            pixels = np.asarray(squared(image, size))
        images.append(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
    return np.stack(images) if images else np.zeros((0, 1, 1, 1), dtype=np.uint8)


def squared(image: "PILImage", size: int | None = None) -> "PILImage":
    """The middle square of ``image``, ``size`` pixels wide (default: its shorter side), scaled by an antialiased filter where it must be."""
    from PIL import Image, ImageOps

    side = size or min(image.size)
    return image if image.size == (side, side) else ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)


def labels_of(table: "pa.Table") -> "np.ndarray[Any, np.dtype[np.int64]]":
    """The column ``label``, [N]."""
    import numpy as np

    return np.asarray(table["label"].to_pylist(), dtype=np.int64)
