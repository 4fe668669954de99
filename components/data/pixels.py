"""The stored images of a table as one array; training and evaluation read them the same way."""

import io
from typing import TYPE_CHECKING, Any

from components.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def decode_images(table: "pa.Table") -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """The column ``image`` as bytes [N, C, S, S], C = 1 for grey and 3 for colour.

    Raises:
        UserError: the images are not square. (Cleaning has made all of them alike in size and mode.)
    """
    import numpy as np
    from PIL import Image

    images = []
    for value in table["image"].to_pylist():
        with Image.open(io.BytesIO(value["bytes"])) as image:
            pixels = np.asarray(image)
        images.append(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
    if not images:
        return np.zeros((0, 1, 1, 1), dtype=np.uint8)
    height, width = images[0].shape[1:]
    if height != width:
        raise UserError(f"The images are {width}x{height} pixels, models need square ones: set clean.image.size of the dataset, e.g. {min(width, height)}.")
    return np.stack(images)


def labels_of(table: "pa.Table") -> "np.ndarray[Any, np.dtype[np.int64]]":
    """The column ``label``, [N]."""
    import numpy as np

    return np.asarray(table["label"].to_pylist(), dtype=np.int64)
