"""What happens round each training step, in the order in which `fit` lists them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from components.training.progress import batches_done

MAX_BAD_STEPS_IN_A_ROW = 20
VALIDATION_SEED = 20_000_003


class Diverged(Exception):
    """The loss or its gradients stayed non-finite."""


class StepSeed(pl.Callback):
    """Seeds every step by its number, so that step k draws the same dropout and noise in a resumed run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(self.seed * 1_000_003 + batches_done(trainer))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        torch.manual_seed(VALIDATION_SEED)


class NanGuard(pl.Callback):
    """Clips gradients, and skips a step whose loss or gradients are not finite.

    Too many skipped steps in a row raise `Diverged`. It stands in for the Trainer's own clipping, which manual optimisation does not have.
    """

    def __init__(self, gradient_clip: float) -> None:
        self.gradient_clip = gradient_clip
        self.skipped = self._in_a_row = 0
        self._bad_loss = False

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self._bad_loss |= not bool(torch.isfinite(loss))

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"] if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        if self._bad_loss or not bool(torch.isfinite(norm)):
            # Without gradients the optimiser leaves weights and moments as they are.
            for parameter in parameters:
                parameter.grad = None
            self._count(trainer, pl_module)
        else:
            if self.gradient_clip:
                torch.nn.utils.clip_grads_with_norm_(parameters, self.gradient_clip, norm)
            pl_module.log("train/gradient_norm", norm)
            self._in_a_row = 0
        self._bad_loss = False

    def _count(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.skipped += 1
        self._in_a_row += 1
        pl_module.log("train/skipped_steps", float(self.skipped))
        if self._in_a_row >= MAX_BAD_STEPS_IN_A_ROW:
            raise Diverged(
                f"The loss was not finite in {self._in_a_row} steps in a row, up to step {batches_done(trainer)}: "
                f"lower learning_rate or gradient_clip (now {self.gradient_clip:g}), or lengthen warmup_steps."
            )

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped, "in_a_row": self._in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped, self._in_a_row = state_dict["skipped"], state_dict["in_a_row"]


class Ema(pl.Callback):
    """An exponential moving average of the weights: validated, sampled, tested and packaged. The raw weights go on training.

    The decay grows with the steps as (1 + t) / (10 + t) up to ``decay``, so that the first weights are soon forgotten. Buffers are
    taken as they are. With ``decay`` 0 the average is the raw weights.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, Tensor] = {}
        self.applied = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.weights:
            self.weights = {name: value.detach().clone() for name, value in _tensors(pl_module).items()}
        self.weights = {name: value.to(pl_module.device) for name, value in self.weights.items()}

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = batches_done(trainer)
        decay = min(self.decay, (1 + step) / (10 + step)) if self.decay else 0.0
        parameters = {name: value.detach() for name, value in pl_module.named_parameters()}
        torch._foreach_lerp_([self.weights[name] for name in parameters], list(parameters.values()), 1 - decay)
        for name, value in pl_module.named_buffers():
            self.weights[name].copy_(value)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap(pl_module)

    @contextlib.contextmanager
    def averaged(self, pl_module: pl.LightningModule) -> Iterator[None]:
        """Inside, the model has the averaged weights."""
        self._swap(pl_module)
        try:
            yield
        finally:
            self._swap(pl_module)

    @torch.no_grad()
    def load_into(self, pl_module: pl.LightningModule) -> None:
        """Give the model the averaged weights for good."""
        for name, value in _tensors(pl_module).items():
            value.copy_(self.weights[name])

    @torch.no_grad()
    def _swap(self, pl_module: pl.LightningModule) -> None:
        for name, value in _tensors(pl_module).items():
            kept = value.clone()
            value.copy_(self.weights[name])
            self.weights[name].copy_(kept)
        self.applied = not self.applied

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.weights = state_dict["weights"]


def _tensors(pl_module: pl.LightningModule) -> dict[str, Tensor]:
    """Every parameter and buffer once, also where two modules share one."""
    return {**dict(pl_module.named_parameters()), **dict(pl_module.named_buffers())}
