"""Figures of rendered views: those of the textbook, worse with noise, beside the nearest photo; and pictures that can be read."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from components.cameras import Camera, Orbit
from components.data.dataset import Dataset
from components.data.photos import read_photos
from components.errors import UserError
from components.evaluation.config import EvaluationConfig
from components.evaluation.evaluate import evaluate, require_enough
from components.evaluation.evidence import Evidence
from components.evaluation.protocol import Figure
from components.evaluation.telling import SILENT
from components.evaluation.views import ORBIT_FRAMES, images_of, nearest_photos, orbit_frames, psnr, ssim, views_picture
from components.models.capabilities import DataSpec, Rendering
from components.models.nerf.config import NerfConfig
from components.project import Project
from components.training import datamodules
from tests.evaluation.conftest import no_spread
from tests.models.scenes import LENS, VIEWS

WHITE = (1.0, 1.0, 1.0)


class Remembers(nn.Module):
    """Gives back the test photos with noise; from other places it sees a plain colour, another one from each."""

    def __init__(self, dataset: Dataset, noise: float = 0.0) -> None:
        super().__init__()
        photos = read_photos(dataset, "test", WHITE)
        self.known = dict(zip((camera.pose for camera in photos.cameras), images_of(photos), strict=True))
        self.noise, self.generator = noise, torch.Generator().manual_seed(0)

    def render(self, camera: Camera) -> Rendering:
        shape = (camera.lens.height, camera.lens.width)
        plain = torch.from_numpy(camera.position / 8 + 0.5).float()[:, None, None].expand(3, *shape)
        image = self.known.get(camera.pose, plain)
        noisy = (image + self.noise * torch.randn(image.shape, generator=self.generator)).clamp(0, 1)
        return Rendering(noisy.permute(1, 2, 0), torch.full(shape, 3.0), torch.full(shape, 0.5))


@pytest.fixture(scope="session")
def scene(dataset_project: Project) -> Dataset:
    return Dataset.open(dataset_project, "scene")


@pytest.fixture(scope="session")
def spec(scene: Dataset, dataset_project: Project) -> DataSpec:
    return datamodules.describe(scene, NerfConfig(), dataset_project.cache)


def score(model: object, dataset: Dataset, spec: DataSpec) -> Evidence:
    return evaluate(model, dataset, spec, config=EvaluationConfig(), cache=dataset.project.cache, tell=SILENT)


def figures(evidence: Evidence) -> dict[str, Figure]:
    return {figure.name: figure for figure in evidence.figures}


def frames_of(gif: bytes) -> tuple[int, tuple[int, int], int]:
    """Frames, size and repetitions (0 is for ever)."""
    with Image.open(io.BytesIO(gif)) as image:
        for frame in range(image.n_frames):
            image.seek(frame)
            image.load()
        return image.n_frames, image.size, image.info["loop"]


def noisy(images: Tensor, noise: float) -> Tensor:
    return (images + noise * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


def test_psnr_is_that_of_the_textbook_for_each_picture() -> None:
    real = torch.rand(3, 3, 16, 20, generator=torch.Generator().manual_seed(1))
    drawn = noisy(real, 0.1)
    expected = [10 * np.log10(1 / np.mean((one.double().numpy() - other.double().numpy()) ** 2)) for one, other in zip(drawn, real, strict=True)]
    assert psnr(drawn, real).tolist() == pytest.approx(expected, rel=1e-6)
    assert psnr(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.1)).item() == pytest.approx(20, abs=1e-4)
    assert psnr(real, real).tolist() == [100] * 3


def test_ssim_is_that_of_the_paper() -> None:
    """Means, variances and covariance under a Gaussian window of 11 pixels (sigma 1.5), averaged over all pixels of mirrored pictures."""
    real = torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(1))
    drawn = noisy(real, 0.1)
    offsets = torch.arange(11, dtype=torch.float64) - 5
    line = torch.exp(-(offsets**2) / (2 * 1.5**2))
    window = (line[:, None] * line / line.sum() ** 2)[None, None]

    def blurred(images: Tensor) -> Tensor:
        mirrored = torch.nn.functional.pad(images, (5, 5, 5, 5), mode="reflect")
        return torch.nn.functional.conv2d(mirrored.flatten(0, 1)[:, None], window).unflatten(0, images.shape[:2])[:, :, 0]

    x, y = drawn.double(), real.double()
    mean_x, mean_y = blurred(x), blurred(y)
    var_x, var_y, covariance = blurred(x * x) - mean_x**2, blurred(y * y) - mean_y**2, blurred(x * y) - mean_x * mean_y
    one, two = 0.01**2, 0.03**2
    similarity = (2 * mean_x * mean_y + one) * (2 * covariance + two) / ((mean_x**2 + mean_y**2 + one) * (var_x + var_y + two))
    assert ssim(drawn, real).tolist() == pytest.approx(similarity.mean((1, 2, 3)).tolist(), abs=1e-4)
    assert ssim(real, real).tolist() == pytest.approx([1, 1], abs=1e-6)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_figures_get_worse_with_noise(scene: Dataset, measure) -> None:  # type: ignore[no-untyped-def]
    real = images_of(read_photos(scene, "test", WHITE))
    values = [measure(noisy(real, noise), real).mean().item() for noise in (0.0, 0.05, 0.1, 0.3)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 4


def test_a_perfect_model_is_scored_as_such_and_a_noisy_one_below(scene: Dataset, spec: DataSpec) -> None:
    perfect, rough = (figures(score(Remembers(scene, noise), scene, spec)) for noise in (0.0, 0.1))
    assert perfect["psnr"].value == 100
    assert perfect["ssim"].value == pytest.approx(1)
    assert 19 < rough["psnr"].value < 25
    assert rough["ssim"].value < 0.9
    assert (perfect["psnr"].unit, perfect["psnr"].goal, perfect["psnr"].spread_over) == ("dB", "max", "3 test views (standard error)")
    assert no_spread(score(Remembers(scene, 0.1), scene, spec)) == set()
    assert "single views from" in rough["psnr"].note
    assert perfect["psnr"].identity == rough["psnr"].identity
    assert perfect["psnr"].identity.num_samples == 3


def test_the_floor_is_what_the_nearest_training_photo_would_reach(scene: Dataset, spec: DataSpec) -> None:
    train, test = (read_photos(scene, split, WHITE) for split in ("train", "test"))  # type: ignore[arg-type]
    gaps = [[np.linalg.norm(here.position - there.position) for there in train.cameras] for here in test.cameras]
    nearest = [int(np.argmin(row)) for row in gaps]
    assert nearest_photos(train.cameras, test.cameras).tolist() == nearest
    found = figures(score(Remembers(scene), scene, spec))
    assert found["psnr"].floor_name == "the nearest training photo"
    real, instead = images_of(test), images_of(train)[nearest]
    assert found["psnr"].floor == pytest.approx(psnr(instead, real).mean().item())
    assert found["ssim"].floor == pytest.approx(ssim(instead, real).double().mean().item())
    assert found["psnr"].floor < 30


def test_pictures_can_be_read_and_the_orbit_goes_round_once(scene: Dataset, spec: DataSpec) -> None:
    evidence = score(Remembers(scene), scene, spec)
    assert set(evidence.pictures) == {"views", "depth"}
    for png in evidence.pictures.values():
        with Image.open(io.BytesIO(png)) as image:
            image.load()
            assert image.width > 300
            assert image.height > 300
    assert frames_of(evidence.animations["orbit"]) == (ORBIT_FRAMES, (160, 160), 0)


def test_real_photos_stand_above_the_models(scene: Dataset, spec: DataSpec) -> None:
    """A model that sees nothing leaves its row white; the row of real photos is not."""

    class Blind(Remembers):
        def render(self, camera: Camera) -> Rendering:
            return Rendering(*(part * 0 + 1 for part in super().render(camera)))

    with Image.open(io.BytesIO(score(Blind(scene), scene, spec).pictures["views"])) as image:
        pixels = np.asarray(image.convert("L"))[:, 80:]
    upper, lower = pixels[: len(pixels) // 2], pixels[len(pixels) // 2 :]
    assert (upper < 100).mean() > 0.05
    assert (lower < 100).mean() < 0.001


def test_frames_of_an_orbit_are_shown_in_order_from_azimuth_nought(spec: DataSpec) -> None:
    asked: list[Camera] = []

    class Notes(nn.Module):
        def render(self, camera: Camera) -> Rendering:
            asked.append(camera)
            shape = (camera.lens.height, camera.lens.width)
            return Rendering(torch.full((*shape, 3), len(asked) / 10), torch.ones(shape), torch.ones(shape))

    assert spec.scene is not None
    frames = orbit_frames(Notes(), spec.scene, 4)
    assert frames.shape == (4, 3, 16, 16)
    assert frames[:, 0, 0, 0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert [camera.pose for camera in asked] == [spec.scene.orbit.camera(spec.scene.lens, azimuth).pose for azimuth in (0, 90, 180, 270)]


def test_views_larger_than_a_picture_needs_are_rendered_smaller() -> None:
    asked: list[Camera] = []

    class Notes(nn.Module):
        def render(self, camera: Camera) -> Rendering:
            asked.append(camera)
            shape = (camera.lens.height, camera.lens.width)
            return Rendering(torch.zeros(*shape, 3), torch.ones(shape), torch.ones(shape))

    assert VIEWS.scene is not None
    large = replace(VIEWS, scene=replace(VIEWS.scene, lens=LENS.resized(1200, 1000), orbit=Orbit((0.0, 0.0, 0.0), 3.0, 20.0, (0.0, 0.0, 1.0))))
    with Image.open(io.BytesIO(views_picture(Notes(), large))) as image:
        image.load()
    assert [(camera.lens.width, camera.lens.height) for camera in asked] == [(160, 133)] * 4


def test_a_dataset_without_test_photos_is_refused_before_anything_is_trained(scene: Dataset) -> None:
    shards = tuple(shard for shard in scene.manifest.shards if shard.split != "test")
    without = Dataset(scene.project, scene.manifest.model_copy(update={"shards": shards}))
    sentence = r"The test split of 'scene' has no photos and psnr needs at least one: add test_filenames .*, or set datasets.scene.split.method to hash"
    with pytest.raises(UserError, match=sentence):
        require_enough(without)
