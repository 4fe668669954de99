"""Posed photos through cleaning: smaller pictures keep their rays, and what would break them is refused."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.data.modalities import find_modality
from components.errors import UserError
from tests.conftest import SCENE, make_project, prepare
from tests.data.scenes import SMALL, edit, exported, photos, reencode
from tests.data.workbench import files, one_dataset, quarantine, rows, run, set_params

FIRST = "train/train-000.png"
LARGE = SMALL.model_copy(update={"size": 32})


def test_downscaling_scales_the_picture_and_its_lens(tmp_path: Path) -> None:
    project = one_dataset(tmp_path, {"modality": "views", "source": LARGE.model_dump(), "split": {"method": "given"}})
    run(project)
    whole = {row["id"]: row for row in rows(project)}
    (camera, *_), _ = photos(project)["train"]
    set_params(project, clean={"downscale": 2})
    run(project)
    for row in rows(project):
        assert (row["width"], row["height"]) == (16, 16)
        for name in ("fl_x", "fl_y", "cx", "cy"):
            assert row[name] == pytest.approx(whole[row["id"]][name] / 2)
        small, large = (np.asarray(Image.open(io.BytesIO(found["image"]["bytes"])), dtype=float) for found in (row, whole[row["id"]]))
        # Alpha is the mean of the four pixels; colours are weighed by it.
        assert np.abs(small[..., 3] - large.reshape(16, 2, 16, 2, 4).mean((1, 3))[..., 3]).max() <= 1
    (half, *_), _ = photos(project)["train"]
    finer = camera.rays()[1].reshape(16, 2, 16, 2, 3).mean((1, 3)).reshape(-1, 3)
    finer /= np.linalg.norm(finer, axis=1, keepdims=True)
    assert np.allclose(half.rays()[1], finer, atol=1e-3), "a pixel looks where the four did that it covers"
    assert half.pose == camera.pose


def test_a_long_side_brings_larger_photos_down_and_leaves_smaller_ones(tmp_path: Path) -> None:
    project = one_dataset(tmp_path, {"modality": "views", "source": LARGE.model_dump(), "split": {"method": "given"}, "clean": {"long_side": 20}})
    run(project)
    assert {(row["width"], row["height"], row["cx"]) for row in rows(project)} == {(20, 20, 10.0)}
    set_params(project, clean={"long_side": 100})
    run(project)
    assert {(row["width"], row["height"], row["cx"]) for row in rows(project)} == {(32, 32, 16.0)}


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ({"clean": {"downscale": 2, "long_side": 20}}, "downscale and long_side say the same thing twice: set one of them"),
        ({"augment": {"copies": 1}}, "posed photos are not augmented, an altered one is not what its camera saw: leave it at 0"),
        ({"source": {"kind": "scene", "size": 4}}, r"size: .*greater than or equal to 8 \(it is 4\)"),
        ({"source": {"kind": "digits"}}, "digits"),
        ({"split": {"method": "blocks"}}, "blocks"),
    ],
)
def test_a_bad_block_is_named(tmp_path: Path, block: dict[str, object], sentence: str) -> None:
    project = one_dataset(tmp_path, {"modality": "views", "source": SMALL.model_dump(), "split": {"method": "given"}, **block})
    with pytest.raises(UserError, match=rf"params.yaml line \d+: .*{sentence}"):
        run(project)


def test_photos_too_small_or_too_large_are_put_aside(tmp_path: Path) -> None:
    project = exported(tmp_path, clean={"max_pixels": 300})
    edit(project, w=None, h=None)
    reencode(project, FIRST, ".png", "RGBA", (8, 8))
    reencode(project, "train/train-001.png", ".png", "RGBA", (32, 32))
    run(project)
    assert quarantine(project) == {
        FIRST: ("out-of-range", "8x8 pixels, the shorter side must have at least 16 after cleaning"),
        "train/train-001.png": ("out-of-range", "32x32 pixels, allowed are 300 in all"),
    }


def test_a_photo_turned_by_its_exif_is_upright_unless_its_camera_speaks_of_the_stored_pixels(tmp_path: Path) -> None:
    modality = find_modality("views")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(buffer, "JPEG", exif=exif)
    lens = dict.fromkeys(("fl_y", "cx", "cy", "k1", "k2", "k3", "k4", "p1", "p2", "camera_angle_x", "camera_angle_y", "width", "height"))
    row = {**lens, "id": "a", "image": {"bytes": buffer.getvalue(), "path": "a.jpg"}, "pose": np.eye(4).ravel().tolist(), "fl_x": 20.0}
    config = modality.CleanConfig()
    assert modality.examine(row, config, False).form == ("RGB", 20, 30)  # type: ignore[union-attr]
    assert modality.examine({**row, "width": 30, "height": 20}, config, False).form == ("RGB", 30, 20)  # type: ignore[union-attr]


def test_grey_and_sixteen_bit_photos_become_colour(tmp_path: Path) -> None:
    project = exported(tmp_path)
    for path in sorted((files(project)).rglob("*.png")):
        with Image.open(path) as image:
            grey = np.asarray(image.convert("L"))
        Image.fromarray(grey.astype(np.uint16) << 8 if path.stem.endswith("0") else grey).save(path)
    run(project)
    assert {row["mode"] for row in rows(project)} == {"RGB"}


@pytest.mark.slow
def test_the_stages_and_the_gate_accept_a_scene(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", "datasets:\n" + SCENE)
    prepare(project, "scene")
    for cameras, pixels in photos(project, "scene").values():
        assert len(cameras) == len(pixels) > 0
