"""Altered images: cut, moved, turned, mirrored, recoloured, noisy, covered; every change is off by default."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from components.data.modalities import Additions

if TYPE_CHECKING:
    import numpy as np

    Pixels = np.ndarray[Any, np.dtype[np.uint8]]

COLOURS = ("saturation", "hue")
"""Settings that change nothing in a grey image."""


class PictureChanges(Additions):
    """How much images are altered. Pixels are those of the stored image, at load time those that the model is given."""

    crop: float = Field(0.0, ge=0, lt=1)
    """Share of the sides, up to which they are cut down to a rectangle at a random place, which is enlarged to the old size."""
    shift: int = Field(0, ge=0)
    """Pixels, up to this many in each direction."""
    rotate: float = Field(0.0, ge=0, le=180)
    """Degrees, up to this many either way."""
    flip: bool = False
    """Mirror half of the images left to right."""
    brightness: float = Field(0.0, ge=0, le=1)
    """Factor between 1 minus and 1 plus this; so of the next two."""
    contrast: float = Field(0.0, ge=0, le=1)
    saturation: float = Field(0.0, ge=0, le=1)
    hue: float = Field(0.0, ge=0, le=0.5)
    """Share of the circle of colours, up to which all of them are turned either way."""
    noise: float = Field(0.0, ge=0, le=1)
    """Standard deviation of the Gaussian noise, where 1 is the whole range of a pixel."""
    cutout: float = Field(0.0, ge=0, lt=1)
    """Side of a square in the image's mean colour that covers a random place, as a share of the shorter side (DeVries & Taylor 2017)."""


def altered(pixels: "Pixels", config: PictureChanges, seed: int) -> "Pixels":
    """Grey [H, W] or coloured [H, W, 3] bytes, altered as ``seed`` draws it; what comes in from outside repeats the border."""
    import numpy as np

    # Some changes draw from a generator of their own, so that turning one on leaves the others as they were.
    rng = np.random.default_rng(seed)
    result = _cropped(pixels, config.crop, np.random.default_rng([seed, 1]).random(3)) if config.crop else pixels
    result = _moved(result, config, rng)
    if config.flip and rng.random() < 0.5:
        result = result[:, ::-1]
    if config.brightness or config.contrast or config.saturation or config.hue:
        result = _recoloured(result, config, np.random.default_rng([seed, 2]).uniform(-1, 1, 4))
    if config.noise:
        noisy = result + rng.normal(0, config.noise * 255, size=result.shape)
        result = np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)
    if config.cutout:
        result = _covered(result, config.cutout, np.random.default_rng([seed, 3]).random(2))
    return np.ascontiguousarray(result)


def _cropped(pixels: "Pixels", crop: float, drawn: "np.ndarray[Any, Any]") -> "Pixels":
    """``drawn`` are three numbers in [0, 1): how much is cut away, and where."""
    import numpy as np
    from PIL import Image

    height, width = pixels.shape[:2]
    kept = 1 - crop * float(drawn[0])
    kept_height, kept_width = height * kept, width * kept
    top, left = float(drawn[1]) * (height - kept_height), float(drawn[2]) * (width - kept_width)
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC, box=(left, top, left + kept_width, top + kept_height))
    return np.asarray(image)


def _moved(pixels: "Pixels", config: PictureChanges, rng: "np.random.Generator") -> "Pixels":
    """Turned round the middle, then shifted."""
    import numpy as np
    from PIL import Image

    angle = rng.uniform(-config.rotate, config.rotate)
    across, down = (int(value) for value in rng.integers(-config.shift, config.shift + 1, size=2))
    height, width = pixels.shape[:2]
    margin = (max(width, height) // 2 if angle else 0) + config.shift
    if not margin:
        return pixels
    padded = np.pad(pixels, [(margin, margin), (margin, margin), (0, 0)][: pixels.ndim], mode="edge")
    if angle:
        padded = np.asarray(Image.fromarray(padded).rotate(angle, Image.Resampling.BICUBIC))
    return padded[margin - down : margin - down + height, margin - across : margin - across + width]


def _recoloured(pixels: "Pixels", config: PictureChanges, drawn: "np.ndarray[Any, Any]") -> "Pixels":
    """``drawn`` are four numbers in [-1, 1]."""
    import numpy as np
    from PIL import Image, ImageEnhance

    image = Image.fromarray(np.ascontiguousarray(pixels))
    enhancers = ((ImageEnhance.Brightness, config.brightness), (ImageEnhance.Contrast, config.contrast), (ImageEnhance.Color, config.saturation))
    for (enhancer, strength), number in zip(enhancers, drawn[:3], strict=True):
        if strength:
            image = enhancer(image).enhance(1 + strength * float(number))
    if config.hue and image.mode == "RGB":
        hsv = np.array(image.convert("HSV"))
        hsv[..., 0] += np.uint8(round(config.hue * float(drawn[3]) * 256) % 256)  # bytes go round as hues do
        image = Image.frombytes("HSV", image.size, hsv.tobytes()).convert("RGB")
    return np.asarray(image)


def _covered(pixels: "Pixels", share: float, place: "np.ndarray[Any, Any]") -> "Pixels":
    """The square's middle may be anywhere, so that its parts may lie outside."""
    import numpy as np

    result = np.array(pixels)
    height, width = result.shape[:2]
    side = max(1, round(share * min(height, width)))
    top, left = (round(float(at) * (length - 1)) - side // 2 for at, length in zip(place, (height, width), strict=True))
    result[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = np.rint(result.mean(axis=(0, 1))).astype(np.uint8)
    return result
