"""The checkpoint to go on from, the best weights, and what is flushed when a checkpoint is safe."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from safetensors.torch import save_file

from components.atomic import write_atomically
from components.training.callbacks import Ema
from components.training.files import checkpoint_path, drop_older_checkpoints
from components.training.progress import batches_done
from components.training.stopping import Interrupted, StopRequest

BEST = "best.safetensors"
NEVER = 2**62


class Pruned(Exception):
    """The validation loss of a trial was hopeless."""


class Pruner(pl.Callback):
    """Stops a trial at a validation behind which its lowest loss so far is above the bound of that step; what it logged is flushed first.

    It stands behind ``checkpoints``, which knows the lowest loss.
    """

    def __init__(self, bounds: Mapping[int, float], checkpoints: "Checkpoints") -> None:
        self.bounds, self.checkpoints = bounds, checkpoints

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        step, best = batches_done(trainer), self.checkpoints.best_loss
        if best > self.bounds.get(step, math.inf) and math.isfinite(best):
            self.checkpoints.flush()
            raise Pruned(f"pruned at step {step}: its validation loss {best:.4g} is above {self.bounds[step]:.4g}, the bound by the trials before it")


class Checkpoints(pl.Callback):
    """Decides when to validate, and writes: a checkpoint every few steps in place of the one before, and the averaged weights as
    `best.safetensors` whenever the validation loss is the lowest so far.

    A checkpoint that falls on a validation is written behind it, so that a resumed run has neither to repeat nor to miss one.
    """

    def __init__(self, folder: Path, *, every: int, validate_every: int, max_steps: int, ema: Ema, flush: Callable[[], None], stop: StopRequest) -> None:
        self.folder, self.every, self.validate_every, self.max_steps = folder, every, validate_every, max_steps
        self.ema, self.flush, self.stop = ema, flush, stop
        self.best_loss = math.inf
        self.best_step = 0
        self.elapsed_s = self.core_s = 0.0
        self._began = self._began_core = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._began, self._began_core = time.monotonic() - self.elapsed_s, time.process_time() - self.core_s
        trainer.val_check_batch = NEVER

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = batches_done(trainer)
        validates = step % self.validate_every == 0 or step == self.max_steps
        trainer.val_check_batch = 1 if validates else NEVER
        if not validates:
            self._save_when_due(trainer, step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        step, loss = batches_done(trainer), trainer.callback_metrics.get("validation/loss")
        if loss is not None and float(loss) < self.best_loss:
            self.best_loss, self.best_step = float(loss), step
            write_atomically(self.folder / BEST, lambda path: save_file(self.ema.weights, path), synced=True)
        self._save_when_due(trainer, step)

    def _save_when_due(self, trainer: pl.Trainer, step: int) -> None:
        if not (step % self.every == 0 or step == self.max_steps or self.stop.requested):
            return
        assert not self.ema.applied, "a checkpoint holds the raw weights"
        self.elapsed_s, self.core_s = time.monotonic() - self._began, time.process_time() - self._began_core
        write_atomically(checkpoint_path(self.folder, step), lambda path: trainer.save_checkpoint(path, weights_only=False), synced=True)
        drop_older_checkpoints(self.folder, step)
        self.flush()
        if self.stop.requested:
            raise Interrupted

    def state_dict(self) -> dict[str, Any]:
        return {"best_loss": self.best_loss, "best_step": self.best_step, "elapsed_s": self.elapsed_s, "core_s": self.core_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_loss, self.best_step = state_dict["best_loss"], state_dict["best_step"]
        self.elapsed_s, self.core_s = state_dict["elapsed_s"], state_dict["core_s"]
