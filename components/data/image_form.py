"""The form in which images are stored: the column, the formats whose bytes are kept, and the one size and mode that a dataset's images get."""

import io
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from components.data.modalities import Rejection
from components.params import Block, Strict

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL.Image import Image as PILImage

GREY, COLOUR = "L", "RGB"
_MODES = {"grey": GREY, "rgb": COLOUR}
_WORDS = {mode: word for word, mode in _MODES.items()}
_KEPT_FORMATS = ("PNG", "JPEG", "WEBP")
"""Formats whose bytes are kept as they are where nothing has to change; the others are stored as PNG."""
_ORIENTATION, _UPRIGHT = 0x0112, 1
_LARGEST_SUGGESTED = 256
Form = tuple[Any, ...]
"""(mode, width, height) of an image."""


class ImageForm(Strict):
    """The one form that all images of the dataset get; null keeps theirs where all are alike."""

    size: int | None = Field(None, ge=1)
    """Height and width in pixels."""
    mode: Literal["grey", "rgb"] | None = None
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How an image that is not square becomes so: cut the middle, add black borders, or distort."""

    def common(self, forms: Mapping[Form, int], block: Block) -> Form:
        """The form of every image after cleaning, from how often each occurs.

        Raises:
            UserError: they differ, and nothing says what they are to become.
        """
        modes = _counted(forms, lambda form: _WORDS[form[0]])
        sizes = _counted(forms, lambda form: f"{form[1]}x{form[2]}")
        if self.mode is None and len(modes) > 1:
            also = f", and {len(sizes)} different sizes: set clean.image.size too, e.g. {_usual_size(forms)}" if self.size is None and len(sizes) > 1 else ""
            raise block.error(f"the images have different modes ({_most(modes)}): set clean.image.mode to grey or rgb{also}.", "clean")
        if self.size is None and len(sizes) > 1:
            raise block.error(f"the images have {len(sizes)} different sizes ({_most(sizes)}): set clean.image.size, e.g. {_usual_size(forms)}.", "clean")
        mode, width, height = next(iter(forms))
        return (_MODES[self.mode] if self.mode else mode, self.size or width, self.size or height)

    def fitted(self, image: "PILImage", width: int, height: int) -> "PILImage":
        """``image`` in ``width`` x ``height`` pixels."""
        from PIL import Image, ImageOps

        if image.size == (width, height):
            return image
        if self.fit == "stretch":
            return image.resize((width, height), Image.Resampling.LANCZOS)
        if self.fit == "pad":
            return ImageOps.pad(image, (width, height), Image.Resampling.LANCZOS)
        return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


def suggested_form(forms: Mapping[Form, int]) -> dict[str, Any]:
    """The block `clean.image:` for images like these, of which some others may differ from them; their size where all are alike, but not square, stays."""
    mode = _counted(forms, lambda form: _WORDS[form[0]]).most_common(1)[0][0]
    sizes = {form[1:] for form in forms}
    if len(sizes) > 1:
        return {"mode": mode, "size": min(_usual_size(forms), _LARGEST_SUGGESTED)}
    ((width, height),) = sizes
    return {"mode": mode, **({"size": width} if width == height else {})}


def mode_words() -> list[str]:
    """The modes of stored images as Pillow names them."""
    return sorted(_WORDS)


def image_field() -> "pa.Field":
    """The column of encoded images, as Hugging Face datasets reads them."""
    import pyarrow as pa

    return pa.field("image", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]))


def conforms(content: bytes, form: Form) -> bool:
    """Whether the encoded image can be kept as it is: of the form, not to be turned, one frame, a usual format."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        plain = image.getexif().get(_ORIENTATION, _UPRIGHT) == _UPRIGHT and getattr(image, "n_frames", 1) == 1
        return plain and image.format in _KEPT_FORMATS and (image.mode, *image.size) == form


def eight_bits(image: "PILImage") -> "PILImage | Rejection":
    """``image`` with 8 bits per value where it has 16; one with 32 cannot be had, its range is not known."""
    import numpy as np
    from PIL import Image

    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        return Rejection("out-of-range", f"mode {image.mode}: only images of 8 or 16 bits are read")
    return image


def _counted(forms: Mapping[Form, int], name: Callable[[Form], str]) -> Counter[str]:
    counts = Counter[str]()
    for form, number in forms.items():
        counts[name(form)] += number
    return counts


def _most(counts: Mapping[str, int]) -> str:
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:3]
    return ", ".join(f"{name}: {number:,}" for name, number in top) + (", …" if len(counts) > 3 else "")


def _usual_size(forms: Mapping[Form, int]) -> int:
    """The power of two at or below the median shorter side."""
    sides = sorted(min(form[1], form[2]) for form, number in forms.items() for _ in range(min(number, 1000)))
    return int(1 << max(sides[len(sides) // 2].bit_length() - 1, 3))
