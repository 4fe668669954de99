"""Synthetic data as training data: what a classifier that learnt from samples makes of real test images.

"Train on synthetic, test on real" (Esteban et al. 2017; classification accuracy score, Ravuri & Vinyals 2019): one small classifier, the recipe of the
dataset's own extractor, is trained on samples alone, on real rows and samples together, and on real rows alone, for as many steps each.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from components.atomic import write_text
from components.cache import mark_used
from components.code import code_digest
from components.evaluation.features import as_images, read_pixels, repeatable, train_classifier
from components.evaluation.membership import real_training_images
from components.evaluation.protocol import Figure, Recorded
from components.evaluation.scoring import Scoring, shuffled
from components.evaluation.telling import Teller, counted

MOST_TRAINED_ON = 10_000
STEPS = 100
"""Of each training; a third of the extractor's, for there are nine of them."""
CLASSIFIER_SEEDS = 3


class Rows(NamedTuple):
    """What a classifier is trained on."""

    images: Tensor
    """Bytes [N, C, S, S]."""
    labels: Tensor
    """[N]"""

    def plus(self, other: "Rows") -> "Rows":
        return Rows(torch.cat([self.images, other.images]), torch.cat([self.labels, other.labels]))


class Utility:
    """Gathers samples, one draw after the other, until there are as many as real training rows, and trains on them at the end."""

    def __init__(self, scoring: Scoring, num_samples: int) -> None:
        """``num_samples`` is how many all draws give together."""
        images, labels = real_training_images(scoring.dataset, scoring.size)
        assert labels is not None, "a classifier needs labels"
        self.scoring = scoring
        self.num = min(len(images), num_samples, MOST_TRAINED_ON)
        chosen = shuffled(len(images), 0)[: self.num]
        self.real = Rows(images[chosen], labels[chosen])
        self.drawn = Rows(images[:0], labels[:0])

    def look_at(self, images: Tensor, labels: Tensor) -> None:
        """One draw [N, C, S, S] in [0, 1] of the classes [N], of which as many are taken, at random, as are still missing."""
        missing = self.num - len(self.drawn.labels)
        chosen = shuffled(len(images), 0)[:missing]
        self.drawn = self.drawn.plus(Rows((255 * images[chosen].clamp(0, 1)).round().byte(), labels[chosen].to(self.drawn.labels)))

    def figures(self, recorded: Recorded, tell: Teller, what: str = "samples") -> tuple[Figure, ...]:
        """`accuracy_tstr` and `accuracy_augmented`, each beside the accuracy of training on real rows alone; ``what`` says of what the samples are."""
        real = _kept(self._path(), lambda: self._accuracies(self.real, "real rows", tell))
        alone = self._accuracies(self.drawn, "samples", tell)
        together = self._accuracies(self.real.plus(self.drawn), "real rows and samples", tell)
        return self._figure("accuracy_tstr", alone, real, recorded, what), self._figure("accuracy_augmented", together, real, recorded, what)

    def _accuracies(self, rows: Rows, what: str, tell: Teller) -> list[float]:
        """On the test split, of a classifier for each seed."""
        test, labels = read_pixels(self.scoring.dataset, "test", self.scoring.size)
        assert labels is not None, "a classifier needs labels"
        found = []
        for seed in range(CLASSIFIER_SEEDS):
            steps = counted(range(STEPS), f"training a classifier on {what}, {seed + 1} of {CLASSIFIER_SEEDS} times", tell)
            with repeatable(seed):
                net = train_classifier(rows.images, rows.labels, len(self.scoring.dataset.class_names), steps, STEPS)
            with torch.no_grad():
                named = torch.cat([net.logits(net.features(as_images(chunk))).argmax(1) for chunk in test.split(512)])
            found.append(float((named == labels).double().mean()))
        return found

    def _figure(self, name: str, values: list[float], real: list[float], recorded: Recorded, what: str) -> Figure:
        several = torch.tensor(values, dtype=torch.float64)
        num_test = self.scoring.dataset.manifest.rows("test")
        beside = " beside as many real rows" if name == "accuracy_augmented" else ""
        return self.scoring.figure(
            name, float(several.mean()), "max", num_test, recorded=recorded, unit="share",
            preprocessing=f"{self.scoring.shape}, own classifier, {STEPS} steps on {self.num:,} {what}{beside}, mean of {CLASSIFIER_SEEDS} seeds",
            spread=float(several.std()), spread_over=f"{CLASSIFIER_SEEDS} classifier seeds", floor=sum(real) / len(real),
            floor_name=f"trained on {self.num:,} real rows",
        )  # fmt: skip

    def _path(self) -> Path:
        """What training on real rows comes to does not hang on the model."""
        code = code_digest("components.evaluation.utility")[:16]
        return self.scoring.cache / "utility" / f"{self.scoring.dataset.manifest.sha256}-{self.scoring.size}-{self.num}-{code}.json"


def _kept(path: Path, measure: Callable[[], list[float]]) -> list[float]:
    """What stands in ``path``; ``measure`` finds it where there is nothing."""
    if not path.exists():
        write_text(path, json.dumps(measure()))
    mark_used(path)
    found: list[float] = json.loads(path.read_text(encoding="utf-8"))
    return found
