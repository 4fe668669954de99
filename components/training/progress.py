"""What a run's process tells its parent: JSON lines on stdout, one event each."""

import json
import sys
import time
from typing import Any

import pytorch_lightning as pl

MIN_INTERVAL_S = 0.25


def emit(event: str, **fields: Any) -> None:
    """One event. A parent that is gone is no error here: the life line ends the process."""
    try:
        sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        pass


def say(message: str) -> None:
    """A line for people."""
    emit("say", message=message)


class Telling:
    """Passes on what an evaluation tells, with the time that is left of each part."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self._message, self._began, self._told = "", 0.0, 0.0

    def say(self, message: str) -> None:
        say(message)

    def progress(self, message: str, done: int, total: int) -> None:
        now = time.monotonic()
        if message != self._message:
            self._message, self._began, self._told = message, now, 0.0
        if now - self._told < MIN_INTERVAL_S and done < total:
            return
        self._told = now
        left = round((now - self._began) / done * (total - done), 1) if done else None
        emit("progress", phase=self.phase, step=done, max_steps=total, detail=message, eta_s=left)


def batches_done(trainer: pl.Trainer) -> int:
    """Training batches so far, resumed ones included; with several optimisers `global_step` would count each of them."""
    return trainer.fit_loop.total_batch_idx + 1


class Progress(pl.Callback):
    """Tells step, loss and the time that is left, a few times a second."""

    def __init__(self, start: int, max_steps: int) -> None:
        self.start, self.max_steps = start, max_steps
        self._began = self._told = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = time.monotonic()
        emit("progress", phase="train", step=self.start, max_steps=self.max_steps)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        step, now = batches_done(trainer), time.monotonic()
        if now - self._told < MIN_INTERVAL_S and step < self.max_steps:
            return
        self._told = now
        loss = trainer.callback_metrics.get("train/loss")
        left = (now - self._began) / (step - self.start) * (self.max_steps - step)
        emit("progress", phase="train", step=step, max_steps=self.max_steps, loss=None if loss is None else float(loss), eta_s=round(left, 1))
