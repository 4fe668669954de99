"""Grids of images as PNG bytes, small images enlarged so that their pixels can be seen; animations as GIF; depths in colours."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from components.data.pixels import encode_image

GAP = 4
GAP_GREY = 112
"""Neither black nor white, so that strokes that reach the border end there."""
LEAST_SIDE = 48
"""Pixels that the side of an image should have in the grid."""
FRAME_MS = 80
"""How long an animation shows a frame."""
_CAPTION_HEIGHT = 14
LONGEST_ROW_CAPTION = 48
"""Letters of a caption left of a row of pictures."""
_LONGEST_CAPTION = 120
"""Letters of a caption beside its picture."""
_GREEN, _RED, _BLACK = (0, 110, 40), (190, 20, 20), (0, 0, 0)
_NEAR_TO_FAR = ((253, 231, 37), (94, 201, 98), (33, 145, 140), (59, 82, 139), (68, 1, 84))
"""Viridis, which keeps its order in grey and for the colour-blind; near is bright."""


def grid_png(images: Tensor, columns: int, scale: int | None = None, row_captions: Sequence[str] = (), column_captions: Sequence[str] = ()) -> bytes:
    """``images`` [N, C, H, W] in [0, 1] row by row on grey, each pixel ``scale`` pixels wide (default: sides of about 48).

    ``row_captions`` stand left of their rows, ``column_captions`` above their columns.
    """
    assert images.ndim == 4, f"images are [N, C, H, W], not {tuple(images.shape)}"
    assert images.shape[1] in {1, 3}, f"{images.shape[1]} channels cannot be shown"
    assert len(images), "nothing to show"
    num, channels, height, width = images.shape
    scale = scale or max(1, round(LEAST_SIDE / width))
    pixels = _bytes(images)
    pixels = pixels.repeat(scale, axis=1).repeat(scale, axis=2)
    cell_h, cell_w, rows = height * scale + GAP, width * scale + GAP, -(-num // columns)
    margin, head = _caption_width(row_captions), _CAPTION_HEIGHT + GAP if column_captions else 0
    canvas = np.full((head + rows * cell_h + GAP, margin + columns * cell_w + GAP, channels), GAP_GREY, dtype=np.uint8)
    canvas[:, :margin] = canvas[:head] = 255
    for index, image in enumerate(pixels):
        top, left = head + GAP + index // columns * cell_h, margin + GAP + index % columns * cell_w
        canvas[top : top + height * scale, left : left + width * scale] = image
    picture = _picture(canvas)
    draw = ImageDraw.Draw(picture)
    black = 0 if channels == 1 else (0, 0, 0)
    for row, caption in enumerate(row_captions[:rows]):
        draw.text((GAP, head + GAP + row * cell_h + (cell_h - _CAPTION_HEIGHT) // 2), caption, fill=black, font=_font())
    for column, caption in enumerate(column_captions[:columns]):
        draw.text((margin + GAP + column * cell_w + width * scale / 2, GAP // 2), caption, fill=black, font=_font(), anchor="ma")
    return encode_image(picture)


def images_png(images: Tensor) -> list[bytes]:
    """Each of ``images`` [N, C, H, W] in [0, 1] for itself, as it is."""
    return [encode_image(_picture(pixels)) for pixels in _bytes(images)]


def pairs_png(upper: Tensor, lower: Tensor, columns: int, captions: tuple[str, str] = ("real", "model")) -> bytes:
    """Rows of ``upper`` [N, C, H, W], each above the row of its partners in ``lower``; ``captions`` name the two."""
    assert upper.shape == lower.shape, "one partner for each image"
    columns = min(columns, len(upper))
    rows: list[Tensor] = []
    for start in range(0, len(upper) - columns + 1, columns):
        rows += [upper[start : start + columns].cpu(), lower[start : start + columns].cpu()]
    return grid_png(torch.cat(rows), columns, row_captions=captions * (len(rows) // 2))


def captions_png(images: Tensor, captions: Sequence[tuple[str, str, bool]], side: int = 64) -> bytes:
    """``images`` [N, C, H, W] in [0, 1] on white, each with what was said of it beside it: green where that is right, else red above what is true."""
    assert len(images) == len(captions), "one caption for each image"
    from components.data.fonts import font_file

    font = ImageFont.truetype(font_file("DejaVuSans"), size=13)
    texts = [((said or "–", _GREEN),) if right else ((said or "–", _RED), (true, _BLACK)) for said, true, right in captions]
    longest = max(font.getlength(shortened(text, _LONGEST_CAPTION)) for lines in texts for text, _ in lines)
    sheet = Image.new("RGB", (side + 4 * GAP + int(longest), len(images) * (side + GAP) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    pixels = _bytes(images)
    for row, (image, lines) in enumerate(zip(pixels, texts, strict=True)):
        top = GAP + row * (side + GAP)
        picture = _picture(image)
        sheet.paste(picture.resize((side, side), Image.Resampling.NEAREST if side >= image.shape[0] else Image.Resampling.BOX), (GAP, top))
        for line, (text, colour) in enumerate(lines):
            draw.text((side + 3 * GAP, top + side // 2 - 9 * len(lines) + 18 * line), shortened(text, _LONGEST_CAPTION), fill=colour, font=font)
    return encode_image(sheet)


def animation_gif(images: Tensor, least_side: int = 160) -> bytes:
    """``images`` [N, 3, H, W] in [0, 1] as the frames of a GIF that repeats for ever, enlarged to about ``least_side`` pixels."""
    assert images.ndim == 4, f"images are [N, C, H, W], not {tuple(images.shape)}"
    assert images.shape[1] == 3, f"{images.shape[1]} channels cannot be animated"
    assert len(images), "nothing to show"
    scale = max(1, round(least_side / images.shape[3]))
    pixels = _bytes(images).repeat(scale, axis=1).repeat(scale, axis=2)
    # A palette of its own for each frame, as a turn round a scene shows other colours on every side.
    frames = [Image.fromarray(frame).quantize(255, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE) for frame in pixels]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0, disposal=1)
    return buffer.getvalue()


def depth_colours(depth: Tensor, opacity: Tensor) -> Tensor:
    """Depths [N, H, W] as colours [N, 3, H, W] in [0, 1] from the nearest (bright) to the farthest, over white where ``opacity`` is low."""
    solid = depth[opacity > 0.5]
    near, far = (float(solid.min()), float(solid.quantile(0.99))) if len(solid) > 0 else (0.0, 1.0)
    share = ((depth - near) / max(far - near, 1e-9)).clamp(0, 1) * (len(_NEAR_TO_FAR) - 1)
    stops = torch.tensor(_NEAR_TO_FAR, dtype=torch.float32, device=depth.device) / 255
    lower = share.floor().long().clamp(max=len(_NEAR_TO_FAR) - 2)
    mixed = torch.lerp(stops[lower], stops[lower + 1], (share - lower)[..., None])
    return (mixed * opacity[..., None] + 1 - opacity[..., None]).movedim(-1, 1)


def shortened(caption: str, most: int = LONGEST_ROW_CAPTION) -> str:
    """``caption``, or its beginning where it has more than ``most`` letters."""
    return caption if len(caption) <= most else caption[: most - 1] + "…"


def _caption_width(captions: Sequence[str]) -> int:
    return GAP * 3 + int(max(_font().getlength(caption) for caption in captions)) if captions else 0


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=12)


def _bytes(images: Tensor) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """``images`` [N, C, H, W] in [0, 1] as bytes [N, H, W, C]."""
    return (images.detach().float().cpu().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def _picture(pixels: "np.ndarray[Any, np.dtype[np.uint8]]") -> Image.Image:
    """Bytes [H, W, C] as a picture: grey for one channel."""
    return Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
