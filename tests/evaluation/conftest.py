"""Digits to score on, with and without their labels, and simple things that draw images."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from components.data.dataset import Dataset, Manifest, Split
from components.evaluation.evidence import Evidence
from components.evaluation.features import as_images, read_pixels
from components.models.capabilities import OWN_SETTINGS, SamplerSettings
from components.models.family import family_names, find_family
from components.project import Project


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors gain nothing by threads, and threads that wait for one another lose much on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def digits(dataset_project: Project) -> Dataset:
    return Dataset.open(dataset_project, "digits")


@pytest.fixture(scope="session")
def unlabelled(digits: Dataset) -> Dataset:
    return altered(digits, class_names=())


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Extractors are trained once for all tests, as they are for all runs."""
    return tmp_path_factory.mktemp("cache")


def read_images(dataset: Dataset, split: Split) -> tuple[Tensor, Tensor | None]:
    """All images [N, C, S, S] in [0, 1] of ``split`` and their labels [N]."""
    pixels, labels = read_pixels(dataset, split)
    return as_images(pixels), labels


def no_spread(evidence: Evidence) -> set[str]:
    """The headline figures of families that ``evidence`` has without saying how far, or over what, they spread."""
    families = [find_family(name) for name in family_names()]
    headlines = {name for family in families for name in family.headline}
    found = [figure for figure in evidence.figures if figure.name in headlines]
    assert found, "there is no headline figure at all"
    return {figure.name for figure in found if figure.spread is None or not figure.spread_over}


def altered(dataset: Dataset, **changes: object) -> Dataset:
    """The same rows under another manifest."""
    return Dataset(dataset.project, Manifest.model_validate({**dataset.manifest.model_dump(), **changes}))


class Redraws(nn.Module):
    """Draws real images of one split, with noise; what a perfect generator (noise 0) or a bad one would give."""

    conditional = False

    def __init__(self, dataset: Dataset, split: str = "train", noise: float = 0.0) -> None:
        super().__init__()
        self.images = read_images(dataset, split)[0]  # type: ignore[arg-type]
        self.noise = noise

    def sample_images(self, num: int, *, seed: int, labels: Tensor | None = None, settings: SamplerSettings = OWN_SETTINGS) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        chosen = self.images[torch.randint(len(self.images), (num,), generator=generator)]
        return (chosen + self.noise * torch.randn(chosen.shape, generator=generator)).clamp(0, 1)


class Constant(nn.Module):
    """A collapsed generator: one image, always."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.image = image

    def sample_images(self, num: int, *, seed: int, labels: Tensor | None = None, settings: SamplerSettings = OWN_SETTINGS) -> Tensor:
        return self.image.expand(num, -1, -1, -1)
