"""Membership inference: how well somebody who holds a row can tell whether the model was trained on it.

Members are rows of the training split, the others rows of the test split that nothing was trained on, as many of each. Two attacks: by the nearest of the
model's samples (Chen et al. 2020, "GAN-Leaks", the black-box attack), which works on everything that draws images, and by how well the model itself
scores a row (Yeom et al. 2018), where it can.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from components.data.dataset import Dataset, Split
from components.data.generated import is_synthetic
from components.evaluation.documents import TextScore, text_identity
from components.evaluation.evidence import Evidence
from components.evaluation.features import LARGEST_SIDE, as_images, read_pixels
from components.evaluation.protocol import Figure, Recorded
from components.evaluation.scoring import Scoring, shuffled
from components.evaluation.telling import Teller, counted
from components.models.capabilities import HasImageLosses

MOST_MEMBERS = 1_000
"""Rows of each kind that are told apart, at most: the standard error of an AUC is then about 0.013."""
ENOUGH = 300
"""Of each kind, without which the figures are marked as indicative: one in a hundred of 300 is three."""
LEAST_FOR_AREA = 8
"""Of each kind, without which the area under the curve is a guess."""
LEAST_FOR_RATE = 100
"""Of the others, without which a false positive rate of 1 % cannot be had at all."""
MOST_TOLD = 500
"""Images of each kind that are told apart by the model's own scores, at most: of a large model these cost seconds."""
COMPONENTS = 32
"""Principal axes of the samples, on which images are compared."""
FALSE_POSITIVES = 0.01
BOOTSTRAPS = 200
_TOLD: tuple[Split, Split] = ("train", "test")
AUC, RATE = "membership_auc", "membership_tpr_at_1_fpr"
BY_LOSS = "_by_loss"
"""Ending of the figures of the attack by the model's own scores."""


class Attack(NamedTuple):
    """What an attack makes of each row: the greater, the likelier a member."""

    members: Tensor
    """[N]"""
    others: Tensor
    """[M]"""


class People(NamedTuple):
    """Images that the model was trained on, and others of the same data."""

    members: Tensor
    """Bytes [N, C, S, S]."""
    others: Tensor
    """Bytes [N, C, S, S]."""
    member_labels: Tensor | None
    other_labels: Tensor | None
    member_rows: Tensor
    """Places among the original rows of the training split, [N]."""
    other_rows: Tensor
    """Places among those of the test split, [M]."""


Make = Callable[..., Figure]
"""Makes a figure of a name, a value, and keywords of `Figure`."""


def area_under_curve(attack: Attack) -> tuple[float, float]:
    """The chance that a member scores higher than another row, ties counting half, and its standard error by DeLong et al. 1988."""
    members, others = attack.members.double(), attack.others.double()
    wins = (members[:, None] > others[None]).double() + 0.5 * (members[:, None] == others[None]).double()
    error = math.sqrt(float(wins.mean(1).var()) / len(members) + float(wins.mean(0).var()) / len(others))
    return float(wins.mean()), error


def rate_of_true_positives(attack: Attack) -> float:
    """The share of the members that score higher than all but 1 % of the others (Carlini et al. 2022, "Membership Inference Attacks From First Principles")."""
    return float(_rates(attack.members[None], attack.others[None]))


def _rates(members: Tensor, others: Tensor) -> Tensor:
    """[B] of scores [B, N] and [B, M]."""
    allowed = int(FALSE_POSITIVES * others.shape[1])
    bars = others.sort(1, descending=True).values[:, allowed]
    return (members > bars[:, None]).double().mean(1)


def _resampled_rates(attack: Attack) -> float:
    """Standard deviation of `rate_of_true_positives` over draws of both kinds of rows with replacement."""
    generator = torch.Generator().manual_seed(0)
    places = [torch.randint(len(scores), (BOOTSTRAPS, len(scores)), generator=generator) for scores in attack]
    return float(_rates(attack.members[places[0]], attack.others[places[1]]).std())


def membership_figures(attack: Attack, ending: str, make: Make) -> list[Figure]:
    """The area under the curve, and the rate of true positives where there are others enough; none where both kinds are too few, as in drawn datasets."""
    if len(attack.others) < LEAST_FOR_AREA:
        return []
    num, reachable = len(attack.others), int(FALSE_POSITIVES * len(attack.others)) / len(attack.others)
    few = f"indicative: {num} rows of each kind, {ENOUGH} are needed for a steady figure" if num < ENOUGH else ""
    value, error = area_under_curve(attack)
    figures = [make(AUC + ending, value, spread=error, spread_over=f"{num:,} members and {num:,} others (DeLong)", floor=0.5, floor_name="guessing", note=few)]
    if num >= LEAST_FOR_RATE:
        reached = f"at {reachable:.2%} false positives, the most of {num:,} others that is not above 1 %"
        figures.append(
            make(
                RATE + ending, rate_of_true_positives(attack), spread=_resampled_rates(attack), spread_over=f"{BOOTSTRAPS} draws of the rows with replacement",
                floor=reachable, floor_name="guessing", note="; ".join(filter(None, (reached, few))),
            )
        )  # fmt: skip
    return figures


def membership_notes(num: int, ending: str) -> list[str]:
    """What `membership_figures` leaves out of ``num`` rows of each kind, and why."""
    if num < LEAST_FOR_AREA:
        return [f"{AUC}{ending} is left out: it needs {LEAST_FOR_AREA} training rows that no model drew and as many test rows, and there are {num}."]
    return [f"{RATE}{ending} is left out: it needs {LEAST_FOR_RATE} test rows, and there are {num}."] if num < LEAST_FOR_RATE else []


def not_drawn(dataset: Dataset, split: Split) -> list[int]:
    """Places of the original rows of ``split`` that no model drew."""
    sources = dataset.table(split, columns=["source"], augmented=False)["source"].to_pylist()
    return [index for index, source in enumerate(sources) if not is_synthetic(source)]


def rows_to_tell(dataset: Dataset) -> dict[Split, list[int]]:
    """Places of as many original rows of training as of test, at random, that no model drew."""
    real = {split: not_drawn(dataset, split) for split in _TOLD}
    num = min(MOST_MEMBERS, *map(len, real.values()))
    return {split: [places[place] for place in np.random.default_rng(0).permutation(len(places))[:num]] for split, places in real.items()}


def by_loss_of_texts(
    dataset: Dataset, members: Sequence[TextScore], others: Sequence[TextScore], how: str, what: str = "documents"
) -> tuple[list[Figure], list[str]]:  # fmt: skip
    """The figures of the attack by the model's own scores of ``what``, and what is left out; none where there is a single one of a kind."""
    num = len(others)
    if num < LEAST_FOR_AREA:
        return [], [f"{AUC}{BY_LOSS} is left out: it needs {LEAST_FOR_AREA} test {what}, and there are {num}."]

    def make(name: str, value: float, **more: Any) -> Figure:
        return Figure(name=name, value=value, goal="min", identity=text_identity(dataset, name, num, how), **more)

    attack = Attack(*(-torch.tensor([score.bits_per_byte for score in scores], dtype=torch.float64) for scores in (members, others)))
    return membership_figures(attack, BY_LOSS, make), membership_notes(num, BY_LOSS)


# -- images ----------------------------------------------------------------------------------------------------------


def people(scoring: Scoring) -> People:
    """As many images of the training split as of the test split; what a model drew is nobody's."""
    train, train_labels = read_pixels(scoring.dataset, "train", scoring.size)
    test, test_labels = read_pixels(scoring.dataset, "test", scoring.size)
    real = torch.tensor(not_drawn(scoring.dataset, "train"), dtype=torch.int64)
    num = min(len(real), len(test), MOST_MEMBERS)
    ours, theirs = real[shuffled(len(real), 0)[:num]], shuffled(len(test), 0)[:num]
    labels = (None if train_labels is None else train_labels[ours], None if test_labels is None else test_labels[theirs])
    return People(train[ours], test[theirs], *labels, member_rows=ours, other_rows=theirs)


def real_training_images(dataset: Dataset, size: int) -> tuple[Tensor, Tensor | None]:
    """Those of the original training rows that no model drew, as bytes [N, C, S, S], and their labels."""
    pixels, labels = read_pixels(dataset, "train", size)
    real = not_drawn(dataset, "train")
    return pixels[real], None if labels is None else labels[real]


class NearestSample:
    """The attack by the nearest sample, one draw after the other, so that no two draws are held in memory.

    Images are compared on the principal axes of the first draw: an extractor that was itself trained on the members would see them with other eyes than
    the others, and give an attacker what the model did not.
    """

    def __init__(self, scoring: Scoring) -> None:
        self.scoring = scoring
        self.people = people(scoring)
        self.nearest = [torch.full((len(self.people.members),), torch.inf) for _ in range(2)]
        self.axes: tuple[Tensor, Tensor] | None = None
        self.num_samples = 0

    def look_at(self, images: Tensor) -> None:
        """One draw [N, C, S, S] in [0, 1]."""
        samples = _values(images)
        if self.axes is None:
            self.axes = _principal_axes(samples[shuffled(len(samples), 0)[:MOST_MEMBERS]])
        mean, axes = self.axes
        drawn = (samples - mean) @ axes
        for place, rows in enumerate((self.people.members, self.people.others)):
            distance = torch.cdist((_values(as_images(rows)) - mean) @ axes, drawn).amin(1)
            self.nearest[place] = torch.minimum(self.nearest[place], distance)
        self.num_samples += len(images)

    def figures(self, recorded: Recorded) -> list[Figure]:
        attack = Attack(-self.nearest[0], -self.nearest[1])

        def make(name: str, value: float, **more: Any) -> Figure:
            how = f"{self.scoring.shape}, nearest of {self.num_samples:,} samples on {COMPONENTS} principal axes of a draw"
            return self.scoring.figure(name, value, "min", len(attack.others), preprocessing=how, recorded=recorded, **more)

        return membership_figures(attack, "", make)

    def notes(self) -> list[str]:
        return membership_notes(len(self.nearest[1]), "")


def told_by_losses(model: HasImageLosses, known: People, scoring: Scoring, tell: Teller) -> Evidence:
    """The attack by the loss that ``model`` was trained by; what it is told of an image are the labels in ``known``."""
    if len(known.members) < LEAST_FOR_AREA:
        return Evidence(notes=tuple(membership_notes(len(known.members), BY_LOSS)))

    def losses(pixels: Tensor, labels: Tensor | None, what: str) -> Tensor:
        pixels = pixels[:MOST_TOLD]
        parts = counted(torch.arange(len(pixels)).split(256), f"measuring the loss of {len(pixels):,} {what} images", tell)
        found = [model.image_losses(as_images(pixels[rows]), seed=scoring.config.seed, labels=None if labels is None else labels[rows]) for rows in parts]
        return torch.cat([part.cpu() for part in found])

    attack = Attack(-losses(known.members, known.member_labels, "training"), -losses(known.others, known.other_labels, "test"))
    figures, notes = by_loss_of_images(scoring, attack, "its own training loss at fixed times and noise")
    return Evidence(tuple(figures), notes=tuple(notes))


def by_loss_of_images(scoring: Scoring, attack: Attack, how: str) -> tuple[list[Figure], list[str]]:
    """The figures of the attack by the model's own scores, and what is left out; ``how`` says what those are."""

    def make(name: str, value: float, **more: Any) -> Figure:
        return scoring.figure(name, value, "min", len(attack.others), preprocessing=f"{scoring.shape}, {how}", **more)

    return membership_figures(attack, BY_LOSS, make), membership_notes(len(attack.others), BY_LOSS)


def _values(images: Tensor) -> Tensor:
    """Rows [N, D] of images [N, C, S, S]; large ones are averaged down."""
    return (F.adaptive_avg_pool2d(images, LARGEST_SIDE) if images.shape[-1] > LARGEST_SIDE else images).flatten(1)


def _principal_axes(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [D] and the longest axes [D, K] of rows [N, D]."""
    mean = values.mean(0)
    _, _, axes = torch.linalg.svd(values - mean, full_matrices=False)
    return mean, axes[:COMPONENTS].T
