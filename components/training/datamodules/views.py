"""Batches of rays through the pixels of all posed photos: `origins`, `directions` (unit length) and `rgb`, each float32 [B, 3], in world coordinates."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from components.cameras import Camera, Orbit, directions, focus
from components.data.dataset import Dataset, Split
from components.data.modalities import Additions
from components.data.photos import has_alpha, read_photos
from components.errors import UserError
from components.models.capabilities import DataSpec, SceneSpec
from components.models.family import TrainingConfig, ViewsTrainingConfig
from components.training.datamodules import Batch
from components.training.datamodules.order import epoch_generator

LEAST_VIEWS = 3
"""With fewer, nothing says how far away anything is."""
MOST_VALIDATION_RAYS = 2**15
FAR_AWAY = 100.0
"""How many radii away the farthest matter of an unbounded scene may be."""
BACKGROUNDS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}


def describe(dataset: Dataset, config: TrainingConfig, cache: Path) -> DataSpec:
    """The scene as the training cameras tell it: they look at its middle, and it fits in their pictures."""
    assert isinstance(config, ViewsTrainingConfig)
    cameras = read_photos(dataset, "train", BACKGROUNDS[config.background]).cameras
    if len(cameras) < LEAST_VIEWS:
        raise UserError(
            f"Dataset {dataset.name!r} has {len(cameras)} photos to train on and a scene needs at least {LEAST_VIEWS}: "
            f"add photos, or give train a larger part in datasets.{dataset.name}.split."
        )
    return DataSpec(modality="views", channels=3, scene=scene_of(cameras, config, unbounded=not has_alpha(dataset)))


def scene_of(cameras: tuple[Camera, ...], config: ViewsTrainingConfig, *, unbounded: bool) -> SceneSpec:
    """Bounds and orbit from the cameras of the training photos."""
    centre = focus(cameras)
    distances = np.linalg.norm(np.stack([camera.position for camera in cameras]) - centre, axis=1)
    distance = float(np.median(distances))
    radius = config.scene_radius or distance * float(np.median([_half_width(camera) for camera in cameras]))
    corner = math.sqrt(3) * radius
    near = max(float(distances.min()) - corner, 0.02 * distance)
    far = float(distances.max()) + (FAR_AWAY * radius if unbounded else corner)
    middle = (float(centre[0]), float(centre[1]), float(centre[2]))
    return SceneSpec(middle, radius, near, far, BACKGROUNDS[config.background], unbounded, cameras[0].lens, _orbit(cameras, middle, distance))


def _half_width(camera: Camera) -> float:
    """What half the narrower side of the picture spans at distance 1."""
    lens = camera.lens
    return min(lens.width / lens.fl_x, lens.height / lens.fl_y) / 2


def _orbit(cameras: tuple[Camera, ...], centre: tuple[float, float, float], distance: float) -> Orbit:
    """Up is where the cameras' own "up" points on average, brought to a world axis that it nearly is; the elevation is their mean one."""
    mean = np.mean([camera.matrix[:3, 1] for camera in cameras], axis=0)
    length = float(np.linalg.norm(mean))
    up = mean / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])
    axis = np.eye(3)[np.abs(up).argmax()] * np.sign(up[np.abs(up).argmax()])
    up = axis if float(axis @ up) > 0.9 else up
    outwards = np.stack([camera.position for camera in cameras]) - np.asarray(centre)
    rise = np.clip(outwards @ up / np.linalg.norm(outwards, axis=1), -1, 1)
    return Orbit(centre, distance, math.degrees(float(np.arcsin(rise).mean())), (float(up[0]), float(up[1]), float(up[2])))


def prepare(dataset: Dataset, config: TrainingConfig, data_spec: DataSpec, seed: int, changes: Additions | None = None) -> "RayBatches":
    assert changes is None, "posed photos are never altered"
    assert data_spec.scene is not None
    return RayBatches(dataset, config.batch_size, data_spec.scene.background, seed)


class RayBatches:
    """All pixels as bytes in memory; a batch is drawn from all of them with replacement, which needs no order of a hundred million pixels."""

    def __init__(self, dataset: Dataset, batch_size: int, background: tuple[float, float, float], seed: int) -> None:
        self.batch_size, self.seed = batch_size, seed
        self._train = PixelRays(dataset, "train", background)
        self._validation = PixelRays(dataset, "validation", background)

    def train(self, step: int) -> Batch:
        generator = epoch_generator(self.seed, step)
        return self._train.take(torch.randint(self._train.num, (self.batch_size,), generator=generator))

    def validation(self) -> Iterator[Batch]:
        """The validation photos, thinned evenly where they have more than MOST_VALIDATION_RAYS pixels."""
        kept = min(self._validation.num, MOST_VALIDATION_RAYS)
        chosen = torch.arange(kept) * self._validation.num // max(kept, 1)
        return (self._validation.take(chunk) for chunk in chosen.split(self.batch_size) if len(chunk))

    def originals(self) -> Iterator[Batch]:
        return (self._train.take(chunk) for chunk in torch.arange(self._train.num).split(self.batch_size))

    def close(self) -> None:
        """Nothing runs in the background."""


class PixelRays:
    """The rays of the photos of a split, by the number of their pixel: photo by photo, row by row."""

    def __init__(self, dataset: Dataset, split: Split, background: tuple[float, float, float]) -> None:
        photos = read_photos(dataset, split, background)
        self.rgb = photos.pixels.reshape(-1, 3)
        self.width, self.per_photo = photos.pixels.shape[2], photos.pixels.shape[1] * photos.pixels.shape[2]
        self.num = len(self.rgb)
        self.lenses = np.array([camera.lens.as_row() for camera in photos.cameras]).reshape(-1, 10)
        self.poses = np.array([camera.pose for camera in photos.cameras]).reshape(-1, 4, 4)

    def take(self, numbers: Tensor) -> Batch:
        photo, place = np.divmod(numbers.numpy(), self.per_photo)
        row, column = np.divmod(place, self.width)
        seen = directions(self.lenses[photo], np.stack([column + 0.5, row + 0.5], axis=1))
        turned = np.einsum("nij,nj->ni", self.poses[photo, :3, :3], seen)
        arrays = {"origins": self.poses[photo, :3, 3], "directions": turned, "rgb": self.rgb[numbers.numpy()] / 255}
        return {name: torch.from_numpy(np.asarray(array, dtype=np.float32)) for name, array in arrays.items()}
