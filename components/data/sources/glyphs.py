"""Up to 39,000 type glyphs, white on black, each with its Unicode name as caption, drawn from the fonts that come with matplotlib.

Sixteen faces (DejaVu Sans, Sans Mono and Serif; STIX General) and what they have of Latin, Greek, Cyrillic and a few other
scripts, numbers, punctuation, arrows, mathematics, box drawing and symbols. White on black, as the digits are: the ground is
zero, and a shifted or turned copy brings in nothing new at the border.
"""

import functools
import hashlib
import importlib.metadata
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from components.data.fonts import font_file
from components.data.pixels import encode_image
from components.data.sources import RawRow, SourceConfig

if TYPE_CHECKING:
    from fontTools.ttLib import TTFont
    from PIL.Image import Image as PILImage
    from PIL.ImageFont import FreeTypeFont

MODALITIES = ("image", "image-text")
LICENCE = "DejaVu: Bitstream Vera and Arev licences, changes in the public domain; STIX: STIX Font License (both beside the fonts in matplotlib)"
CLASSES = (
    "latin capital", "latin small", "greek capital", "greek small", "cyrillic capital", "cyrillic small", "other letter", "mathematical letter",
    "number", "punctuation", "arrow", "mathematical operator", "box drawing", "symbol",
)  # fmt: skip
FACES = {
    "DejaVuSans": "dejavu sans regular",
    "DejaVuSans-Bold": "dejavu sans bold",
    "DejaVuSans-Oblique": "dejavu sans oblique",
    "DejaVuSans-BoldOblique": "dejavu sans bold oblique",
    "DejaVuSansMono": "dejavu sans mono regular",
    "DejaVuSansMono-Bold": "dejavu sans mono bold",
    "DejaVuSansMono-Oblique": "dejavu sans mono oblique",
    "DejaVuSansMono-BoldOblique": "dejavu sans mono bold oblique",
    "DejaVuSerif": "dejavu serif regular",
    "DejaVuSerif-Bold": "dejavu serif bold",
    "DejaVuSerif-Italic": "dejavu serif italic",
    "DejaVuSerif-BoldItalic": "dejavu serif bold italic",
    "STIXGeneral": "stix regular",
    "STIXGeneralBol": "stix bold",
    "STIXGeneralItalic": "stix italic",
    "STIXGeneralBolIta": "stix bold italic",
}
"""File name to typeface and style."""
_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC")
_OTHER_SCRIPTS = ("ARMENIAN", "GEORGIAN", "HEBREW")
_MATHEMATICAL = ("MATHEMATICAL", "DOUBLE-STRUCK", "SCRIPT", "BLACK-LETTER")
_CASES = {"Lu": "capital", "Ll": "small"}
_FIRST_SYMBOL_LEFT_OUT = 0x2800
"""From Braille on there are hundreds of near-equal patterns, dominoes and cards, which would fill the class of symbols."""
_USUAL = ((0x21, 0x17F), (0x370, 0x45F), (0x2010, 0x2027), (0x2190, 0x21FF), (0x2200, 0x22FF), (0x2500, 0x25FF))
"""Blocks that come first: plain letters with the usual accents, punctuation, arrows, operators, boxes and shapes."""
_ENLARGED = 4
"""Glyphs are drawn this many times larger and averaged down: FreeType's hints would bend small outlines to the pixels."""
_EM, _BASELINE, _MARGIN = 0.78, 0.76, 0.03
"""Parts of the cell: the em, so that accents and descenders fit; the baseline's place from the top; what stays free at each side."""


class Config(SourceConfig):
    kind: Literal["glyphs"]
    rows: int = Field(26_000, ge=1)
    """Take the first ``rows`` glyphs, at most all there are; raise it to grow the dataset. Any number is a fair sample of faces and classes. About a
    quarter is quarantined as duplicates, for an oblique face often has the upright one's symbols: the default leaves some 20,000."""
    size: int = Field(32, ge=8, le=256)
    """Height and width in pixels."""


@dataclass(frozen=True)
class Glyph:
    """One character of one face."""

    face: str
    char: str
    label: str

    @property
    def id(self) -> str:
        return f"glyphs-{self.face}-U+{ord(self.char):04X}"

    @property
    def order(self) -> tuple[bool, str]:
        """Usual characters first, mixed by a hash: the first rows stay the first when there are more."""
        usual = any(first <= ord(self.char) <= last for first, last in _USUAL)
        return not usual, hashlib.sha256(self.id.encode()).hexdigest()

    @property
    def caption(self) -> str:
        return f"{unicodedata.name(self.char).lower()}, {FACES[self.face]}"


def check(config: Config, modality: str, root: Path) -> None:
    for face in FACES:
        font_file(face)


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    for face in FACES:
        digest.update(font_file(face).read_bytes())
    return {"sha256": digest.hexdigest(), "matplotlib": importlib.metadata.version("matplotlib"), "rows": config.rows, "size": config.size}


def describe(config: Config, modality: str, root: Path) -> dict[str, Any]:
    return {"kind": "glyphs", "of": "the DejaVu and STIX fonts in matplotlib", **fingerprint(config, modality, root)}


def class_names(config: Config, modality: str, root: Path) -> tuple[str, ...]:
    return CLASSES


def read(config: Config, modality: str, root: Path) -> Iterator[RawRow]:
    from PIL import ImageFont

    em = round(config.size * _ENLARGED * _EM)
    fonts = {face: ImageFont.truetype(font_file(face), em, layout_engine=ImageFont.Layout.BASIC) for face in FACES}
    for glyph in all_glyphs()[: config.rows]:
        yield RawRow(
            id=glyph.id,
            source=f"{glyph.face}.ttf U+{ord(glyph.char):04X}",
            fields={
                "image": {"bytes": encode_image(draw_glyph(fonts[glyph.face], glyph.char, config.size)), "path": f"{glyph.id}.png"},
                "label": glyph.label,
                "caption": glyph.caption,
            },
        )


@functools.cache
def all_glyphs() -> tuple[Glyph, ...]:
    """Every glyph of every face, in the order of the rows."""
    found = [glyph for face in FACES for glyph in _glyphs_of(face)]
    return tuple(sorted(found, key=lambda glyph: glyph.order))


def class_of(char: str) -> str | None:
    """One of `CLASSES`; None for a character that is left out (marks, controls, private use, other scripts)."""
    category, name = unicodedata.category(char), unicodedata.name(char, "")
    if category[0] == "L":
        return _letter_class(category, name)
    if category[0] == "N":
        return "number"
    if category[0] == "P":
        return "punctuation"
    return _symbol_class(char, category, name) if category in ("Sm", "Sc", "So") else None


def _letter_class(category: str, name: str) -> str | None:
    script = name.split(maxsplit=1)[0]
    if script in _SCRIPTS and category in _CASES:
        return f"{script.lower()} {_CASES[category]}"
    if category in ("Lu", "Ll", "Lo"):
        return "mathematical letter" if script in _MATHEMATICAL else "other letter" if script in _OTHER_SCRIPTS else None
    return None


def _symbol_class(char: str, category: str, name: str) -> str | None:
    if "ARROW" in name:
        return "arrow"
    if category == "Sm":
        return "mathematical operator"
    if 0x2500 <= ord(char) <= 0x259F:
        return "box drawing"
    return "symbol" if ord(char) < _FIRST_SYMBOL_LEFT_OUT else None


def _glyphs_of(face: str) -> list[Glyph]:
    """The characters that ``face`` really has, in the order of their code points; of those that share one outline only the first."""
    from fontTools.ttLib import TTFont

    found: dict[str, Glyph] = {}
    with TTFont(font_file(face), lazy=True) as font:
        for code, name in sorted(font.getBestCmap().items()):
            label = class_of(chr(code))
            outline = _outline(font, name) if label else None
            if label and outline:
                found.setdefault(outline, Glyph(face, chr(code), label))
    return list(found.values())


def _outline(font: "TTFont", name: str) -> str | None:
    """The name of the glyph whose outline ``name`` has (fonts draw the Greek Alpha by reference to the Latin A); None where nothing would be seen."""
    glyph = font["glyf"][name]
    if name == ".notdef" or glyph.numberOfContours == 0:
        return None
    if glyph.isComposite() and len(glyph.components) == 1:
        part = glyph.components[0]
        if (part.x, part.y) == (0, 0) and not hasattr(part, "transform"):
            return _outline(font, part.glyphName)
    return name


def draw_glyph(font: "FreeTypeFont", char: str, size: int) -> "PILImage":
    """``char`` in a square of ``size`` pixels: centred across, on the baseline that all share; moved, then shrunk, only where it would not fit."""
    from PIL import Image, ImageDraw

    cell = size * _ENLARGED
    left, top, right, bottom = font.getbbox(char, anchor="ls")
    margin = round(_MARGIN * cell)
    side = max(cell, round(right - left) + 2 * margin, round(bottom - top) + 2 * margin)
    baseline = min(max(_BASELINE * side, margin - top), side - margin - bottom)
    image = Image.new("L", (side, side))
    ImageDraw.Draw(image).text(((side - right - left) / 2, baseline), char, fill=255, font=font, anchor="ls")
    return image.resize((size, size), Image.Resampling.BOX)
