"""A small scene of our own, traced ray by ray: what the embedded source `scene` photographs.

A chequered ball, a striped box, a torus and a marble on a round table, lit by one lamp with shadows and a slight gloss. Nothing lies behind it: rays that
miss have opacity 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.cameras import Camera

Array = np.ndarray[Any, np.dtype[np.float64]]
LAMP = np.array([0.45, -0.35, 0.82]) / np.linalg.norm([0.45, -0.35, 0.82])
AMBIENT, GLOSS, SHININESS = 0.35, 0.25, 24
SAMPLES_ACROSS = 3
"""Rays per pixel and direction; more smooth the edges."""
_FAR = np.inf
_EPSILON = 1e-4
_TORUS_STEPS = 24


@dataclass(frozen=True)
class Thing:
    """A body: where a ray first meets it, which way its surface looks, and its colour."""

    meet: Callable[[Array, Array], Array]
    """Origins and directions [N, 3] to distances [N], infinite for a miss."""
    normal: Callable[[Array], Array]
    """Points [N, 3] to unit normals."""
    colour: Callable[[Array], Array]
    """Points [N, 3] to RGB in [0, 1]."""


def photograph(camera: Camera) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """What ``camera`` sees as RGBA bytes [H, W, 4], each pixel the mean of several rays; colours are not multiplied by alpha."""
    lens, across = camera.lens, SAMPLES_ACROSS
    fine = Camera(lens.resized(lens.width * across, lens.height * across), camera.pose)
    origins, directions = fine.rays()
    near = np.isfinite(_HULL.meet(origins, directions))
    colours, hit = np.zeros(directions.shape), np.zeros(len(directions))
    colours[near], hit[near] = trace(origins[near], directions[near])
    shape = (lens.height, across, lens.width, across)
    alpha = hit.reshape(shape).mean((1, 3))
    summed = (colours * hit[:, None]).reshape(*shape, 3).mean((1, 3))
    rgb = np.divide(summed, alpha[..., None], out=np.zeros_like(summed), where=alpha[..., None] > 0)
    return np.rint(255 * np.concatenate([rgb, alpha[..., None]], axis=-1)).astype(np.uint8)


def trace(origins: Array, directions: Array) -> tuple[Array, Any]:
    """RGB [N, 3] in [0, 1] of rays, and whether they meet anything [N]."""
    distances = np.stack([thing.meet(origins, directions) for thing in THINGS])
    nearest = distances.argmin(0)
    distance = distances.min(0)
    colours = np.zeros_like(origins)
    for index, thing in enumerate(THINGS):
        mine = (nearest == index) & np.isfinite(distance)
        if mine.any():
            points = origins[mine] + distance[mine, None] * directions[mine]
            colours[mine] = _shaded(thing, points, directions[mine])
    return colours, np.isfinite(distance)


def _shaded(thing: Thing, points: Array, directions: Array) -> Array:
    normals = thing.normal(points)
    facing = np.clip(normals @ LAMP, 0, None)
    above = points + 10 * _EPSILON * normals
    towards = np.broadcast_to(LAMP, above.shape)
    lit = ~np.isfinite(np.min([other.meet(above, towards) for other in THINGS], axis=0)) & (facing > 0)
    mirrored = directions - 2 * (directions * normals).sum(1, keepdims=True) * normals
    gloss = GLOSS * np.clip(mirrored @ LAMP, 0, None) ** SHININESS * lit
    return np.clip(thing.colour(points) * (AMBIENT + (1 - AMBIENT) * facing * lit)[:, None] + gloss[:, None], 0, 1)


def ball(centre: tuple[float, float, float], radius: float, colour: Callable[[Array], Array]) -> Thing:
    middle = np.asarray(centre)

    def meet(origins: Array, directions: Array) -> Array:
        offset = origins - middle
        half, rest = (offset * directions).sum(1), (offset * offset).sum(1) - radius**2
        root = half * half - rest
        depth = np.sqrt(np.clip(root, 0, None))
        near, far = -half - depth, -half + depth
        distance = np.where(near > _EPSILON, near, far)
        return np.where((root > 0) & (distance > _EPSILON), distance, _FAR)

    return Thing(meet, lambda points: (points - middle) / radius, lambda points: colour(points - middle))


def box(centre: tuple[float, float, float], half: tuple[float, float, float], turn: float, colour: Callable[[Array], Array]) -> Thing:
    """A box turned by ``turn`` radians about the z axis."""
    middle, sides = np.asarray(centre), np.asarray(half)
    cos, sin = np.cos(turn), np.sin(turn)
    turned = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])

    def meet(origins: Array, directions: Array) -> Array:
        start, along = (origins - middle) @ turned, directions @ turned
        along = np.where(np.abs(along) < 1e-12, 1e-12, along)
        one, two = (-sides - start) / along, (sides - start) / along
        near, far = np.minimum(one, two).max(1), np.maximum(one, two).min(1)
        return np.where((near < far) & (near > _EPSILON), near, _FAR)

    def normal(points: Array) -> Array:
        local = (points - middle) @ turned
        face = np.abs(local / sides).argmax(1)
        found = np.zeros_like(local)
        found[np.arange(len(local)), face] = np.sign(local[np.arange(len(local)), face])
        return found @ turned.T

    return Thing(meet, normal, lambda points: colour((points - middle) @ turned))


def disc(centre: tuple[float, float, float], radius: float, thickness: float, colour: Callable[[Array], Array]) -> Thing:
    """A flat cylinder; ``centre`` is the middle of its top."""
    middle = np.asarray(centre)

    def meet(origins: Array, directions: Array) -> Array:
        start = origins - middle
        drop = np.where(np.abs(directions[:, 2]) < 1e-12, 1e-12, directions[:, 2])
        found = np.full(len(origins), _FAR)
        for height in (0.0, -thickness):
            distance = (height - start[:, 2]) / drop
            across = start[:, :2] + distance[:, None] * directions[:, :2]
            found = np.where(((across**2).sum(1) < radius**2) & (distance > _EPSILON), np.minimum(found, distance), found)
        return np.minimum(found, _meet_rim(start, directions, radius, thickness))

    def normal(points: Array) -> Array:
        local = points - middle
        outwards = np.concatenate([local[:, :2] / radius, np.zeros((len(local), 1))], axis=1)
        flat = np.where(local[:, 2:] > -thickness / 2, 1.0, -1.0) * np.array([0.0, 0.0, 1.0])
        on_rim = (np.abs((local[:, :2] ** 2).sum(1) - radius**2) < 1e-4) & (local[:, 2] < -_EPSILON)
        return np.where(on_rim[:, None], outwards, flat)

    return Thing(meet, normal, lambda points: colour(points - middle))


def _meet_rim(start: Array, directions: Array, radius: float, thickness: float) -> Array:
    flat = np.clip((directions[:, :2] ** 2).sum(1), 1e-12, None)
    half = (start[:, :2] * directions[:, :2]).sum(1) / flat
    root = half * half - ((start[:, :2] ** 2).sum(1) - radius**2) / flat
    distance = -half - np.sqrt(np.clip(root, 0, None))
    height = start[:, 2] + distance * directions[:, 2]
    return np.where((root > 0) & (distance > _EPSILON) & (height < 0) & (height > -thickness), distance, _FAR)


def torus(centre: tuple[float, float, float], radius: float, tube: float, colour: Callable[[Array], Array]) -> Thing:
    """A ring that lies flat; met by sphere tracing, as its exact equation is of the fourth degree."""
    middle = np.asarray(centre)
    hull = ball(centre, radius + tube, colour)

    def gap(points: Array) -> Array:
        return np.hypot(np.hypot(points[:, 0], points[:, 1]) - radius, points[:, 2]) - tube

    def meet(origins: Array, directions: Array) -> Array:
        inside = ((origins - middle) ** 2).sum(1) < (radius + tube) ** 2
        begin = np.where(inside, 0.0, hull.meet(origins, directions))
        near = np.flatnonzero(np.isfinite(begin))
        start, along = origins[near] - middle, directions[near]
        distance = begin[near]
        for _ in range(_TORUS_STEPS):
            distance = distance + gap(start + distance[:, None] * along)
        ends = start + distance[:, None] * along
        found = np.full(len(origins), _FAR)
        found[near] = np.where((gap(ends) < 1e-3) & (distance > 5 * _EPSILON), distance, _FAR)
        return found

    def normal(points: Array) -> Array:
        local = points - middle
        ring = local.copy()
        ring[:, 2] = 0
        ring = ring / np.linalg.norm(ring, axis=1, keepdims=True) * radius
        outwards: Array = (local - ring) / np.linalg.norm(local - ring, axis=1, keepdims=True)
        return outwards

    return Thing(meet, normal, lambda points: colour(points - middle))


def plain(rgb: tuple[float, float, float]) -> Callable[[Array], Array]:
    return lambda points: np.broadcast_to(np.asarray(rgb), points.shape)


def _either(first: tuple[float, float, float], second: tuple[float, float, float], choose: Callable[[Array], Any]) -> Callable[[Array], Array]:
    return lambda points: np.where(choose(points)[:, None], np.asarray(first), np.asarray(second))


def _chequered(points: Array) -> Any:
    """Eight sectors by four bands of a ball."""
    around = np.arctan2(points[:, 1], points[:, 0])
    height = points[:, 2] / np.linalg.norm(points, axis=1)
    return (np.floor(around * 4 / np.pi) + np.floor((height + 1) * 2)) % 2 == 0


def _striped(points: Array) -> Any:
    return np.floor((points[:, 2] + 0.35) / 0.15) % 2 == 0


THINGS = (
    disc((0.0, 0.0, -0.45), 1.15, 0.08, _either((0.86, 0.80, 0.68), (0.55, 0.42, 0.30), lambda p: np.floor(p[:, :2] / 0.46).sum(1) % 2 == 0)),
    ball((-0.38, 0.28, 0.0), 0.45, _either((0.85, 0.14, 0.12), (0.97, 0.93, 0.88), _chequered)),
    box((0.50, 0.38, -0.10), (0.26, 0.26, 0.35), 0.5, _either((0.12, 0.30, 0.75), (0.98, 0.80, 0.16), _striped)),
    torus((0.22, -0.52, -0.31), 0.32, 0.13, plain((0.10, 0.58, 0.34))),
    ball((-0.55, -0.55, -0.25), 0.20, plain((0.62, 0.25, 0.70))),
)  # fmt: skip
_HULL = ball((0.0, 0.0, 0.0), 1.3, plain((0.0, 0.0, 0.0)))
"""Everything lies inside: rays that miss it are not traced."""
