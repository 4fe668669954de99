"""Figures of draws of images in the eyes of one extractor: how far they are from the test split, how varied, and what kinds they hold.

All are measured on features that were made once for each draw; each carries the same figure of as many real training images (its floor).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from components.evaluation.cells import cells_of
from components.evaluation.extractors import Extractor
from components.evaluation.features import FEATURES, Seen
from components.evaluation.frechet import frechet_at_infinity, frechet_distance, least_for_infinity, moments
from components.evaluation.library_metrics import KID_SUBSETS, KernelDistance, inception_score, kernel_distance
from components.evaluation.manifold import COVERAGE_NEIGHBOURS, RECALL_NEIGHBOURS, compare_manifolds, neighbourhoods
from components.evaluation.protocol import Figure, Recorded
from components.evaluation.scoring import Scoring
from components.models.family import Goal

ENOUGH_IMAGES = 10 * FEATURES
"""With fewer, a figure is marked as indicative."""
ENOUGH_PER_DIMENSION = 10
"""Images for each feature, or class, without which a figure made of them is marked as indicative."""
DRAWN_SHARE = 0.1
"""Of its share of the test split, which a mode must have of the samples to count: a classifier's rare mistakes fill no mode."""
IMAGES_PER_MODE = 20
MOST_MODES = 50
_KID_SUBSET_SIZE = 1_000


@dataclass(frozen=True)
class Draws:
    """What one extractor sees in what is compared: samples (one for each sampling seed), the test split, and as many real training images."""

    samples: list[Seen]
    test: Seen
    real: Seen | None
    """None where the training split has fewer images than there are samples."""
    extractor: Extractor
    recorded: Recorded

    @property
    def fewest(self) -> int:
        return min(len(self.samples[0].features), len(self.test.features))

    @property
    def dim(self) -> int:
        return self.test.features.shape[1]

    def called(self, metric: str) -> str:
        """The name of a figure: it says whose features it is made of."""
        return f"{metric}_{self.extractor.suffix}"

    def measure(self, distance: Callable[[Seen], float]) -> tuple[list[float], float | None]:
        """``distance`` of each draw, and of the real training images (the floor)."""
        return [distance(sample) for sample in self.samples], None if self.real is None else distance(self.real)


def distance_figures(scoring: Scoring, draws: Draws) -> list[Figure]:
    """Fréchet and kernel distance, neighbourhoods, and where the extractor knows classes the Inception Score."""
    return [fid_figure(scoring, draws), *_fid_infinity(scoring, draws), _kid(scoring, draws), *_manifold(scoring, draws), *_inception_score(scoring, draws)]


def distance_notes(draws: Draws) -> list[str]:
    """What `distance_figures` leaves out, and why."""
    notes = []
    if draws.fewest < (least := least_for_infinity(draws.dim)):
        notes.append(f"{draws.called('fid_infinity')} is left out: it needs {least:,} samples and test images, and there are {draws.fewest:,}.")
    if draws.test.logits is None:
        reason = "it needs a classifier, and the dataset has fewer than two classes" if draws.extractor.suffix == "own" else "the extractor knows no classes"
        notes.append(f"{draws.called('inception_score')} is left out: {reason}.")
    return notes


def fid_figure(scoring: Scoring, draws: Draws, name: str = "") -> Figure:
    reference = moments(draws.test.features)
    values, floor = draws.measure(lambda seen: frechet_distance(reference, moments(seen.features)))
    return averaged(scoring, draws, name or draws.called("fid"), "min", values, floor, enough=ENOUGH_PER_DIMENSION * draws.dim)


def _fid_infinity(scoring: Scoring, draws: Draws) -> list[Figure]:
    """Left out where there are too few for the line."""
    if draws.fewest < least_for_infinity(draws.dim):
        return []
    reference = moments(draws.test.features)
    values, floor = draws.measure(lambda seen: frechet_at_infinity(seen.features, reference))
    figure = averaged(scoring, draws, draws.called("fid_infinity"), "min", values, floor, detail=", line over 1/N", enough=ENOUGH_PER_DIMENSION * draws.dim)
    note = "where fid goes with endlessly many samples; the test split stays as it is, and so does its part of the bias"
    return [figure.model_copy(update={"note": figure.note or note})]


def _kid(scoring: Scoring, draws: Draws) -> Figure:
    """With the wider of its two uncertainties: over sampling seeds, and over the subsets that it is the mean of."""
    size = min(_KID_SUBSET_SIZE, draws.fewest // 2)

    def distance(seen: Seen) -> KernelDistance:
        return kernel_distance(seen.features, draws.test.features, size, scoring.config.seed)

    found = [distance(sample) for sample in draws.samples]
    floor = None if draws.real is None else distance(draws.real).value
    figure = averaged(scoring, draws, draws.called("kid"), "min", [one.value for one in found], floor, detail=f", {KID_SUBSETS} subsets of {size}")
    # Subsets overlap: only those that share no image count as independent.
    error = sum(one.subset_spread for one in found) / len(found) * (size / draws.fewest) ** 0.5
    assert figure.spread is not None, "a mean over draws has a spread"
    interval = f"95 % interval over subsets {figure.value - 1.96 * error:.3g} to {figure.value + 1.96 * error:.3g}; over sampling seeds ± {figure.spread:.2g}"
    wider = {"spread": error, "spread_over": f"{KID_SUBSETS} subsets (standard error)"} if error > figure.spread else {}
    return figure.model_copy(update={**wider, "note": "; ".join(part for part in (figure.note, interval) if part)})


def _inception_score(scoring: Scoring, draws: Draws) -> list[Figure]:
    """Only what knows classes gives one."""
    if draws.test.logits is None:
        return []
    values, floor = draws.measure(lambda seen: inception_score(_logits(seen)))
    enough = max(ENOUGH_IMAGES, ENOUGH_PER_DIMENSION * draws.test.logits.shape[1])
    return [averaged(scoring, draws, draws.called("inception_score"), "max", values, floor, enough=enough)]


def _manifold(scoring: Scoring, draws: Draws) -> list[Figure]:
    test = neighbourhoods(draws.test.features)
    found = [compare_manifolds(test, sample.features) for sample in draws.samples]
    real = None if draws.real is None else compare_manifolds(test, draws.real.features)
    neighbours = {"precision": RECALL_NEIGHBOURS, "recall": RECALL_NEIGHBOURS, "density": COVERAGE_NEIGHBOURS, "coverage": COVERAGE_NEIGHBOURS}
    figures = []
    for name, k in neighbours.items():
        floor = None if real is None else float(getattr(real, name))
        values = [float(getattr(one, name)) for one in found]
        figures.append(averaged(scoring, draws, draws.called(name), "max", values, floor, detail=f", {k} neighbours"))
    return figures


# -- kinds of images -------------------------------------------------------------------------------------------------


def kind_figures(scoring: Scoring, draws: Draws, train: Seen) -> list[Figure]:
    """Of the own extractor: the distance of histograms of classes, and how many modes the samples fall into.

    A mode is a class, or without labels one of the regions that k-means cuts the features ``train`` into (Richardson & Weiss 2018, "On GANs and GMMs").
    """
    if draws.test.logits is not None:
        num = draws.test.logits.shape[1]
        return [_histogram_distance(scoring, draws, num), _modes(scoring, draws, _named, num, f", {num} classes that the classifier names")]
    centres = cells_of(train.features, max(2, min(MOST_MODES, draws.fewest // IMAGES_PER_MODE)))

    def nearest(seen: Seen) -> Tensor:
        return torch.cdist(seen.features, centres).argmin(1)

    return [_modes(scoring, draws, nearest, len(centres), f", {len(centres)} k-means regions of the training images")]


def _histogram_distance(scoring: Scoring, draws: Draws, num: int) -> Figure:
    """Total variation between the shares of the classes in samples and in the test split: 0 where they are alike, 1 where they share none."""
    wanted = shares(_named(draws.test), num)
    values, floor = draws.measure(lambda seen: total_variation(shares(_named(seen), num), wanted))
    figure = averaged(scoring, draws, draws.called("class_histogram_distance"), "min", values, floor, detail=f", {num} classes")
    return figure.model_copy(update={"note": "; ".join(filter(None, ("total variation between the shares of the classes", figure.note)))})


def _modes(scoring: Scoring, draws: Draws, kinds: Callable[[Seen], Tensor], num: int, detail: str) -> Figure:
    wanted = shares(kinds(draws.test), num)
    values, floor = draws.measure(lambda seen: modes_drawn(shares(kinds(seen), num), wanted))
    figure = averaged(scoring, draws, draws.called("modes"), "max", values, floor, detail=detail)
    note = f"a mode counts that has a tenth of its share of the test images; {IMAGES_PER_MODE} images of each are needed for a steady figure"
    return figure.model_copy(update={"unit": f"of {int((wanted > 0).sum())}", "note": figure.note or note})


def shares(kinds: Tensor, num: int) -> Tensor:
    """[num]: the share of each kind in ``kinds`` [N]."""
    return torch.bincount(kinds, minlength=num).double() / len(kinds)


def total_variation(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().sum() / 2)


def modes_drawn(drawn: Tensor, wanted: Tensor) -> float:
    """How many of the kinds that ``wanted`` has stand in ``drawn`` with a tenth of that share at least."""
    return float(((wanted > 0) & (drawn >= DRAWN_SHARE * wanted)).sum())


def _named(seen: Seen) -> Tensor:
    return _logits(seen).argmax(1)


def _logits(seen: Seen) -> Tensor:
    assert seen.logits is not None, "an encoder trained without labels knows no classes"
    return seen.logits


def averaged(
    scoring: Scoring, draws: Draws, name: str, goal: Goal, values: list[float], floor: float | None, *, detail: str = "", enough: int = ENOUGH_IMAGES
) -> Figure:
    """The mean over the sampling seeds, with their spread."""
    several = torch.tensor(values, dtype=torch.float64)
    return scoring.figure(
        name, float(several.mean()), goal, len(draws.samples[0].features), extractor=draws.extractor,
        preprocessing=f"{scoring.shape} in [0, 1], mean of {len(values)} draws{detail}", recorded=draws.recorded,
        floor=floor, floor_name="" if floor is None else "real training images",
        spread=float(several.std()), spread_over=f"{len(values)} sampling seeds",
        note="" if draws.fewest >= enough else f"indicative: {draws.fewest} images, {enough} are needed for a steady figure",
    )  # fmt: skip
