"""Posed photos of one's own: every form in which cameras are written gives the same rays, and every mistake its sentence."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.cameras import directions
from components.data.sources.scene import FIELD_OF_VIEW
from components.errors import UserError
from tests.data.scenes import SMALL, edit, edit_frame, exported, only_quarantined, photos, reencode, same
from tests.data.workbench import files, one_dataset, quarantine, rows, run, set_params

FIRST = "train/train-000.png"


def changed(row: int, column: int, value: Any) -> list[list[Any]]:
    """The identity with one number changed."""
    matrix = np.eye(4).tolist()
    matrix[row][column] = value
    return matrix


def test_both_forms_and_the_scene_itself_give_the_same_cameras_and_pixels(tmp_path: Path) -> None:
    found = []
    for form in ("nerfstudio", "blender"):
        project = exported(tmp_path / form, form)  # type: ignore[arg-type]
        manifest = run(project)
        assert {split: manifest.rows(split) for split in ("train", "validation", "test")} == {"train": 5, "validation": 2, "test": 3}  # type: ignore[arg-type]
        assert manifest.dropped == {}
        found.append(photos(project))
    (tmp_path / "own").mkdir()
    own = one_dataset(tmp_path / "own", {"modality": "views", "source": SMALL.model_dump(), "split": {"method": "given"}})
    run(own)
    same(found[0], found[1])
    same(found[0], photos(own))


def test_a_photo_that_fits_keeps_its_bytes(tmp_path: Path) -> None:
    project = exported(tmp_path)
    run(project)
    for row in rows(project):
        assert row["image"]["bytes"] == (files(project) / row["id"]).read_bytes()


def test_the_path_may_be_the_file_itself_or_absolute_and_names_may_be_written_by_windows(tmp_path: Path) -> None:
    project = exported(tmp_path)
    run(project)
    expected = photos(project)
    whole = json.loads((files(project) / "transforms.json").read_text())
    for frame in whole["frames"]:
        frame["file_path"] = ".\\" + frame["file_path"].replace("/", "\\")
    edit(project, frames=whole["frames"])
    set_params(project, source={"path": str(files(project) / "transforms.json")})
    run(project)
    same(expected, photos(project))


def test_photos_without_lists_of_splits_are_dealt_by_hash(tmp_path: Path) -> None:
    project = exported(tmp_path)
    edit(project, train_filenames=None, val_filenames=None, test_filenames=None)
    with pytest.raises(UserError, match=r"the source gives no split for some rows: set datasets.mine.split.method to hash"):
        run(project)
    set_params(project, split={"method": "hash", "train": 0.6, "validation": 0.0, "test": 0.4})
    manifest = run(project)
    assert manifest.rows() == 10
    assert 0 < manifest.rows("test") < 10


def test_lists_of_splits_win_and_a_photo_in_none_of_them_is_trained_on(tmp_path: Path) -> None:
    project = exported(tmp_path)
    edit(project, train_filenames=None, val_filenames=["./test/test-000"], test_filenames=["train/train-000.png", "validation/validation-001.png"])
    run(project)
    splits = {row["id"]: row["split"] for row in rows(project)}
    assert [name for name, split in splits.items() if split == "test"] == ["train/train-000.png", "validation/validation-001.png"]
    assert [name for name, split in splits.items() if split == "validation"] == ["test/test-000.png"]


def test_an_angle_a_focal_length_and_one_per_frame_are_the_same_lens(tmp_path: Path) -> None:
    project = exported(tmp_path)
    run(project)
    expected = photos(project)
    whole = json.loads((files(project) / "transforms.json").read_text())
    edit(project, fl_x=None, fl_y=None, camera_angle_x=FIELD_OF_VIEW)
    run(project)
    same(expected, photos(project))
    lens = {name: whole[name] for name in ("fl_x", "fl_y", "cx", "cy", "w", "h")}
    edit(project, camera_angle_x=None, frames=[{**frame, **lens} for frame in whole["frames"]], **dict.fromkeys(lens))
    run(project)
    same(expected, photos(project))


def test_a_frames_own_intrinsics_win_over_the_files(tmp_path: Path) -> None:
    project = exported(tmp_path)
    edit_frame(project, 0, fl_x=50.0, cx=7.5, k1=-0.1)
    run(project)
    lenses = [camera.lens for camera in photos(project)["train"][0]]
    assert (lenses[0].fl_x, lenses[0].cx, lenses[0].k1) == (50.0, 7.5, -0.1)
    assert (lenses[1].cx, lenses[1].k1) == (8.0, 0.0)
    assert lenses[1].fl_x == pytest.approx(8 / math.tan(FIELD_OF_VIEW / 2))


def test_distortion_reaches_the_rays(tmp_path: Path) -> None:
    project = exported(tmp_path)
    run(project)
    plain = photos(project)["train"][0][0]
    edit(project, camera_model="OPENCV", k1=-0.2, k2=0.03, p1=0.01, p2=-0.02)
    run(project)
    bent = photos(project)["train"][0][0]
    assert (bent.lens.k1, bent.lens.k2, bent.lens.p1, bent.lens.p2) == (-0.2, 0.03, 0.01, -0.02)
    assert np.abs(bent.rays()[1] - plain.rays()[1]).max() > 1e-3
    assert np.allclose(directions(np.asarray(bent.lens.as_row())[None], np.array([[8.0, 8.0]])), [[0, 0, -1]])


def test_a_matrix_may_leave_its_last_row_out(tmp_path: Path) -> None:
    project = exported(tmp_path)
    whole = json.loads((files(project) / "transforms.json").read_text())
    run(project)
    expected = photos(project)
    edit(project, frames=[{**frame, "transform_matrix": frame["transform_matrix"][:3]} for frame in whole["frames"]])
    run(project)
    same(expected, photos(project))


@pytest.mark.parametrize(("suffix", "mode"), [(".png", "RGBA"), (".png", "RGB"), (".jpg", "RGB")])
def test_png_and_jpeg_with_and_without_alpha_are_read(tmp_path: Path, suffix: str, mode: str) -> None:
    project = exported(tmp_path)
    run(project)
    expected = photos(project)
    frames = json.loads((files(project) / "transforms.json").read_text())["frames"]
    names = {frame["file_path"]: reencode(project, frame["file_path"], suffix, mode) for frame in frames}
    lists = {f"{part}_filenames": [new for new in names.values() if new.startswith(part)] for part in ("train", "val", "test")}
    edit(project, frames=[{**frame, "file_path": names[frame["file_path"]]} for frame in frames], **lists)
    run(project)
    assert {row["mode"] for row in rows(project)} == {mode}
    off = np.abs(photos(project)["test"][1].astype(int) - expected["test"][1])
    assert off.mean() < (2 if suffix == ".jpg" else 0.6)
    if suffix == ".jpg":
        assert all(row["image"]["bytes"] == (files(project) / row["id"]).read_bytes() for row in rows(project)), "it loses nothing by coding it anew"


def test_where_some_photos_have_alpha_all_get_it(tmp_path: Path) -> None:
    project = exported(tmp_path)
    reencode(project, FIRST, ".png", "RGB")
    run(project)
    assert {row["mode"] for row in rows(project)} == {"RGBA"}


def test_a_new_photo_or_an_edited_camera_makes_new_data_and_nothing_else_does(tmp_path: Path) -> None:
    project = exported(tmp_path)
    first = run(project).sha256
    assert run(project).sha256 == first
    edit_frame(project, 0, fl_x=50.0)
    assert run(project).sha256 != first


# -- what is wrong with the folder ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, r"holds neither transforms.json nor transforms_train.json: put the file with the cameras there, or mend source.path"),
        ("{frames:", r"transforms.json is not JSON \(.*\): mend it or export it again"),
        ("[]", r"has no frames: it needs a list `frames` with file_path and transform_matrix of each photo"),
        ('{"frames": []}', "has no frames"),
        ('{"frames": {"a": 1}}', "has no frames"),
        ('{"frames": [1]}', "has no frames"),
        ('{"frames": [{"transform_matrix": []}]}', "1 of the 1 frames in .* name no photo: give each one its file_path"),
        (
            '{"fl_x": 3, "frames": [{"file_path": "a.png"}, {"file_path": "b.png"}]}',
            r"none of the 2 images that ../files names is there; the first is .*a.png: put",
        ),
    ],
)
def test_a_file_that_cannot_be_read_at_all_gets_one_sentence(tmp_path: Path, content: str | None, sentence: str) -> None:
    project = exported(tmp_path)
    (files(project) / "transforms.json").unlink()
    if content is not None:
        (files(project) / "transforms.json").write_text(content)
    with pytest.raises(UserError, match=sentence) as error:
        run(project)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_not_there_gets_one_sentence(tmp_path: Path) -> None:
    project = exported(tmp_path)
    set_params(project, source={"path": "../nowhere"})
    with pytest.raises(UserError, match=r"there is no folder or file .*nowhere: give source.path one that exists"):
        run(project)


def test_without_any_angle_or_focal_length_no_ray_is_known(tmp_path: Path) -> None:
    project = exported(tmp_path)
    edit(project, fl_x=None, fl_y=None)
    with pytest.raises(UserError, match=r"gives neither fl_x nor camera_angle_x, so no ray is known: add one of them to the file"):
        run(project)


def test_a_lens_of_another_model_is_refused(tmp_path: Path) -> None:
    project = exported(tmp_path)
    edit(project, camera_model="OPENCV_FISHEYE")
    with pytest.raises(UserError, match=r"cameras of model OPENCV_FISHEYE, and only OPENCV, .* are known: undistort the photos first"):
        run(project)


def test_a_scene_without_test_photos_is_refused_with_the_fix(tmp_path: Path) -> None:
    project = exported(tmp_path)
    edit(project, test_filenames=None)
    with pytest.raises(UserError, match=r"the source gives no test rows: add some, or set datasets.mine.split.method to hash"):
        run(project)


def test_photos_of_several_sizes_are_refused_with_the_fix(tmp_path: Path) -> None:
    project = exported(tmp_path)
    edit(project, w=None, h=None, cx=None, cy=None, fl_x=None, fl_y=None, camera_angle_x=FIELD_OF_VIEW)
    reencode(project, FIRST, ".png", "RGBA", (32, 32))
    with pytest.raises(UserError, match=r"the photos have 2 different sizes \(16x16: 9, 32x32: 1\), and a scene needs one: set clean.long_side to 16"):
        run(project)
    set_params(project, clean={"long_side": 16})
    run(project)
    assert {(row["width"], row["height"]) for row in rows(project)} == {(16, 16)}
    assert len({camera.lens.fl_x for camera in photos(project)["train"][0]}) == 1, "the larger photo's lens is scaled with it"


def test_photos_of_several_shapes_are_refused_with_the_fix(tmp_path: Path) -> None:
    project = exported(tmp_path)
    edit(project, w=None, h=None)
    reencode(project, FIRST, ".png", "RGBA", (32, 16))
    with pytest.raises(UserError, match=r"2 different sizes .*: take the others out of the source, or crop them there and mend cx and cy"):
        run(project)


# -- what is wrong with one photo -----------------------------------------------------------------------------------


def test_a_missing_photo_is_put_aside_and_the_others_are_used(tmp_path: Path) -> None:
    project = exported(tmp_path)
    (files(project) / FIRST).unlink()
    manifest = run(project)
    assert only_quarantined(project) == (FIRST, "incomplete", "its image is missing or empty")
    assert manifest.rows("train") == 4


@pytest.mark.parametrize(
    ("matrix", "reason", "detail"),
    [
        (None, "incomplete", "it has no 4x4 transform_matrix of numbers"),
        ("none", "incomplete", "it has no 4x4 transform_matrix of numbers"),
        ([[1, 2], ["a", 3]], "incomplete", "it has no 4x4 transform_matrix of numbers"),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], "corrupt", "its transform_matrix is not 4x4 (9 numbers)"),
        (changed(0, 3, math.nan), "corrupt", "its transform_matrix holds a value that is not finite"),
        (changed(0, 3, math.inf), "corrupt", "its transform_matrix holds a value that is not finite"),
        (changed(3, 0, 1.0), "corrupt", "the last row of its transform_matrix is 1 0 0 1, not 0 0 0 1"),
        (changed(0, 0, 2.0), "corrupt", "its rotation is not rigid (R R^T is 3 away from the identity, det R is 2; allowed is 0.001)"),
        (changed(2, 2, -1.0), "corrupt", "its rotation is not rigid (R R^T is 0 away from the identity, det R is -1; allowed is 0.001)"),
    ],
)
def test_a_photo_with_a_bad_matrix_is_put_aside_and_told_why(tmp_path: Path, matrix: Any, reason: str, detail: str) -> None:
    project = exported(tmp_path)
    edit_frame(project, 0, transform_matrix=matrix)
    run(project)
    assert only_quarantined(project) == (FIRST, reason, detail)


@pytest.mark.parametrize(
    ("lens", "reason", "detail"),
    [
        ({"fl_x": -4.0}, "out-of-range", "its focal length is -4 by"),
        ({"fl_x": 0}, "out-of-range", "it must be above zero"),
        ({"fl_x": math.nan}, "out-of-range", "it must be above zero"),
        ({"cx": math.inf}, "corrupt", "an intrinsic of its camera is not finite"),
        ({"w": 32}, "out-of-range", "the photo has 16x16 pixels, but its camera speaks of 32x16"),
    ],
)
def test_a_photo_with_a_bad_lens_is_put_aside_and_told_why(tmp_path: Path, lens: dict[str, float], reason: str, detail: str) -> None:
    project = exported(tmp_path)
    edit_frame(project, 0, **lens)
    run(project)
    found = only_quarantined(project)
    assert found[:2] == (FIRST, reason)
    assert detail in found[2]


def test_a_photo_alone_without_a_focal_length_is_put_aside(tmp_path: Path) -> None:
    project = exported(tmp_path)
    frames = json.loads((files(project) / "transforms.json").read_text())["frames"]
    edit(project, fl_x=None, fl_y=None, frames=[frames[0], *({**frame, "fl_x": 20.0} for frame in frames[1:])])
    run(project)
    assert only_quarantined(project) == (FIRST, "incomplete", "neither a focal length (fl_x) nor an angle (camera_angle_x) is known")


def test_damaged_tiny_and_repeated_photos_are_put_aside(tmp_path: Path) -> None:
    project = exported(tmp_path)
    (files(project) / FIRST).write_bytes((files(project) / FIRST).read_bytes()[:150])
    (files(project) / "train/train-001.png").write_bytes(b"no picture")
    (files(project) / "train/train-003.png").write_bytes((files(project) / "train/train-002.png").read_bytes())
    run(project)
    assert {name: reason for name, (reason, _) in quarantine(project).items()} == {
        FIRST: "corrupt", "train/train-001.png": "corrupt", "train/train-003.png": "duplicate",
    }  # fmt: skip


def test_when_no_photo_is_usable_the_first_reason_is_told(tmp_path: Path) -> None:
    project = exported(tmp_path)
    frames = json.loads((files(project) / "transforms.json").read_text())["frames"]
    edit(project, frames=[{**frame, "transform_matrix": changed(0, 0, 2.0)} for frame in frames])
    with pytest.raises(UserError, match=r"none of its 10 rows is usable; the first, train/train-000.png, is corrupt \(its rotation is not rigid"):
        run(project)
