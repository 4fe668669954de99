"""Images from bytes: one that a source gave, the stored ones of a table as one array (training and evaluation read them the same way), a sheet of them."""

import io
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from components.data.modalities import Rejection

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


def open_image(content: bytes, max_pixels: int, finish: "Callable[[PILImage], PILImage | Rejection]") -> "PILImage | Rejection":
    """``finish`` of the image in ``content``, whose size is checked before a pixel is decoded and which is then decoded in full; or why it cannot be had."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Pillow warns of what it then mends or of a size that is checked here anyway.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                if image.width * image.height > max_pixels:
                    return Rejection("out-of-range", f"{image.width}x{image.height} pixels, allowed are {max_pixels:,} in all")
                image.load()
                return finish(image)
    except Image.DecompressionBombError as error:
        return Rejection("out-of-range", str(error)[:200])
    except Exception as error:  # noqa: BLE001 - a damaged file can make a decoder raise nearly anything
        return Rejection("corrupt", f"{type(error).__name__}: {error}"[:200])


def encode_image(image: "PILImage") -> bytes:
    """``image`` as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def contact_sheet(contents: Sequence[bytes], columns: int, cell: int) -> bytes:
    """A PNG of encoded images in squares of ``cell`` pixels on white, whole and centred."""
    from PIL import Image, ImageOps

    grid = Image.new("RGB", (columns * (cell + 2) + 2, max(-(-len(contents) // columns), 1) * (cell + 2) + 2), "white")
    for index, content in enumerate(contents):
        with Image.open(io.BytesIO(content)) as image:
            whole = image.convert("RGBA")
            scaled = ImageOps.contain(whole, (cell, cell), Image.Resampling.NEAREST if max(whole.size) < cell else Image.Resampling.LANCZOS)
        left, top = (2 + place * (cell + 2) + (cell - side) // 2 for place, side in zip((index % columns, index // columns), scaled.size, strict=True))
        grid.paste(scaled, (left, top), scaled)
    return encode_image(grid)
