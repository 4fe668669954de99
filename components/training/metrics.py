"""Metrics of a run in progress: held back until a checkpoint is written, so that a resumed run logs nothing twice."""

import math
import time
from typing import Any

import pytorch_lightning as pl

from components.tracking import MetricPoint
from components.training.progress import batches_done

MAX_POINTS_PER_METRIC = 1000


class MetricBuffer(pl.Callback):
    """What the model logs, step by step. Points lie in memory, and in the next checkpoint, until they are flushed.

    A run that was killed between checkpoint and flush flushes the checkpoint's points again when it is resumed; they have the same
    time stamps, and the store keeps one of two equal points.
    """

    def __init__(self, max_steps: int) -> None:
        self.every = max(1, math.ceil(max_steps / MAX_POINTS_PER_METRIC))
        self._points: list[MetricPoint] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batches_done(trainer) % self.every == 0:
            self._add(trainer, "train/")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._add(trainer, "validation/")

    def add(self, key: str, value: float, step: int) -> None:
        """A point that another callback measured."""
        self._points.append(MetricPoint(key, value, step, int(time.time() * 1000)))

    def _add(self, trainer: pl.Trainer, prefix: str) -> None:
        step, now_ms = batches_done(trainer), int(time.time() * 1000)
        found = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith(prefix)}
        self._points += [MetricPoint(key, value, step, now_ms) for key, value in found.items() if math.isfinite(value)]

    def state_dict(self) -> dict[str, Any]:
        return {"points": [list(point) for point in self._points]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._points = [MetricPoint(*point) for point in state_dict["points"]]

    def take(self) -> list[MetricPoint]:
        """The points held back; they are this buffer's no longer."""
        points, self._points = self._points, []
        return points
