"""Images from bytes: one that a source gave, the stored ones of a table as one array (training and evaluation read them the same way), a sheet of them."""

import functools
import io
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from components.data.modalities import Rejection

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from PIL.Image import Image as PILImage
    from PIL.ImageFont import FreeTypeFont

_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Others are pictures too, but some of their decoders run programs (EPS), and none is what photos or drawings come in. JPEG opens MPO too."""
_DECODED_AT_ONCE = 256
_HASHED = 32
"""Side of the image that a perceptual hash is taken of."""
_GAP = 2
"""Pixels between the fields of a sheet."""
_FONT_SIZE, _LINE_HEIGHT = 11, 14
_CELLS_PER_CAPTION = 5
"""Width of an image and its caption, in widths of the image."""


def decode_images(table: "pa.Table", size: int | None = None) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """The column ``image`` as bytes [N, C, S, S], C = 1 for grey and 3 for colour; S is ``size``, by default the shorter side.

    Cleaning has made all of them alike in size and mode.
    """
    import numpy as np
    from PIL import Image

    found, number = np.zeros((0, 1, 1, 1), dtype=np.uint8), 0
    for batch in table.select(["image"]).to_batches(max_chunksize=_DECODED_AT_ONCE):
        for value in batch.column(0).to_pylist():
            with Image.open(io.BytesIO(value["bytes"])) as image:
                pixels = np.asarray(squared(image, size))
            pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
            if not number:  # made once and filled, for images beside their sum would take twice the memory
                found = np.empty((table.num_rows, *pixels.shape), dtype=np.uint8)
            found[number] = pixels
            number += 1
    return found


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
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow warns of what it then mends or of a size that is checked here anyway.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                if image.width * image.height > max_pixels:
                    return Rejection("out-of-range", f"{image.width}x{image.height} pixels, allowed are {max_pixels:,} in all")
                image.load()
                return finish(image)
    except Image.DecompressionBombError as error:
        return Rejection("out-of-range", str(error)[:200])
    except UnidentifiedImageError:  # its message is the address of an object
        return Rejection("corrupt", "no image of a format that is read")
    except Exception as error:  # noqa: BLE001 - a damaged file can make a decoder raise nearly anything
        return Rejection("corrupt", f"{type(error).__name__}: {error}"[:200])


def perceptual_hash(grey: "PILImage") -> bytes:
    """64 bits, 8 bytes, that change little with size, quality and brightness: the signs of the lowest frequencies against their median.

    Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010).
    """
    import numpy as np
    from PIL import Image

    small = np.asarray(grey.resize((_HASHED, _HASHED), Image.Resampling.BOX, reducing_gap=2.0), dtype=np.float32)
    waves = _cosines()
    low = waves @ small @ waves.T
    return np.packbits(low > np.median(low)).tobytes()


@functools.cache
def _cosines() -> "np.ndarray[Any, np.dtype[np.float32]]":
    """The eight lowest rows of the discrete cosine transform (type II) of 32 values."""
    import numpy as np

    frequencies, places = np.arange(8)[:, None], np.arange(_HASHED)[None, :]
    return np.cos(np.pi * frequencies * (2 * places + 1) / (2 * _HASHED)).astype(np.float32)


def thumbnail(image: "PILImage") -> bytes:
    """A PNG of at most 96 pixels a side."""
    small = image.copy()
    small.thumbnail((96, 96))
    return encode_image(small)


def encode_image(image: "PILImage") -> bytes:
    """``image`` as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def contact_sheet(contents: Sequence[bytes], columns: int, cell: int) -> bytes:
    """A PNG of encoded images in squares of ``cell`` pixels on white, whole and centred."""
    grid = _blank_grid(len(contents), columns, cell, cell)
    for index, content in enumerate(contents):
        _paste(grid, content, cell, *_corner(index, columns, cell, cell))
    return encode_image(grid)


def captioned_sheet(contents: Sequence[bytes], captions: Sequence[str], columns: int, cell: int) -> bytes:
    """A PNG of encoded images in squares of ``cell`` pixels on white, each with its caption to the right of it, which is cut where the square ends."""
    from PIL import ImageDraw, ImageFont

    from components.data.fonts import font_file

    width = cell * _CELLS_PER_CAPTION
    grid = _blank_grid(len(contents), columns, width, cell)
    font = ImageFont.truetype(font_file("DejaVuSans"), _FONT_SIZE)
    draw = ImageDraw.Draw(grid)
    for index, (content, caption) in enumerate(zip(contents, captions, strict=True)):
        left, top = _corner(index, columns, width, cell)
        _paste(grid, content, cell, left, top)
        lines = [line for part in caption.split("\n") for line in _wrapped(part, font, width - cell - 2 * _GAP)][: cell // _LINE_HEIGHT]
        draw.multiline_text((left + cell + _GAP, top), "\n".join(lines), fill="black", font=font, spacing=_LINE_HEIGHT - _FONT_SIZE)
    return encode_image(grid)


def _wrapped(text: str, font: "FreeTypeFont", width: int) -> list[str]:
    """``text`` in lines of at most ``width`` pixels; a longer word has a line of its own."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _blank_grid(num: int, columns: int, width: int, height: int) -> "PILImage":
    """White, with room for ``num`` fields of ``width`` x ``height`` pixels."""
    from PIL import Image

    return Image.new("RGB", (columns * (width + _GAP) + _GAP, max(-(-num // columns), 1) * (height + _GAP) + _GAP), "white")


def _corner(index: int, columns: int, width: int, height: int) -> tuple[int, int]:
    """The left upper corner of a field of `_blank_grid`."""
    return _GAP + index % columns * (width + _GAP), _GAP + index // columns * (height + _GAP)


def _paste(grid: "PILImage", content: bytes, cell: int, left: int, top: int) -> None:
    """The encoded image whole and centred in a square of ``cell`` pixels of ``grid``."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as image:
        whole = image.convert("RGBA")
        scaled = ImageOps.contain(whole, (cell, cell), Image.Resampling.NEAREST if max(whole.size) < cell else Image.Resampling.LANCZOS)
    grid.paste(scaled, (left + (cell - scaled.width) // 2, top + (cell - scaled.height) // 2), scaled)
