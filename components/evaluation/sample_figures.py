"""Figures of a model that draws images: distance to the test split, variety, and whether it copies its training images."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from components.errors import UserError
from components.evaluation.alarms import alarms
from components.evaluation.config import EvaluationConfig
from components.evaluation.diffusing import diffusion_pictures
from components.evaluation.editing import MOST_EDITED, editing_evidence
from components.evaluation.evidence import Evidence
from components.evaluation.features import FEATURES, Extractor, as_images, own_extractor, read_pixels, split_features
from components.evaluation.frechet import frechet_distance, moments
from components.evaluation.library_metrics import KID_SUBSETS, inception_score, kernel_distance
from components.evaluation.manifold import COVERAGE_NEIGHBOURS, RECALL_NEIGHBOURS, compare_manifolds
from components.evaluation.memorisation import nearest_training, neighbour_ratio
from components.evaluation.pictures import pairs_png
from components.evaluation.protocol import Figure, Recorded
from components.evaluation.sampling import draw_images, labels_like_train, samples_picture
from components.evaluation.scoring import LEAST_IMAGES, MOST_SCORED, Scoring, shuffled
from components.evaluation.telling import Teller
from components.models.capabilities import OWN_SETTINGS, EditsImages, SamplesImages, SamplesInSteps, ShowsDiffusion
from components.models.family import Goal

ENOUGH_IMAGES = 10 * FEATURES
"""With fewer, a figure is marked as indicative."""
MOST_SAMPLES = 10_000
MOST_COMPARED_VALUES = 2**28
"""Pixel values of the training images among which the nearest is sought, at most (a quarter of a GiB)."""
SAMPLING_SEEDS = 3
SHOWN_NEAREST = 24
_KID_SUBSET_SIZE = 1_000


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


def score_samples(model: SamplesImages, scoring: Scoring, tell: Teller) -> Evidence:
    """Draws as many samples as there are test images, for each of three seeds, and measures and shows them."""
    config = scoring.config
    evidence = score_draws(model, scoring, tell, lambda num: labels_like_train(scoring.dataset, model, num))
    samples = samples_picture(model, scoring.data_spec, seed=config.seed, num=100, settings=config.settings)
    return evidence.plus(Evidence(pictures={"samples": samples})).plus(_at_work(model, scoring, tell))


def score_draws(
    model: SamplesImages, scoring: Scoring, tell: Teller, labels_for: Callable[[int], Tensor | None], see: Callable[[Tensor], None] | None = None
) -> Evidence:
    """The figures of draws for the labels that ``labels_for`` gives for their number, and the picture `nearest`; ``see`` gets each draw [num, C, S, S]."""
    dataset, config = scoring.dataset, scoring.config
    extractor = own_extractor(dataset, scoring.cache, tell, scoring.size)
    test, train = (split_features(extractor, dataset, split, scoring.cache, scoring.size) for split in ("test", "train"))
    num = num_drawn(config, test)
    labels = labels_for(num)
    copying, features = Copying(scoring), []
    for time, seed in enumerate(range(config.seed, config.seed + SAMPLING_SEEDS), 1):
        what = f"drawing {num:,} samples, {time} of {SAMPLING_SEEDS} times"
        images = draw_images(model, num, seed=seed, labels=labels, settings=config.settings, tell=tell, what=what)
        features.append(extractor.features(images))
        copying.look_at(images)
        if see is not None:
            see(images)
    draws = Draws(features, test, real_features(train, num, config.seed), extractor, _how_drawn(model, scoring))
    figures = [fid_figure(scoring, draws), _kid(scoring, draws), *_manifold(scoring, draws), *_inception_score(scoring, draws), copying.figure(draws.recorded)]
    notes = (*alarms(figures), *_notes(draws, num, len(train)))
    return Evidence(tuple(figures), {"nearest": copying.picture()}, notes=notes)


def _notes(draws: Draws, num: int, num_train: int) -> list[str]:
    notes = [] if draws.real is not None else [f"The floors are left out: they need {num:,} images of the training split, which has {num_train:,}."]
    if draws.extractor.kind == "classifier":
        return [*notes, f"Features are of the dataset's own classifier, which names {draws.extractor.test_accuracy:.1%} of the test split rightly."]
    return [
        *notes,
        "inception_score_own is left out: it needs a classifier, and the dataset has fewer than two classes.",
        "Features are of the dataset's own encoder, trained without labels (VICReg).",
    ]


def _at_work(model: SamplesImages, scoring: Scoring, tell: Teller) -> Evidence:
    """What a model that draws in steps can show besides."""
    evidence = Evidence()
    if not isinstance(model, (ShowsDiffusion, EditsImages)):
        return evidence
    config = scoring.config
    pixels, _ = read_pixels(scoring.dataset, "test", scoring.size)
    images = as_images(pixels[shuffled(len(pixels), config.seed)[:MOST_EDITED]])  # pictures show fewer still
    if isinstance(model, ShowsDiffusion):
        evidence = evidence.plus(Evidence(pictures=diffusion_pictures(model, images, scoring.data_spec, seed=config.seed)))
    if isinstance(model, EditsImages):
        extractor = own_extractor(scoring.dataset, scoring.cache, tell, scoring.size)
        test = split_features(extractor, scoring.dataset, "test", scoring.cache, scoring.size)
        evidence = evidence.plus(editing_evidence(model, images, test, extractor, seed=config.seed, settings=config.settings, tell=tell))
    return evidence


def _how_drawn(model: SamplesImages, scoring: Scoring) -> Recorded:
    """What is written beside every figure of samples."""
    settings = model.settled(scoring.config.settings) if isinstance(model, SamplesInSteps) else OWN_SETTINGS
    sampler = settings.method or getattr(model, "sampler", "")
    return Recorded(seed=scoring.config.seed, sampler=sampler, steps=settings.steps, guidance=settings.guidance, code=scoring.code)


class Copying:
    """Looks for training images in the samples, one draw after the other, so that no two draws are held in memory."""

    def __init__(self, scoring: Scoring) -> None:
        self.scoring = scoring
        self.test = as_images(read_pixels(scoring.dataset, "test", scoring.size)[0][:MOST_SCORED])
        train, _ = read_pixels(scoring.dataset, "train", scoring.size, augmented=True)
        self.train = train[shuffled(len(train), 0)[: MOST_COMPARED_VALUES // train[0].numel()]]
        """Bytes."""
        self.ratios: list[float] = []
        self.num = 0
        self.shown = self.test[:0]

    def look_at(self, images: Tensor) -> None:
        """One draw of samples [N, C, S, S]; the first one is shown."""
        self.num = min(len(images), MOST_SCORED)
        self.ratios.append(neighbour_ratio(images[:MOST_SCORED], self.test, self.train))
        if not len(self.shown):
            self.shown = images[shuffled(len(images), 0)[:SHOWN_NEAREST]]

    def figure(self, recorded: Recorded) -> Figure:
        ratios = torch.tensor(self.ratios, dtype=torch.float64)
        return self.scoring.figure(
            "neighbour_ratio", float(ratios.mean()), "max", self.num, recorded=recorded,
            preprocessing=f"{self.scoring.shape}, pixels, {len(self.train):,} training images with their augmented copies",
            spread=float(ratios.std()), spread_over=f"{len(ratios)} sampling seeds", floor=1.0, floor_name="unseen real images",
            note="median distance to the nearest training image, over that of test images; far below 1 is memorised",
        )  # fmt: skip

    def picture(self) -> bytes:
        """Samples above their nearest training images."""
        return pairs_png(self.shown, as_images(self.train[nearest_training(self.shown, self.train).place]), columns=12, captions=("sample", "nearest"))


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
    return train[shuffled(len(train), seed)[:num]] if len(train) >= num else None


def fid_figure(scoring: Scoring, draws: Draws, name: str = "fid_own") -> Figure:
    reference = moments(draws.test)
    return _sample_figure(scoring, draws, name, "min", lambda features: frechet_distance(moments(features), reference))


def _kid(scoring: Scoring, draws: Draws) -> Figure:
    size = min(_KID_SUBSET_SIZE, len(draws.samples[0]) // 2, len(draws.test) // 2)
    detail = f", {KID_SUBSETS} subsets of {size}"
    return _sample_figure(scoring, draws, "kid_own", "min", lambda features: kernel_distance(features, draws.test, size, scoring.config.seed), detail=detail)


def _inception_score(scoring: Scoring, draws: Draws) -> list[Figure]:
    """Only a classifier gives one."""
    if draws.extractor.kind != "classifier":
        return []
    return [_sample_figure(scoring, draws, "inception_score_own", "max", lambda features: inception_score(draws.extractor.logits(features)))]


def _manifold(scoring: Scoring, draws: Draws) -> list[Figure]:
    found = [compare_manifolds(draws.test, features) for features in draws.samples]
    real = None if draws.real is None else compare_manifolds(draws.test, draws.real)
    neighbours = {"precision": RECALL_NEIGHBOURS, "recall": RECALL_NEIGHBOURS, "density": COVERAGE_NEIGHBOURS, "coverage": COVERAGE_NEIGHBOURS}
    figures = []
    for name, k in neighbours.items():
        floor = None if real is None else float(getattr(real, name))
        figures.append(_averaged(scoring, draws, f"{name}_own", "max", [getattr(one, name) for one in found], floor, f", {k} neighbours"))
    return figures


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
