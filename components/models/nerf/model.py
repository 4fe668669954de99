"""The radiance field of a scene: fields behind an occupancy grid, or the classic pair of networks, trained on rays.

Mildenhall et al. 2020, "NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis".
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from components.cameras import Camera
from components.models.capabilities import DataSpec, Rendering
from components.models.nerf.config import NerfConfig
from components.models.nerf.fields import FIELDS, ClassicMlp, Field, Planes
from components.models.nerf.occupancy import OccupancyGrid
from components.models.nerf.rendering import contracted, crossing, edges, resampled, spread, weights_of, within

CHUNK = 4096
"""Rays rendered at once."""
UNSEEN = 1e-4
"""Samples with a smaller share in their ray are not asked for their colour."""
Batch = dict[str, Tensor]


class Seen(NamedTuple):
    """What rays see: colours [N, 3], distances [N] in radii and opacities [N]."""

    rgb: Tensor
    depth: Tensor
    opacity: Tensor


class Steps(NamedTuple):
    """Where rays are sampled: places, the steps' lengths, both [N, S] in radii, and positions in the field's cube [N, S, 3]."""

    distances: Tensor
    lengths: Tensor
    points: Tensor


class Nerf(pl.LightningModule):
    """Rays (origins and unit directions [N, 3] in world coordinates) to colours [N, 3]."""

    background: Tensor
    centre: Tensor

    def __init__(self, config: NerfConfig, data: DataSpec) -> None:
        super().__init__()
        assert data.scene is not None
        self.config, self.data, self.scene = config, data, data.scene
        self.field: Field = FIELDS[config.field](config)
        self.coarse = ClassicMlp(config) if config.field == "mlp" else None
        self.grid = OccupancyGrid(config.occupancy) if config.field != "mlp" else None
        self.register_buffer("background", torch.tensor(self.scene.background), persistent=False)
        self.register_buffer("centre", torch.tensor(self.scene.centre), persistent=False)

    # -- training ------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        if self.grid is not None and self.global_step >= self.config.occupancy_from and self.global_step % self.config.occupancy_every == 0:
            self.grid.look(self._density)
        passes = self._see(batch["origins"], batch["directions"], jitter=True)
        errors = [F.mse_loss(seen.rgb, batch["rgb"][: len(seen.rgb)]) for seen in passes]
        loss = torch.stack(errors).sum()
        if isinstance(self.field, Planes) and self.config.tv_weight:
            loss = loss + self.config.tv_weight * self.field.variation()
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/psnr", -10 * errors[-1].detach().log10())
        self.log("train/rays", float(len(passes[-1].rgb)))
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        error = F.mse_loss(self._see(batch["origins"], batch["directions"], jitter=False)[-1].rgb, batch["rgb"])
        self.log("validation/loss", error, prog_bar=True, batch_size=len(batch["rgb"]))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Adam, a rate of its own for planes or table; linear warm-up, then a cosine."""
        tables = [parameter for name, parameter in self.named_parameters() if ".planes." in name or name.endswith(".table")]
        known = {id(parameter) for parameter in tables}
        networks = [parameter for parameter in self.parameters() if id(parameter) not in known]
        groups: list[dict[str, Any]] = [{"params": networks, "lr": self.config.learning_rate, "weight_decay": self.config.weight_decay}]
        groups += [{"params": tables, "lr": self.config.grid_learning_rate, "weight_decay": 0.0}] if tables else []
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), eps=1e-15)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._learning_rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _learning_rate_factor(self, step: int) -> float:
        warm = min(1.0, (step + 1) / max(1, self.config.warmup_steps))
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.config.max_steps)))
        return warm * (self.config.cooldown + (1 - self.config.cooldown) * cosine)

    # -- rays ----------------------------------------------------------------------------------------------------

    def _see(self, origins: Tensor, directions: Tensor, *, jitter: bool) -> list[Seen]:
        """What rays see, from the last pass's view (and the coarse one's before it). In training the last rays of a batch may be left out."""
        origins = (origins - self.centre) / self.scene.radius
        if self.coarse is None:
            return [self._see_by_grid(origins, directions, jitter=jitter)]
        steps = self._steps(origins, directions, edges(len(origins), self.config.samples, origins), jitter=jitter)
        first, weights = self._blend(self.coarse, steps, directions, torch.ones_like(steps.distances, dtype=torch.bool))
        finer = self._finer(origins, directions, weights.detach(), jitter=jitter)
        return [first, self._blend(self.field, finer, directions, torch.ones_like(finer.distances, dtype=torch.bool))[0]]

    def _see_by_grid(self, origins: Tensor, directions: Tensor, *, jitter: bool) -> Seen:
        assert self.grid is not None
        steps = self._steps(origins, directions, edges(len(origins), self.config.samples, origins), jitter=jitter)
        asked = self.grid(steps.points) & (steps.lengths > 0)
        if self.training:
            num = max(1, int((asked.sum(1).cumsum(0) <= self.config.points_per_step).sum()))
            steps, asked, directions = Steps(*(part[:num] for part in steps)), asked[:num], directions[:num]
        return self._blend(self.field, steps, directions, asked)[0]

    def _steps(self, origins: Tensor, directions: Tensor, bounds: Tensor, *, jitter: bool) -> Steps:
        """Samples in the steps whose ends are the shares ``bounds`` [N, S + 1] of the way through the scene."""
        enter, leave = crossing(origins, directions, self.scene.near / self.scene.radius)
        far = self.scene.far / self.scene.radius if self.scene.unbounded else None
        ends = spread(bounds, enter, leave, far)
        distances = within(ends, jitter=jitter)
        points = origins[:, None] + distances[..., None] * directions[:, None]
        return Steps(distances, ends.diff(dim=1), contracted(points) if self.scene.unbounded else points)

    def _finer(self, origins: Tensor, directions: Tensor, weights: Tensor, *, jitter: bool) -> Steps:
        """The coarse steps cut anew at places drawn where they found matter."""
        bounds = edges(len(origins), self.config.samples, origins)
        drawn = resampled(bounds, weights, self.config.fine_samples, jitter=jitter)
        return self._steps(origins, directions, torch.cat([bounds, drawn], dim=1).sort(dim=1).values, jitter=jitter)

    def _blend(self, field: Field, steps: Steps, directions: Tensor, asked: Tensor) -> tuple[Seen, Tensor]:
        """Colours, distances and opacities of rays, and the weights [N, S] of their samples; only those ``asked`` [N, S] are looked at."""
        density = torch.zeros_like(steps.distances)
        found, passed = field(steps.points[asked])
        density = density.masked_scatter(asked, found.to(density.dtype))
        weights = weights_of(density, steps.lengths)
        seen = asked & (weights.detach() > UNSEEN)
        rays = seen.nonzero()[:, 0]
        colours = field.rgb(passed[seen[asked]], directions[rays]).to(density.dtype)
        opacity = weights.sum(1)
        rgb = torch.zeros_like(directions).index_add(0, rays, weights[seen][:, None] * colours) + (1 - opacity)[:, None] * self.background
        far = self.scene.far / self.scene.radius
        return Seen(rgb, (weights * steps.distances).sum(1) + (1 - opacity) * far, opacity), weights

    def _density(self, points: Tensor) -> Tensor:
        return self.field(points)[0]

    # -- after training ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def finish(self, batches: Iterable[Batch]) -> None:
        """Look at the whole occupancy grid with the weights that are kept; the rays are not needed."""
        if self.grid is None:
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.grid.density.zero_()
            for _ in range(4):
                self.grid.look(self._density, whole=True)

    # -- capabilities --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def render(self, camera: Camera) -> Rendering:
        """What ``camera`` sees; ask in eval mode."""
        height, width = camera.lens.height, camera.lens.width
        origins, directions = (torch.from_numpy(array.astype("float32")).to(self.device) for array in camera.rays())
        chunks = [self._see(*rays, jitter=False)[-1] for rays in zip(origins.split(CHUNK), directions.split(CHUNK), strict=True)]
        rgb, depth, opacity = (torch.cat(parts) for parts in zip(*chunks, strict=True))
        return Rendering(rgb.clamp(0, 1).view(height, width, 3), depth.view(height, width) * self.scene.radius, opacity.clamp(0, 1).view(height, width))
