"""Where there is matter: a coarse grid over the scene that lets rays skip what is empty (instant-ngp, appendix C)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

CELLS_PER_LOOK = 2**17
FORGETTING = 0.9
"""What a cell keeps of its density from one look to the next, unless more is found there."""
THIN = 0.01
"""A cell counts as empty when it would take less than this from a ray that crosses it."""


class OccupancyGrid(nn.Module):
    """Density per cell [G, G, G] of the cube [-1, 1]^3, and whether that counts; everything counts until the first look."""

    density: Tensor
    occupied: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("density", torch.zeros(size**3))
        self.register_buffer("occupied", torch.ones(size**3, dtype=torch.bool))

    def forward(self, points: Tensor) -> Tensor:
        """Whether there may be matter at ``points`` [..., 3]."""
        cell = ((points * 0.5 + 0.5) * self.size).long().clamp_(0, self.size - 1)
        return self.occupied[(cell[..., 0] * self.size + cell[..., 1]) * self.size + cell[..., 2]]

    @torch.no_grad()
    def look(self, density: Callable[[Tensor], Tensor], *, whole: bool = False) -> None:
        """Ask ``density`` (points [N, 3] to [N]) at a random place of each cell, or of as many as one look allows unless it is to see the ``whole``."""
        num = self.size**3
        cells = torch.arange(num, device=self.density.device)
        if num > CELLS_PER_LOOK and not whole:
            cells = torch.randint(num, (CELLS_PER_LOOK,), device=self.density.device)
        found = torch.cat([density(self._inside(chunk)) for chunk in cells.split(CELLS_PER_LOOK)]).to(self.density)
        self.density.mul_(FORGETTING)
        self.density[cells] = torch.maximum(self.density[cells], found)
        # Where all is thin still, what is not below the mean counts; the mean of equal values may be rounded up.
        self.occupied.copy_(self.density >= min(0.999 * float(self.density.mean()), THIN / (2 / self.size)))

    def _inside(self, cells: Tensor) -> Tensor:
        corner = torch.stack([cells // self.size**2, cells // self.size % self.size, cells % self.size], dim=1)
        return (corner + torch.rand(corner.shape, device=corner.device)) * (2 / self.size) - 1
