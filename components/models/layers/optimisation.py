"""The optimiser and the course of its learning rate that most families share."""

import math
from collections.abc import Callable

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import nn

from components.models.family import TrainingConfig


def adamw(module: nn.Module, config: TrainingConfig, factor: Callable[[int], float]) -> OptimizerLRSchedulerConfig:
    """AdamW without decay on biases and norms; at each step the learning rate is ``config.learning_rate`` times ``factor(step)``."""
    matrices = [parameter for parameter in module.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in module.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, factor), "interval": "step"}}


def warm_cosine(step: int, warmup_steps: int, max_steps: int) -> float:
    """Grows on a line over the warm-up, and falls on a cosine to 0 at ``max_steps``."""
    warm = min(1.0, (step + 1) / max(1, warmup_steps))
    return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max_steps)))


def warm_linear(step: int, warmup_steps: int, max_steps: int, cooldown: float) -> float:
    """Grows on a line over the warm-up, stays at 1, and falls on a line to 0 over the last ``cooldown`` of ``max_steps``."""
    warm = min(1.0, (step + 1) / max(1, warmup_steps))
    return warm * min(1.0, max(0, max_steps - step) / max(1.0, cooldown * max_steps))
