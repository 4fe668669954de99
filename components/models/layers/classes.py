"""How often each class was trained on, for draws of which no class is asked."""

import torch
from torch import Tensor, nn


class ClassCounts(nn.Module):
    """Counts the labels of the training batches; without classes it does nothing."""

    counts: Tensor
    """[K]"""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(num_classes))

    def count(self, labels: Tensor) -> None:
        self.counts += torch.bincount(labels, minlength=len(self.counts))

    def draw(self, num: int, generator: torch.Generator) -> Tensor | None:
        """``num`` labels, each class as often as in training (evenly when nothing was counted yet); None without classes."""
        if not len(self.counts):
            return None
        return torch.multinomial(self.counts.cpu().double() + 1e-9, num, replacement=True, generator=generator)
