"""Pictures of a latent space show what they say, and the fitted prior is measured as samples are."""

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from components.data.dataset import Dataset
from components.evaluation.config import EvaluationConfig
from components.evaluation.evaluate import evaluate
from components.evaluation.evidence import Evidence
from components.evaluation.latent import DEVIATIONS, PAIRS, STEPS, UNITS, interpolations_png, map_png, project, slerp, traversals_png
from components.evaluation.pictures import GAP, LEAST_SIDE
from components.evaluation.protocol import Figure
from components.evaluation.telling import SILENT
from components.models.capabilities import OWN_SETTINGS, DataSpec, HasFittedPrior, HasLatentSpace, SamplerSettings
from components.models.vae.config import VaeConfig
from components.models.vae.model import Vae
from tests.evaluation.conftest import read_images

SPEC = DataSpec("image", channels=1, image_size=8, class_names=tuple("0123456789"))
CELL = LEAST_SIDE + GAP


class PixelSpace(nn.Module):
    """The latent of an image is its pixels; samples are what ``drawn`` and ``drawn_before`` give."""

    latent_dim = 64

    def __init__(self, drawn: Callable[[int, int], Tensor] | None = None, drawn_before: Callable[[int, int], Tensor] | None = None) -> None:
        super().__init__()
        self.drawn, self.drawn_before = drawn, drawn_before

    def embed(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def decode(self, latents: Tensor) -> Tensor:
        return latents.unflatten(1, (1, 8, 8)).clamp(0, 1)

    def sample_images(self, num: int, *, seed: int, labels: Tensor | None = None, settings: SamplerSettings = OWN_SETTINGS) -> Tensor:
        assert self.drawn is not None
        return self.drawn(num, seed)

    def sample_before_prior(self, num: int, *, seed: int) -> Tensor:
        assert self.drawn_before is not None
        return self.drawn_before(num, seed)


def read(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)


def cell(grid: np.ndarray, row: int, column: int, rows: int, columns: int) -> np.ndarray:
    """One image of a grid, one value for each of its pixels, whatever captions stand above and left."""
    top, left = grid.shape[0] - rows * CELL + row * CELL, grid.shape[1] - columns * CELL + column * CELL
    return grid[top : top + LEAST_SIDE : 6, left : left + LEAST_SIDE : 6]


def as_bytes(image: Tensor) -> np.ndarray:
    return (image[0] * 255).round().byte().numpy()


def images_of_four(num: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(num, 1, 8, 8, generator=generator), torch.arange(num) % 4


def score(model: object, dataset: Dataset, cache: Path, **config: object) -> Evidence:
    return evaluate(model, dataset, SPEC, config=EvaluationConfig(**config), cache=cache, tell=SILENT)


def figure(evidence: Evidence, name: str) -> Figure:
    return next(figure for figure in evidence.figures if figure.name == name)


def test_the_vae_offers_a_latent_space_and_a_fitted_prior() -> None:
    model = Vae(VaeConfig(width=8, latent_dim=4), SPEC)
    assert isinstance(model, HasLatentSpace)
    assert isinstance(model, HasFittedPrior)


def test_an_interpolation_runs_between_two_real_images_and_keeps_them_at_its_ends() -> None:
    images, labels = images_of_four()
    grid = read(interpolations_png(PixelSpace(), images, images.flatten(1), labels, seed=0))
    originals = {as_bytes(image).tobytes(): int(label) for image, label in zip(images, labels, strict=True)}
    for row in range(PAIRS):
        cells = [cell(grid, row, column, PAIRS, STEPS + 2) for column in range(STEPS + 2)]
        first, last = cells[0].tobytes(), cells[-1].tobytes()
        assert originals[first] != originals[last], "pairs are of different classes"
        assert np.array_equal(cells[0], cells[1])
        assert np.array_equal(cells[-1], cells[-2])
        steps = [np.abs(a.astype(int) - b.astype(int)).mean() for a, b in itertools.pairwise(cells[1:-1])]
        assert max(steps) < 2.5 * min(steps), "even steps"


def test_slerp_keeps_the_length_and_meets_its_ends() -> None:
    a, b = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0])
    assert torch.allclose(slerp(a, b, 0.0), a, atol=1e-6)
    assert torch.allclose(slerp(a, b, 1.0), b, atol=1e-6)
    assert slerp(a, b, 0.5).norm().item() == pytest.approx(2, abs=1e-5)


@pytest.mark.parametrize("other", [[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
def test_slerp_is_straight_where_there_is_no_arc(other: list[float]) -> None:
    half = slerp(torch.tensor([1.0, 0.0]), torch.tensor(other), 0.5)
    assert torch.allclose(half, torch.tensor([(1 + other[0]) / 2, 0.0]), atol=1e-4)


def test_a_traversal_moves_one_unit_and_begins_with_the_one_that_varies_most() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = 0.5 + 0.01 * torch.randn(200, 64, generator=generator)
    latents[:, 37] += 0.1 * torch.randn(200, generator=generator)
    grid = read(traversals_png(PixelSpace(), latents))
    columns = len(DEVIATIONS)
    mean = cell(grid, 0, columns // 2, UNITS, columns).astype(int)
    changed = {tuple(place) for column in range(columns) for place in np.argwhere(cell(grid, 0, column, UNITS, columns) != mean)}
    assert changed == {(37 // 8, 37 % 8)}
    walked = [int(cell(grid, 0, column, UNITS, columns)[37 // 8, 37 % 8]) for column in range(columns)]
    assert walked == sorted(walked)
    assert walked[-1] - walked[0] == pytest.approx(6 * float(latents[:, 37].std()) * 255, abs=3)


def test_a_traversal_of_few_units_has_a_row_for_each() -> None:
    model = Vae(VaeConfig(width=8, latent_dim=2), SPEC)
    grid = read(traversals_png(model, torch.randn(20, 2)))
    assert grid.shape[0] == pytest.approx(2 * CELL + GAP, abs=CELL // 2)


def test_the_map_lies_along_the_longest_axes() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(500, 6, generator=generator) * torch.tensor([0.1, 5.0, 0.1, 2.0, 0.1, 0.1])
    points, shares = project(latents)
    assert points.var(0).tolist() == pytest.approx([25, 4], rel=0.2)
    assert shares.tolist() == pytest.approx([25 / 29, 4 / 29], abs=0.05)


def test_a_latent_of_one_unit_can_be_mapped_too() -> None:
    points, shares = project(torch.randn(30, 1))
    assert points.shape == (30, 2)
    assert shares.tolist() == pytest.approx([1, 0])
    assert read(map_png(torch.randn(30, 1), None, ())).shape[1] > 400


def test_the_map_has_a_colour_for_every_class_and_one_without_labels() -> None:
    latents, labels = torch.randn(300, 5, generator=torch.Generator().manual_seed(0)), torch.arange(300) % 3

    def colours(png: bytes) -> int:
        pixels = read(png)[..., :3].reshape(-1, 3).astype(int)
        strong = pixels[pixels.max(1) - pixels.min(1) > 100]
        return len({round(float(hue) * 12) for hue in np.arctan2(strong[:, 1] - strong[:, 2], 2.0 * strong[:, 0] - strong[:, 1] - strong[:, 2]) / np.pi})

    assert colours(map_png(latents, labels, ("a", "b", "c"))) >= 3
    assert colours(map_png(latents, None, ())) == 1


@pytest.mark.slow
def test_the_figure_before_the_prior_has_the_protocol_of_fid_own(digits: Dataset, cache: Path) -> None:
    """Samples from real images after, from noise before: the same distance, on the same images, tells them apart."""
    train = read_images(digits, "train")[0]

    def real(num: int, seed: int) -> Tensor:
        return train[torch.randint(len(train), (num,), generator=torch.Generator().manual_seed(seed))]

    def noise(num: int, seed: int) -> Tensor:
        return torch.rand(num, 1, 8, 8, generator=torch.Generator().manual_seed(seed))

    evidence = score(PixelSpace(real, noise), digits, cache)
    before, after = figure(evidence, "fid_own_before_prior"), figure(evidence, "fid_own")
    assert before.value > 10 * after.value
    assert before.floor == after.floor
    assert before.identity.model_copy(update={"metric": "fid_own"}) == after.identity
    same = score(PixelSpace(real, real), digits, cache)
    assert figure(same, "fid_own_before_prior").value == pytest.approx(figure(same, "fid_own").value)


@pytest.mark.slow
def test_every_picture_is_there_and_repeats(digits: Dataset, cache: Path) -> None:
    torch.manual_seed(0)
    model = Vae(VaeConfig(width=8, latent_dim=4, levels=17, importance_samples=2), SPEC)
    first, second = (score(model, digits, cache, num_samples=100) for _ in range(2))
    assert {"interpolations", "traversals", "latent_map", "prior"} <= set(first.pictures)
    assert first.pictures == second.pictures


@pytest.mark.slow
def test_without_labels_everything_is_there_too(unlabelled: Dataset, cache: Path) -> None:
    model = Vae(VaeConfig(width=8, latent_dim=4, levels=17, importance_samples=2), DataSpec("image", channels=1, image_size=8))
    assert {"interpolations", "traversals", "latent_map", "prior"} <= set(score(model, unlabelled, cache, num_samples=100).pictures)
