"""Pinhole cameras with lens distortion: which ray belongs to which pixel, and orbits round a point.

Poses are camera-to-world in the OpenGL convention of Blender and NeRF: the camera looks along its -z axis, +y is up and +x right. A pixel
(column i, row j) is the square [i, i + 1] x [j, j + 1], so its centre is (i + 0.5, j + 0.5) and ``cx`` of a centred lens is half the width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
UNDISTORT_STEPS = 12
"""Newton steps of the inverse of the distortion; each doubles the digits once it is near."""
RIGID_TOLERANCE = 1e-3
"""How far R R^T may be from the identity, and det R from 1: poses are often written with few digits."""


@dataclass(frozen=True)
class Lens:
    """The inside of a camera, in pixels, and its distortion as OpenCV defines it (nerfstudio's k4 included)."""

    fl_x: float
    fl_y: float
    cx: float
    cy: float
    width: int
    height: int
    k1: float = 0.0
    k2: float = 0.0
    k3: float = 0.0
    k4: float = 0.0
    p1: float = 0.0
    p2: float = 0.0

    def resized(self, width: int, height: int) -> "Lens":
        """The same lens before a picture of another size."""
        across, down = width / self.width, height / self.height
        return replace(
            self, fl_x=self.fl_x * across, fl_y=self.fl_y * down, cx=self.cx * across, cy=self.cy * down, width=width, height=height
        )  # fmt: skip

    @property
    def distorts(self) -> bool:
        return any((self.k1, self.k2, self.k3, self.k4, self.p1, self.p2))

    def as_row(self) -> tuple[float, ...]:
        """fl_x, fl_y, cx, cy, k1, k2, k3, k4, p1, p2: a row of what `directions` takes."""
        return (self.fl_x, self.fl_y, self.cx, self.cy, self.k1, self.k2, self.k3, self.k4, self.p1, self.p2)


@dataclass(frozen=True)
class Camera:
    lens: Lens
    pose: tuple[float, ...]
    """Camera-to-world, 16 numbers row by row."""

    @property
    def matrix(self) -> Array:
        """The pose, [4, 4]."""
        return np.asarray(self.pose, dtype=np.float64).reshape(4, 4)

    @property
    def position(self) -> Array:
        return self.matrix[:3, 3]

    @property
    def axis(self) -> Array:
        """The unit vector along which it looks."""
        return -self.matrix[:3, 2]

    def rays(self) -> tuple[Array, Array]:
        """Origins and unit directions of all pixels row by row, each [H * W, 3], in world coordinates."""
        rows, columns = np.divmod(np.arange(self.lens.width * self.lens.height), self.lens.width)
        seen = directions(np.asarray(self.lens.as_row())[None], np.stack([columns + 0.5, rows + 0.5], axis=1))
        return np.broadcast_to(self.position, seen.shape), seen @ self.matrix[:3, :3].T


@dataclass(frozen=True)
class Orbit:
    """Where a viewer walks round a scene: cameras at ``radius`` from ``centre`` that look at it."""

    centre: tuple[float, float, float]
    radius: float
    elevation: float
    """Degrees above the plane through the centre, as the photos had it on average."""
    up: tuple[float, float, float]

    def camera(self, lens: Lens, azimuth: float, elevation: float | None = None) -> Camera:
        """The camera at ``azimuth`` and ``elevation`` (degrees; None takes the orbit's own); azimuth 0 is the world's x axis, turning about ``up``."""
        first, second, up = _frame(np.asarray(self.up, dtype=np.float64))
        around, above = math.radians(azimuth), math.radians(self.elevation if elevation is None else elevation)
        outwards = math.cos(above) * (math.cos(around) * first + math.sin(around) * second) + math.sin(above) * up
        # Above a pole "up" says nothing of how the picture is turned: the way in which the azimuth grows does.
        right = -math.sin(around) * first + math.cos(around) * second
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(outwards, right), outwards, np.asarray(self.centre) + self.radius * outwards], axis=1)
        return Camera(lens, tuple(float(value) for value in pose.ravel()))


def directions(lenses: Array, pixels: Array) -> Array:
    """Unit directions [N, 3] in the camera's own axes of ``pixels`` [N, 2] (column, row), each through its row of ``lenses`` ([N, 10] or [1, 10])."""
    fl_x, fl_y, cx, cy, *distortion = np.moveaxis(np.asarray(lenses, dtype=np.float64), -1, 0)
    x, y = (pixels[:, 0] - cx) / fl_x, (pixels[:, 1] - cy) / fl_y
    if any(np.any(value) for value in distortion):
        x, y = undistorted(x, y, distortion)
    # Pictures count rows downwards and cameras look along -z.
    seen = np.stack([x, -y, -np.ones_like(x)], axis=1)
    return seen / np.linalg.norm(seen, axis=1, keepdims=True)


def distorted(x: Array, y: Array, distortion: Sequence[Any]) -> tuple[Array, Array]:
    """Where the lens puts the point (x, y) of the plane at distance 1; ``distortion`` is k1, k2, k3, k4, p1, p2."""
    k1, k2, k3, k4, p1, p2 = distortion
    r = x * x + y * y
    radial = 1 + r * (k1 + r * (k2 + r * (k3 + r * k4)))
    return x * radial + 2 * p1 * x * y + p2 * (r + 2 * x * x), y * radial + 2 * p2 * x * y + p1 * (r + 2 * y * y)


def undistorted(x: Array, y: Array, distortion: Sequence[Any]) -> tuple[Array, Array]:
    """The inverse of `distorted` by Newton's method; where the lens folds over (far outside any real picture) a point stays where it is best."""
    k1, k2, k3, k4, p1, p2 = distortion
    u, v = np.array(x, dtype=np.float64), np.array(y, dtype=np.float64)
    for _ in range(UNDISTORT_STEPS):
        at_x, at_y = distorted(u, v, distortion)
        r = u * u + v * v
        radial, slope = 1 + r * (k1 + r * (k2 + r * (k3 + r * k4))), k1 + r * (2 * k2 + r * (3 * k3 + r * 4 * k4))
        du_x = radial + 2 * u * u * slope + 2 * p1 * v + 6 * p2 * u
        dv_y = radial + 2 * v * v * slope + 2 * p2 * u + 6 * p1 * v
        cross = 2 * u * v * slope + 2 * p1 * u + 2 * p2 * v
        determinant = du_x * dv_y - cross * cross
        safe = np.where(np.abs(determinant) > 1e-9, determinant, 1.0)
        step_u, step_v = ((at_x - x) * dv_y - (at_y - y) * cross) / safe, ((at_y - y) * du_x - (at_x - x) * cross) / safe
        u, v = u - np.clip(step_u, -0.5, 0.5), v - np.clip(step_v, -0.5, 0.5)
    return u, v


def pose_problem(pose: Sequence[float] | None) -> str | None:
    """What is wrong with a camera-to-world matrix in half a sentence, or None."""
    if pose is None or len(pose) != 16:
        return f"its transform_matrix is not 4x4 ({len(pose)} numbers)" if pose is not None else "it has no 4x4 transform_matrix of numbers"
    matrix = np.asarray(pose, dtype=np.float64).reshape(4, 4)
    if not np.isfinite(matrix).all():
        return "its transform_matrix holds a value that is not finite"
    if not np.allclose(matrix[3], (0, 0, 0, 1), atol=1e-6):
        return f"the last row of its transform_matrix is {_listed(matrix[3])}, not 0 0 0 1"
    rotation = matrix[:3, :3]
    error, determinant = float(np.abs(rotation @ rotation.T - np.eye(3)).max()), float(np.linalg.det(rotation))
    if error > RIGID_TOLERANCE or abs(determinant - 1) > RIGID_TOLERANCE:
        return f"its rotation is not rigid (R R^T is {error:.3g} away from the identity, det R is {determinant:.4g}; allowed is {RIGID_TOLERANCE:g})"
    return None


def focus(cameras: Sequence[Camera]) -> Array:
    """The point closest to all optical axes (least squares), [3]; cameras that all look the same way leave it between them."""
    axes, positions = np.stack([camera.axis for camera in cameras]), np.stack([camera.position for camera in cameras])
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    # A little pull towards one step ahead of the cameras settles the directions that parallel axes leave open.
    ahead, pull = (positions + axes).mean(0), 1e-6 * len(cameras)
    return np.linalg.solve(across.sum(0) + pull * np.eye(3), (across @ positions[:, :, None]).sum(0)[:, 0] + pull * ahead)


def _frame(up: Array) -> tuple[Array, Array, Array]:
    """Two unit vectors of the plane below ``up``, the first as near to the world's x axis as can be, and ``up`` itself."""
    up = up / np.linalg.norm(up)
    axis = np.array([1.0, 0.0, 0.0]) if abs(up[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    first = axis - (axis @ up) * up
    first = first / np.linalg.norm(first)
    return first, np.cross(up, first), up


def _listed(values: Array) -> str:
    return " ".join(f"{value:g}" for value in values)
