"""Cameras: rays through pixels, lenses that distort, poses that are none, and walks round a scene."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from components.cameras import Camera, Lens, Orbit, directions, distorted, focus, pose_problem, undistorted

LENS = Lens(fl_x=20.0, fl_y=25.0, cx=7.0, cy=4.0, width=12, height=8)
IDENTITY = tuple(float(value) for value in np.eye(4).ravel())
DISTORTION = (-0.2, 0.05, 0.01, 0.002, 0.003, -0.004)


def turned(**changes: float) -> tuple[float, ...]:
    """The identity with some of its 16 numbers (``_5=2.0``) changed."""
    numbers = list(IDENTITY)
    for place, value in changes.items():
        numbers[int(place[1:])] = value
    return tuple(numbers)


def test_the_principal_point_looks_along_minus_z_and_the_others_right_and_up() -> None:
    seen = directions(np.asarray(LENS.as_row())[None], np.array([[7.0, 4.0], [27.0, 4.0], [7.0, -21.0]]))
    half = math.sqrt(0.5)
    assert np.allclose(seen, [[0, 0, -1], [half, 0, -half], [0, half, -half]])


def test_rays_come_row_by_row_from_the_cameras_place_and_turn_with_it() -> None:
    camera = Orbit((1.0, 2.0, 3.0), 5.0, 30.0, (0.0, 0.0, 1.0)).camera(replace(LENS, cx=6.0), 70)
    origins, seen = camera.rays()
    assert origins.shape == seen.shape == (96, 3)
    assert np.allclose(origins, camera.position)
    assert np.allclose(np.linalg.norm(seen, axis=1), 1)
    middle = seen.reshape(8, 12, 3)[3:5, 5:7].mean((0, 1))
    assert np.allclose(middle / np.linalg.norm(middle), camera.axis)
    assert seen.reshape(8, 12, 3)[0, 6, 2] > seen.reshape(8, 12, 3)[7, 6, 2], "the first row is the upper one"


@pytest.mark.parametrize("distortion", [DISTORTION, (0.1, 0.0, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0, 0.01, 0.02)])
def test_undistortion_is_the_inverse_of_distortion(distortion: tuple[float, ...]) -> None:
    x, y = (side.ravel() for side in np.meshgrid(np.linspace(-0.6, 0.6, 9), np.linspace(-0.4, 0.4, 9)))
    moved = distorted(x, y, distortion)
    assert np.abs(moved[0] - x).max() > 1e-3
    back = undistorted(*moved, distortion)
    assert np.allclose(back, (x, y), atol=1e-10)


def test_a_lens_that_folds_over_still_gives_finite_rays() -> None:
    seen = directions(np.asarray(replace(LENS, k1=-3.0).as_row())[None], np.array([[500.0, 400.0], [0.0, 0.0]]))
    assert np.isfinite(seen).all()


def test_distortion_bends_the_rays_of_the_corners_and_not_that_of_the_middle() -> None:
    pixels = np.array([[7.0, 4.0], [0.0, 0.0]])
    plain, bent = (directions(np.asarray(lens.as_row())[None], pixels) for lens in (LENS, replace(LENS, k1=-0.3)))
    assert np.allclose(plain[0], bent[0])
    assert np.abs(plain[1] - bent[1]).max() > 1e-3


def test_a_resized_lens_sees_the_same_directions() -> None:
    lens = replace(LENS, k1=-0.1, p1=0.01)
    small = lens.resized(6, 4)
    assert (small.fl_x, small.fl_y, small.cx, small.cy, small.width, small.height) == (10.0, 12.5, 3.5, 2.0, 6, 4)
    pixels = np.array([[0.0, 0.0], [12.0, 8.0], [3.0, 5.0]])
    assert np.allclose(directions(np.asarray(lens.as_row())[None], pixels), directions(np.asarray(small.as_row())[None], pixels / 2))


@pytest.mark.parametrize("azimuth", [0.0, 90.0, 200.0])
@pytest.mark.parametrize("elevation", [-90.0, -20.0, 0.0, 45.0, 90.0])
@pytest.mark.parametrize("up", [(0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.3, -0.5, 0.8)])
def test_a_camera_of_an_orbit_looks_at_its_centre_from_its_distance(azimuth: float, elevation: float, up: tuple[float, float, float]) -> None:
    orbit = Orbit((1.0, -2.0, 0.5), 4.0, 30.0, up)
    camera = orbit.camera(LENS, azimuth, elevation)
    assert pose_problem(camera.pose) is None
    away = np.asarray(orbit.centre) - camera.position
    assert np.linalg.norm(away) == pytest.approx(4)
    assert np.allclose(camera.axis, away / 4)
    height = -away / 4 @ np.asarray(up) / np.linalg.norm(up)
    assert math.degrees(math.asin(np.clip(height, -1, 1))) == pytest.approx(elevation, abs=1e-4)
    assert camera.matrix[:3, 1] @ np.asarray(up) >= -1e-9, "upright"


def test_azimuth_nought_is_the_x_axis_and_it_turns_about_up() -> None:
    orbit = Orbit((0.0, 0.0, 0.0), 2.0, 0.0, (0.0, 0.0, 1.0))
    assert np.allclose(orbit.camera(LENS, 0).position, (2, 0, 0))
    assert np.allclose(orbit.camera(LENS, 90).position, (0, 2, 0))
    assert np.allclose(orbit.camera(LENS, 360).pose, orbit.camera(LENS, 0).pose)


def test_the_focus_is_where_the_optical_axes_meet() -> None:
    orbit = Orbit((1.0, 2.0, -3.0), 5.0, 20.0, (0.0, 0.0, 1.0))
    assert np.allclose(focus([orbit.camera(LENS, azimuth, azimuth / 9) for azimuth in (0, 100, 220)]), orbit.centre, atol=1e-4)


def test_cameras_that_all_look_the_same_way_have_a_focus_ahead_of_them() -> None:
    cameras = [Camera(LENS, turned(_3=x, _7=y)) for x, y in ((0.0, 0.0), (2.0, 0.0), (0.0, 2.0), (2.0, 2.0))]
    assert np.allclose(focus(cameras), (1, 1, -1), atol=1e-6)


@pytest.mark.parametrize(
    ("pose", "problem"),
    [
        (None, "it has no 4x4 transform_matrix of numbers"),
        ((1.0,) * 12, r"its transform_matrix is not 4x4 \(12 numbers\)"),
        (turned(_3=math.nan), "holds a value that is not finite"),
        (turned(_0=math.inf), "holds a value that is not finite"),
        (turned(_12=0.5), "the last row of its transform_matrix is 0.5 0 0 1, not 0 0 0 1"),
        (turned(_0=2.0), r"its rotation is not rigid \(R R\^T is 3 away from the identity, det R is 2; allowed is 0.001\)"),
        (turned(_0=-1.0), r"its rotation is not rigid .*det R is -1"),
        (turned(_1=0.1), "its rotation is not rigid"),
        ((0.0,) * 15 + (1.0,), "its rotation is not rigid"),
    ],
)
def test_a_pose_that_is_none_is_told_what_is_wrong_with_it(pose: tuple[float, ...] | None, problem: str) -> None:
    found = pose_problem(pose)
    assert found is not None
    assert re.search(problem, found)


def test_a_pose_with_few_digits_is_good_enough() -> None:
    pose = Orbit((0.0, 0.0, 0.0), 2.0, 33.0, (0.0, 0.0, 1.0)).camera(LENS, 17).pose
    assert pose_problem([round(value, 4) for value in pose]) is None
