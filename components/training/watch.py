"""Watches the variety of a model's samples while it trains, so that mode collapse is seen when it happens and not at the end."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from components.data.dataset import Dataset
from components.evaluation.extractors import split_seen
from components.evaluation.features import own_extractor
from components.evaluation.judged import judged
from components.evaluation.manifold import COVERAGE_NEIGHBOURS, compare_manifolds
from components.evaluation.sampling import draw_images, labels_like_train
from components.models.capabilities import DataSpec
from components.models.family import WatchedTrainingConfig
from components.training.callbacks import Ema
from components.training.metrics import MetricBuffer
from components.training.progress import Telling, batches_done, say

MOST_WATCHED = 1000
"""Training images, and samples, that are compared."""
SEED = 0
SPARED_SHARE = 0.2
"""Share of the training in which a model may still be learning to draw at all."""


class VarietyWatch(pl.Callback):
    """Every few steps measures precision, recall and coverage of the training images by samples of the averaged weights.

    Coverage below ``config.least_coverage`` after the first fifth raises an alarm: a line for people, and a sentence in ``alarms``.
    """

    def __init__(self, dataset: Dataset, data_spec: DataSpec, config: WatchedTrainingConfig, cache: Path, ema: Ema, metrics: MetricBuffer) -> None:
        self.dataset, self.config, self.ema, self.metrics = dataset, config, ema, metrics
        part = judged(dataset, data_spec, config.buffer_mib)
        self.extractor = own_extractor(part, cache, Telling("prepare"), data_spec.image_size)
        features = split_seen(self.extractor, part, "train", cache, data_spec.image_size).features
        self.real: Tensor = features[torch.randperm(len(features), generator=torch.Generator().manual_seed(SEED))[:MOST_WATCHED]]
        self.alarms: list[str] = []
        self._collapsed = False

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = batches_done(trainer)
        if len(self.real) <= COVERAGE_NEIGHBOURS or (step % self.config.watch_every and step != self.config.max_steps):
            return
        pl_module.eval()
        with self.ema.averaged(pl_module):
            labels = labels_like_train(self.dataset, pl_module, len(self.real))
            samples = draw_images(pl_module, len(self.real), seed=SEED, labels=labels)  # type: ignore[arg-type]
        pl_module.train()
        found = compare_manifolds(self.real, self.extractor.features(samples))
        for name in ("precision", "recall", "coverage"):
            self.metrics.add(f"watch/{name}_own", getattr(found, name), step)
        self._judge(step, found.coverage, found.recall)

    def _judge(self, step: int, coverage: float, recall: float) -> None:
        collapsed = coverage < self.config.least_coverage and step > SPARED_SHARE * self.config.max_steps
        if collapsed and not self._collapsed:
            self.alarms.append(f"mode collapse at step {step}: samples cover {coverage:.0%} of the training images (recall {recall:.0%})")
            say(f"ALARM: {self.alarms[-1]}")
        if self._collapsed and not collapsed:
            self.alarms[-1] += f", over at step {step}"
            say(f"the collapse is over at step {step}: samples cover {coverage:.0%} of the training images")
        self._collapsed = collapsed

    def state_dict(self) -> dict[str, Any]:
        return {"alarms": self.alarms, "collapsed": self._collapsed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.alarms, self._collapsed = state_dict["alarms"], state_dict["collapsed"]
