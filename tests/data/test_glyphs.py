"""The type glyphs: real characters with real names, drawn alike, and the same ones every time."""

import io
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.data.fonts import font_file
from components.data.sources import RawRow, glyphs
from components.data.sources.glyphs import CLASSES, FACES, Config, all_glyphs, class_of
from tests.data.workbench import one_dataset, run, set_params


def read(rows: int, size: int = 32) -> list[RawRow]:
    return list(glyphs.read(Config(kind="glyphs", rows=rows, size=size), "image", Path()))


def pixels(row: RawRow) -> np.ndarray:
    with Image.open(io.BytesIO(row.fields["image"]["bytes"])) as image:
        assert image.mode == "L"
        return np.asarray(image)


def drawn(char: str, face: str = "DejaVuSans", size: int = 32) -> np.ndarray:
    from PIL import ImageFont

    font = ImageFont.truetype(font_file(face), round(size * glyphs._ENLARGED * glyphs._EM), layout_engine=ImageFont.Layout.BASIC)
    return np.asarray(glyphs.draw_glyph(font, char, size))


@pytest.mark.parametrize(
    ("char", "label"),
    [
        ("A", "latin capital"), ("é", "latin small"), ("Ω", "greek capital"), ("λ", "greek small"), ("Ж", "cyrillic capital"), ("я", "cyrillic small"),
        ("ა", "other letter"), ("ℝ", "mathematical letter"), ("7", "number"), ("¾", "number"), ("?", "punctuation"), ("→", "arrow"),
        ("⊂", "mathematical operator"), ("╬", "box drawing"), ("♞", "symbol"), ("\u0301", None), (" ", None), ("\n", None),
        ("\ue000", None), ("⠿", None), ("語", None),
    ],
)  # fmt: skip
def test_a_character_has_its_class_or_is_left_out(char: str, label: str | None) -> None:
    assert class_of(char) == label


@pytest.mark.slow
def test_every_class_and_every_face_is_well_filled() -> None:
    first = all_glyphs()[: Config(kind="glyphs").rows]
    assert {glyph.label for glyph in first} == set(CLASSES)
    assert min(Counter(glyph.label for glyph in first).values()) > 500
    assert {glyph.face for glyph in first} == set(FACES)
    assert min(Counter(glyph.face for glyph in first).values()) > 500


def test_any_number_of_first_rows_mixes_faces_and_classes() -> None:
    first = all_glyphs()[:400]
    assert len({glyph.face for glyph in first}) == len(FACES)
    assert len({glyph.label for glyph in first}) >= 10


def test_the_caption_is_the_characters_name_with_its_typeface_and_style() -> None:
    wanted = next(glyph for glyph in all_glyphs() if glyph.id == "glyphs-DejaVuSans-BoldOblique-U+0041")
    assert wanted.caption == "latin capital letter a, dejavu sans bold oblique"
    assert wanted.label == "latin capital"


def test_no_character_is_one_that_the_face_does_not_have() -> None:
    from fontTools.ttLib import TTFont

    for face in ("STIXGeneralItalic", "DejaVuSansMono-Bold"):
        with TTFont(font_file(face)) as font:
            characters = {chr(code) for code in font.getBestCmap()}
        asked = {glyph.char for glyph in all_glyphs() if glyph.face == face}
        assert asked < characters
        assert all(unicodedata.name(char, "") for char in asked)


def test_characters_that_share_an_outline_are_given_once_under_the_first_of_them() -> None:
    sans = {glyph.char for glyph in all_glyphs() if glyph.face == "DejaVuSans"}
    assert "A" in sans
    assert not sans & set("ΑАΕЕ")  # the Greek and Cyrillic letters that look so


def test_ids_are_unique_and_rows_repeat_byte_for_byte() -> None:
    assert len({glyph.id for glyph in all_glyphs()}) == len(all_glyphs())
    assert read(60) == read(60)


@pytest.mark.slow
def test_more_rows_begin_with_the_same_ones() -> None:
    assert read(90)[:60] == read(60)


def test_pictures_are_white_on_black_and_fit_their_cell() -> None:
    for row in read(150):
        image = pixels(row)
        assert image.shape == (32, 32)
        assert image.max() > 60, row.id
        assert np.median(image) < 128 or row.fields["label"] in ("box drawing", "symbol"), row.id
        if row.fields["label"] != "box drawing":  # which reaches the border on purpose
            assert image[:, 0].max() < 60, row.id
            assert image[:, -1].max() < 60, row.id


def test_letters_stand_on_one_line_and_keep_their_relative_height() -> None:
    rows_of = {char: np.flatnonzero(drawn(char).max(1) > 100) for char in "HxEgz"}
    assert rows_of["H"][-1] == rows_of["x"][-1] == rows_of["E"][-1] == rows_of["z"][-1]
    assert rows_of["g"][-1] > rows_of["x"][-1] + 2
    assert len(rows_of["x"]) < 0.85 * len(rows_of["H"])


def test_a_glyph_too_wide_for_the_cell_is_shrunk_into_it() -> None:
    wide = drawn("⟶")
    assert wide[:, 0].max() < 60
    assert wide[:, -1].max() < 60
    assert wide.max() > 60


def test_strokes_are_smooth_not_jagged() -> None:
    image = drawn("O")
    assert ((image > 30) & (image < 225)).sum() > 20


@pytest.mark.parametrize("size", [16, 28, 64])
def test_the_size_is_a_setting(size: int) -> None:
    assert pixels(read(1, size)[0]).shape == (size, size)


def test_the_fingerprint_names_fonts_and_version_and_hangs_on_the_settings() -> None:
    known, other = (glyphs.fingerprint(Config(kind="glyphs", rows=rows), "image", Path()) for rows in (10, 20))
    assert len(known["sha256"]) == 64
    assert known["matplotlib"]
    assert known != other
    assert {**known, "rows": 20} == other


def test_both_licences_are_named() -> None:
    assert "DejaVu" in glyphs.LICENCE
    assert "STIX" in glyphs.LICENCE


def test_it_is_collected_cleaned_and_grown(tmp_path: Path) -> None:
    project = one_dataset(tmp_path, {"modality": "image", "source": {"kind": "glyphs", "rows": 400}})
    manifest = run(project)
    assert manifest.class_names == CLASSES
    assert manifest.rows() + manifest.dropped.get("duplicate", 0) == 400
    assert set(manifest.dropped) <= {"duplicate"}
    set_params(project, source={"rows": 500})
    grown = run(project)
    assert grown.rows() > manifest.rows()
    kept = {shard.path: shard.sha256 for shard in grown.shards}
    assert all(kept[shard.path] == shard.sha256 for shard in manifest.shards)
