"""Image-to-image is judged by what it gains in realism and loses in faithfulness."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from components.data.dataset import Dataset
from components.evaluation.diffusing import FRAMES, diffusion_pictures
from components.evaluation.editing import STRENGTHS, coarse, editing_evidence
from components.evaluation.extractors import split_seen
from components.evaluation.features import own_extractor
from components.evaluation.telling import SILENT
from components.models.capabilities import OWN_SETTINGS, DataSpec, SamplerSettings
from tests.evaluation.conftest import read_images


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        return image.size


class Blends:
    """Goes from the guide to a real image as the strength grows: the trade that an ideal editor makes."""

    def __init__(self, real: Tensor) -> None:
        self.real = real

    def edit_images(self, images: Tensor, *, strength: float, seed: int, labels: Tensor | None = None, settings: SamplerSettings = OWN_SETTINGS) -> Tensor:
        return (1 - strength) * images + strength * self.real[: len(images)]


def test_coarse_guides_keep_the_mean_of_each_block_and_nothing_else() -> None:
    images = torch.rand(3, 1, 8, 8)
    guides = coarse(images)
    assert guides.shape == images.shape
    assert torch.allclose(guides[:, :, :2, :2], images[:, :, :2, :2].mean((2, 3), keepdim=True).expand(-1, -1, 2, 2))
    assert coarse(torch.rand(2, 3, 64, 64)).unique(dim=-1).shape[-1] == 16


@pytest.mark.slow
def test_the_curve_shows_realism_against_faithfulness(digits: Dataset, cache: Path) -> None:
    extractor = own_extractor(digits, cache, SILENT)
    images, _ = read_images(digits, "test")
    evidence = editing_evidence(Blends(images), images, split_seen(extractor, digits, "test", cache).features, extractor, seed=0, settings=OWN_SETTINGS)
    rows = [[float(cell) for cell in line.split()] for line in evidence.texts["image_to_image"].splitlines()[2:]]
    assert [row[0] for row in rows] == [0, *STRENGTHS]
    distances, differences = [row[1] for row in rows], [row[2] for row in rows]
    assert distances[-1] < distances[0] / 3
    assert differences == sorted(differences)
    assert differences[0] == 0
    assert set(evidence.pictures) == {"image_to_image", "image_to_image_curve"}
    assert size_of(evidence.pictures["image_to_image_curve"])[0] > 300


class Fades:
    """Shows its strips as fading images."""

    conditional = True

    def forward_strip(self, images: Tensor, *, frames: int, seed: int) -> Tensor:
        return images[:, None] * torch.linspace(1, 0, frames)[None, :, None, None, None]

    def reverse_strip(self, num: int, *, frames: int, seed: int, labels: Tensor | None = None) -> Tensor:
        assert labels is not None
        return (labels[:, None, None, None, None] / 10 * torch.linspace(0, 1, frames)[None, :, None, None, None]).expand(-1, -1, 1, 8, 8)


@pytest.mark.parametrize(("names", "rows"), [(("a", "b", "c"), 3), (tuple("abcdefghijklmnop"), 10)])
def test_a_diffusion_is_shown_on_its_way_to_noise_and_back(names: tuple[str, ...], rows: int) -> None:
    pictures = diffusion_pictures(Fades(), torch.rand(6, 1, 8, 8), DataSpec("image", channels=1, image_size=8, class_names=names), seed=0)
    forward, reverse = size_of(pictures["forward_diffusion"]), size_of(pictures["reverse_diffusion"])
    assert forward == (FRAMES * 52 + 4, 6 * 52 + 4)
    assert reverse[1] == rows * 52 + 4
