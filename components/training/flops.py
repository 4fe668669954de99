"""Floating point operations of one training step, counted while the first one runs."""

from typing import Any

import pytorch_lightning as pl
from torch.utils.flop_counter import FlopCounterMode

from components.training.progress import batches_done


class FlopCount(pl.Callback):
    """Counts matrix products and convolutions of the run's first step, forward, backward and optimiser."""

    def __init__(self) -> None:
        self.flops_per_step = 0
        self._counter: FlopCounterMode | None = None

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        if batches_done(trainer) == 1:
            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self.flops_per_step, self._counter = int(self._counter.get_total_flops()), None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self._counter = None

    def state_dict(self) -> dict[str, Any]:
        return {"flops_per_step": self.flops_per_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.flops_per_step = state_dict["flops_per_step"]
