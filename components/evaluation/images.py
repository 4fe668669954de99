"""Figures and pictures of a model of images: distance to the test split, likelihood, reconstruction."""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from components.code import code_digest
from components.data.dataset import Dataset
from components.errors import UserError
from components.evaluation.config import EvaluationConfig
from components.evaluation.evidence import Evidence
from components.evaluation.features import FEATURES, Extractor, own_extractor, read_images, split_features
from components.evaluation.frechet import frechet_distance, moments
from components.evaluation.manifold import COVERAGE_NEIGHBOURS, RECALL_NEIGHBOURS, compare_manifolds
from components.evaluation.memorisation import nearest_training, neighbour_ratio
from components.evaluation.pictures import pairs_png
from components.evaluation.protocol import Figure, Identity, Recorded
from components.evaluation.sampling import draw_images, labels_like_train, samples_picture
from components.models.capabilities import (
    OWN_SETTINGS,
    DataSpec,
    HasLatentUnits,
    Reconstructs,
    SamplesImages,
    SamplesInSteps,
    ScoresImages,
)
from components.models.family import Goal

LEAST_IMAGES = FEATURES + 2
"""With fewer, the covariance of the features has no full rank and a Fréchet distance means nothing."""
ENOUGH_IMAGES = 10 * FEATURES
"""With fewer, a figure is marked as indicative."""
MOST_SAMPLES = 10_000
MOST_SCORED = 2_000
"""Test images that likelihood and reconstruction are measured on, and samples whose nearest training image is sought, at most."""
MOST_COMPARED = 50_000
"""Training images among which the nearest is sought, at most."""
SAMPLING_SEEDS = 3
_KID_SUBSETS = 50
_KID_SUBSET_SIZE = 1_000


@dataclass(frozen=True)
class Scoring:
    """What every figure of one evaluation shares."""

    dataset: Dataset
    config: EvaluationConfig
    cache: Path
    code: str
    data_spec: DataSpec

    @property
    def size(self) -> int:
        """The side in pixels of what the model makes; real images are brought to it."""
        return self.data_spec.image_size

    @property
    def shape(self) -> str:
        return f"{self.data_spec.channels}x{self.size}x{self.size}"

    def figure(self, name: str, value: float, goal: Goal, num: int, *, preprocessing: str, extractor: Extractor | None = None, **more: Any) -> Figure:
        """A figure of the test split with its whole protocol."""
        identity = Identity(
            metric=name,
            num_samples=num,
            reference_sha256=self.dataset.manifest.sha256,
            split="test",
            preprocessing=preprocessing,
            extractor=extractor.name if extractor else "",
            extractor_sha256=extractor.sha256 if extractor else "",
        )
        recorded = Recorded(seed=self.config.seed, code=self.code)
        return Figure(name=name, value=value, goal=goal, identity=identity, **{"recorded": recorded, **more})


def require_enough_images(dataset: Dataset) -> None:
    """Refuse a dataset on which no distance between distributions can be measured; costs no decoding, so ask before training.

    Raises:
        UserError: naming the least number of images.
    """
    for split in ("train", "test"):
        rows = dataset.manifest.rows(split)
        if rows < LEAST_IMAGES:
            raise UserError(
                f"The {split} split of {dataset.name!r} has {rows} images and fid_own needs at least {LEAST_IMAGES}: "
                f"add rows, or give {split} a larger part in datasets.{dataset.name}.split."
            )


def score_images(model: Any, dataset: Dataset, data_spec: DataSpec, *, config: EvaluationConfig, cache: Path, say: Callable[[str], None]) -> Evidence:
    """Everything that can be measured and shown of ``model``, by its capabilities, against the test split of ``dataset``."""
    require_enough_images(dataset)
    scoring = Scoring(dataset, config, cache, code_digest("components.evaluation.images"), data_spec)
    evidence = Evidence()
    if isinstance(model, SamplesImages):
        say("drawing samples and measuring their distance to the test split")
        evidence = evidence.plus(_score_samples(model, data_spec, scoring, say))
    if isinstance(model, (ScoresImages, Reconstructs, HasLatentUnits)):
        say("measuring likelihood and reconstruction on the test split")
        evidence = evidence.plus(_score_test_images(model, scoring))
    return evidence


def _score_samples(model: SamplesImages, data_spec: DataSpec, scoring: Scoring, say: Callable[[str], None]) -> Evidence:
    dataset, config = scoring.dataset, scoring.config
    extractor = own_extractor(dataset, scoring.cache, say, scoring.size)
    test, train = (split_features(extractor, dataset, split, scoring.cache, scoring.size) for split in ("test", "train"))
    num = num_drawn(config, test)
    labels = labels_like_train(dataset, model, num)
    drawn = [draw_images(model, num, seed=seed, labels=labels, settings=config.settings) for seed in range(config.seed, config.seed + SAMPLING_SEEDS)]
    samples = [extractor.features(images) for images in drawn]
    real = real_features(train, num, config.seed)
    draws = Draws(samples, test, real, extractor, _how_drawn(model, scoring))
    figures = [fid_figure(scoring, draws), _kid(scoring, draws), *_manifold(scoring, draws)]
    notes = [] if real is not None else [f"The floors are left out: they need {num:,} images of the training split, which has {len(train):,}."]
    if extractor.kind == "classifier":
        figures.append(_inception_score(scoring, draws))
        notes.append(f"Features are of the dataset's own classifier, which names {extractor.test_accuracy:.1%} of the test split rightly.")
    else:
        notes.append("inception_score_own is left out: it needs a classifier, and the dataset has no labels.")
        notes.append("Features are of the dataset's own encoder, trained without labels (VICReg).")
    copied, beside = _memorisation(scoring, drawn, draws.recorded)
    picture = samples_picture(model, data_spec, seed=config.seed, num=100, settings=config.settings)
    return Evidence((*figures, copied), {"samples": picture, "nearest": beside}, notes=tuple(notes))


@dataclass(frozen=True)
class Draws:
    """Features of what is compared: samples (one tensor per sampling seed), the test split, and as many real training images."""

    samples: list[Tensor]
    test: Tensor
    real: Tensor | None
    """None where the training split has fewer images than there are samples."""
    extractor: Extractor
    recorded: Recorded

    def measure(self, distance: Callable[[Tensor], float]) -> tuple[list[float], float | None]:
        """``distance`` of each draw, and of the real training images (the floor)."""
        return [distance(sample) for sample in self.samples], None if self.real is None else distance(self.real)


def num_drawn(config: EvaluationConfig, test: Tensor) -> int:
    """How many samples are drawn for figures of distributions, beside the features ``test`` [N, 32] of the test split.

    Raises:
        UserError: the config asks for too few.
    """
    num = config.num_samples or min(len(test), MOST_SAMPLES)
    if num < LEAST_IMAGES:
        raise UserError(f"evaluation.num_samples is {num} and fid_own needs at least {LEAST_IMAGES}: set it higher, or to 0.")
    return num


def real_features(train: Tensor, num: int, seed: int) -> Tensor | None:
    """``num`` of the training split's features, for the floors; None where there are fewer."""
    return train[_shuffled(len(train), seed)[:num]] if len(train) >= num else None


def fid_figure(scoring: Scoring, draws: Draws, name: str = "fid_own") -> Figure:
    reference = moments(draws.test)
    return _sample_figure(scoring, draws, name, "min", lambda features: frechet_distance(moments(features), reference))


def _kid(scoring: Scoring, draws: Draws) -> Figure:
    size = min(_KID_SUBSET_SIZE, len(draws.samples[0]) // 2, len(draws.test) // 2)
    detail = f", {_KID_SUBSETS} subsets of {size}"
    return _sample_figure(scoring, draws, "kid_own", "min", lambda features: kernel_distance(features, draws.test, size, scoring.config.seed), detail=detail)


def _manifold(scoring: Scoring, draws: Draws) -> list[Figure]:
    found = [compare_manifolds(draws.test, features) for features in draws.samples]
    real = None if draws.real is None else compare_manifolds(draws.test, draws.real)
    neighbours = {"precision": RECALL_NEIGHBOURS, "recall": RECALL_NEIGHBOURS, "density": COVERAGE_NEIGHBOURS, "coverage": COVERAGE_NEIGHBOURS}
    return [
        _averaged(
            scoring, draws, f"{name}_own", "max", [getattr(one, name) for one in found], None if real is None else getattr(real, name), f", {k} neighbours"
        )
        for name, k in neighbours.items()
    ]


def _memorisation(scoring: Scoring, drawn: list[Tensor], recorded: Recorded) -> tuple[Figure, bytes]:
    """The neighbour ratio, and a picture of samples above their nearest training images."""
    train, test = (read_images(scoring.dataset, split, scoring.size, augmented=split == "train")[0] for split in ("train", "test"))
    train = train[_shuffled(len(train), 0)[:MOST_COMPARED]]
    ratios = torch.tensor([neighbour_ratio(images[:MOST_SCORED], test[:MOST_SCORED], train) for images in drawn], dtype=torch.float64)
    shown = drawn[0][_shuffled(len(drawn[0]), 0)[:24]]
    figure = scoring.figure(
        "neighbour_ratio", float(ratios.mean()), "max", min(len(drawn[0]), MOST_SCORED), recorded=recorded,
        preprocessing=f"{scoring.shape}, pixels, {len(train):,} training images with their augmented copies",
        spread=float(ratios.std()), spread_over=f"{len(drawn)} sampling seeds", floor=1.0, floor_name="unseen real images",
        note="median distance to the nearest training image, over that of test images; far below 1 is memorised",
    )  # fmt: skip
    return figure, pairs_png(shown, train[nearest_training(shown, train).place], columns=12, captions=("sample", "nearest"))


def _how_drawn(model: SamplesImages, scoring: Scoring) -> Recorded:
    """What is written beside every figure of samples."""
    settings = model.settled(scoring.config.settings) if isinstance(model, SamplesInSteps) else OWN_SETTINGS
    sampler = settings.method or getattr(model, "sampler", "")
    return Recorded(seed=scoring.config.seed, sampler=sampler, steps=settings.steps, guidance=settings.guidance, code=scoring.code)


def _inception_score(scoring: Scoring, draws: Draws) -> Figure:
    return _sample_figure(scoring, draws, "inception_score_own", "max", lambda features: inception_score(draws.extractor.logits(features)))


def _sample_figure(scoring: Scoring, draws: Draws, name: str, goal: Goal, distance: Callable[[Tensor], float], *, detail: str = "") -> Figure:
    values, floor = draws.measure(distance)
    return _averaged(scoring, draws, name, goal, values, floor, detail)


def _averaged(scoring: Scoring, draws: Draws, name: str, goal: Goal, values: list[float], floor: float | None, detail: str = "") -> Figure:
    """The mean over the sampling seeds, with their spread."""
    several = torch.tensor(values, dtype=torch.float64)
    num = len(draws.samples[0])
    fewest = min(num, len(draws.test))
    return scoring.figure(
        name, float(several.mean()), goal, num, extractor=draws.extractor,
        preprocessing=f"{scoring.shape} in [0, 1], mean of {len(values)} draws{detail}", recorded=draws.recorded,
        floor=floor, floor_name="" if floor is None else "real training images",
        spread=float(several.std()), spread_over=f"{len(values)} sampling seeds",
        note="" if fewest >= ENOUGH_IMAGES else f"indicative: {fewest} images, {ENOUGH_IMAGES} are needed for a steady figure",
    )  # fmt: skip


def kernel_distance(a: Tensor, b: Tensor, subset_size: int, seed: int) -> float:
    """KID (Binkowski et al. 2018): the unbiased squared MMD under the cubic kernel, mean of random subsets; may be below zero."""
    from torchmetrics.image.kid import KernelInceptionDistance

    with _quiet_metric(seed):
        metric = KernelInceptionDistance(feature=nn.Identity(), subsets=_KID_SUBSETS, subset_size=subset_size)
        metric.update(a, real=True)
        metric.update(b, real=False)
        return float(metric.compute()[0])


def inception_score(logits: Tensor) -> float:
    """exp of the mean KL between each image's class distribution and their mean, over all of ``logits`` [N, K] at once."""
    from torchmetrics.image.inception import InceptionScore

    with _quiet_metric(0):
        metric = InceptionScore(feature=nn.Identity(), splits=1)
        metric.update(logits.double())
        return float(metric.compute()[0])


@contextlib.contextmanager
def _quiet_metric(seed: int) -> Iterator[None]:
    """Seeds torchmetrics' own random choices and silences its remarks on memory and on a spread of one split."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*will save all extracted features.*")
        warnings.filterwarnings("ignore", message=".*degrees of freedom.*")
        torch.manual_seed(seed)
        yield


def _score_test_images(model: Any, scoring: Scoring) -> Evidence:
    images = read_images(scoring.dataset, "test", scoring.size)[0][:MOST_SCORED]
    device = getattr(model, "device", torch.device("cpu"))
    evidence = Evidence()
    if isinstance(model, ScoresImages):
        evidence = evidence.plus(Evidence((_bits_per_dim(model, images, device, scoring),)))
    if isinstance(model, Reconstructs):
        evidence = evidence.plus(_reconstruction(model, images, device, scoring))
    if isinstance(model, HasLatentUnits):
        active = model.active_units(images.to(device))
        figure = scoring.figure("active_units", active, "max", len(images), preprocessing=scoring.shape, unit=f"of {model.latent_dim}")
        evidence = evidence.plus(Evidence((figure,)))
    return evidence


def _bits_per_dim(model: ScoresImages, images: Tensor, device: torch.device, scoring: Scoring) -> Figure:
    seed = scoring.config.seed
    bits = torch.cat([model.bits_per_dim(chunk.to(device), seed=seed + index).cpu() for index, chunk in enumerate(images.split(256))]).double()
    train, _ = read_images(scoring.dataset, "train", scoring.size)
    return scoring.figure(
        "bits_per_dim", float(bits.mean()), "min", len(images), preprocessing=f"{scoring.shape}, {model.likelihood}", unit="bits",
        floor=independent_pixels_bits(train, images, model.levels), floor_name="independent pixels (a baseline, not a limit)",
        spread=float(bits.std() / math.sqrt(len(bits))), spread_over="test images (standard error)",
    )  # fmt: skip


def independent_pixels_bits(train: Tensor, test: Tensor, levels: int) -> float:
    """Bits per dimension of ``test`` when each pixel keeps its own histogram of grey levels in ``train``, one count added to each."""
    counts = torch.ones(train[0].numel(), levels, dtype=torch.float64)
    known, asked = ((images.flatten(1) * (levels - 1)).round().long() for images in (train, test))
    counts.scatter_add_(1, known.T, torch.ones_like(known.T, dtype=torch.float64))
    return float(-(counts / counts.sum(1, keepdim=True)).log2().gather(1, asked.T).mean())


def _reconstruction(model: Reconstructs, images: Tensor, device: torch.device, scoring: Scoring) -> Evidence:
    again = torch.cat([model.reconstruct(chunk.to(device)).cpu() for chunk in images.split(256)])
    error = (again - images).square().flatten(1).mean(1)
    figure = scoring.figure("reconstruction_psnr", float(-10 * error.mean().log10()), "max", len(images), preprocessing=f"{scoring.shape} in [0, 1]", unit="dB")
    return Evidence((figure,), {"reconstructions": pairs_png(images[:24], again[:24], columns=12)})


def _shuffled(num: int, seed: int) -> Tensor:
    return torch.randperm(num, generator=torch.Generator().manual_seed(seed))
