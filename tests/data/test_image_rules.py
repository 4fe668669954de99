"""Images as they come: every format and fault gets its verdict, and none of them an exception or the machine's memory."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.data.modalities import Examined, Rejection, image
from tests.data.workbench import announced, files, folder_project, png, quarantine, rows, run, set_params, write_images

MANY = 60


def examined(content: bytes | None, **config: Any) -> Examined | Rejection:
    row = {"image": {"bytes": content, "path": "x"}, "label": None, "caption": None}
    return image.examine(row, image.CleanConfig.model_validate(config), labelled=False)


def noise(mode: str, size: tuple[int, int] = (16, 16)) -> Image.Image:
    return Image.open(io.BytesIO(png(1, size=size))).convert(mode)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def animated(kind: str) -> bytes:
    frames = [Image.open(io.BytesIO(png(seed))).convert("P" if kind == "GIF" else "RGB") for seed in (1, 2, 3)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)


@pytest.mark.parametrize(
    ("content", "mode"),
    [
        (encoded(noise("CMYK"), "JPEG"), "RGB"),
        (encoded(noise("L"), "JPEG"), "L"),
        (encoded(Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 256), "PNG"), "L"),
        (encoded(noise("1"), "PNG"), "L"),
        (encoded(noise("P"), "PNG"), "RGB"),
        (encoded(noise("RGBA"), "PNG"), "RGB"),
        (encoded(noise("LA"), "PNG"), "L"),
        (animated("GIF"), "RGB"),
        (animated("PNG"), "RGB"),
        (animated("WEBP"), "RGB"),
        (encoded(noise("RGB"), "AVIF"), "RGB"),
        (encoded(noise("RGB"), "TIFF"), "RGB"),
        (encoded(noise("YCbCr"), "JPEG"), "RGB"),
    ],
    ids=["cmyk", "grey-jpeg", "16-bit", "1-bit", "palette", "alpha", "grey-alpha", "gif", "apng", "webp", "avif", "tiff", "ycbcr"],
)
def test_every_usual_format_is_read_as_grey_or_colour(content: bytes, mode: str) -> None:
    found = examined(content)
    assert isinstance(found, Examined), found
    assert found.form == (mode, 16, 16)


def test_of_an_animation_the_first_frame_is_kept(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image", clean={"image": {"mode": "rgb"}})
    write_images(project, MANY)
    (files(project) / "a" / "moves.png").write_bytes(animated("PNG"))
    run(project)
    (row,) = [row for row in rows(project) if row["id"] == "a/moves.png"]
    with Image.open(io.BytesIO(row["image"]["bytes"])) as kept, Image.open(io.BytesIO(png(1))) as first:
        assert getattr(kept, "n_frames", 1) == 1
        assert np.array_equal(np.asarray(kept), np.asarray(first))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "incomplete"),
        (None, "incomplete"),
        (png(1)[:200], "corrupt"),
        (b"<!doctype html><html><body>404 Not Found</body></html>", "corrupt"),
        (encoded(noise("RGB", (64, 64)), "JPEG")[:300], "corrupt"),
        (encoded(Image.fromarray(np.ones((16, 16), dtype=np.float32)), "TIFF"), "out-of-range"),
        (announced(png(1), 30_000), "out-of-range"),
        (animated("GIF")[:40], "corrupt"),
    ],
    ids=["empty", "absent", "truncated-png", "html", "truncated-jpeg", "float", "announced", "truncated-gif"],
)
def test_what_cannot_be_used_is_rejected_with_a_reason(content: bytes | None, reason: str) -> None:
    found = examined(content)
    assert isinstance(found, Rejection)
    assert found.reason == reason
    assert found.detail


def test_a_picture_that_is_a_program_is_not_run() -> None:
    found = examined(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\n{} loop\n%%EOF\n")
    assert isinstance(found, Rejection)
    assert (found.reason, found.detail) == ("corrupt", "no image of a format that is read")


def test_an_image_is_turned_upright_by_its_exif_tag() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = examined(encoded(noise("RGB", (32, 16)), "JPEG", exif=exif))
    assert isinstance(found, Examined)
    assert found.form == ("RGB", 16, 32)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03" * 3])
def test_a_damaged_exif_block_does_not_cost_the_image(exif: bytes) -> None:
    found = examined(encoded(noise("RGB"), "JPEG", exif=exif))
    assert isinstance(found, Examined)
    assert found.form == ("RGB", 16, 16)


_BOMB = """
import io, resource, sys
from PIL import Image
from components.data.modalities import image
Image.MAX_IMAGE_PIXELS = None
content = sys.stdin.buffer.read()
small = io.BytesIO(); Image.new("RGB", (8, 8)).save(small, "PNG")
row = lambda content: {"image": {"bytes": content, "path": "x"}, "label": None, "caption": None}
image.examine(row(small.getvalue()), image.CleanConfig(), labelled=False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = image.examine(row(content), image.CleanConfig(), labelled=False)
print(found.reason, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_a_real_image_of_30000_by_30000_pixels_is_refused_without_its_memory() -> None:
    bomb = encoded(Image.new("1", (30_000, 30_000)), "PNG")
    done = subprocess.run([sys.executable, "-c", _BOMB], input=bomb, capture_output=True, check=True)
    reason, extra_mib = done.stdout.split()
    assert reason == b"out-of-range"
    assert int(extra_mib) < 64


def test_blank_and_narrow_images_are_left_out_where_params_say_so(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image", clean={"image": {"mode": "rgb", "size": 16}})
    write_images(project, MANY)
    (files(project) / "a" / "blank.png").write_bytes(encoded(Image.new("RGB", (16, 16), (200, 201, 202)), "PNG"))
    (files(project) / "a" / "banner.png").write_bytes(png(900, size=(80, 10)))
    run(project)
    assert quarantine(project) == {}
    set_params(project, clean={"blank": 3, "max_ratio": 4})
    manifest = run(project)
    found = quarantine(project)
    assert {name: reason for name, (reason, _) in found.items()} == {"a/blank.png": "blank", "a/banner.png": "extreme-ratio"}
    assert found["a/banner.png"][1] == "80x10 pixels, allowed is a longer side of 4 times the shorter one"
    assert manifest.dropped == {"blank": 1, "extreme-ratio": 1}
