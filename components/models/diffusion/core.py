"""What every diffusion shares, whatever it is asked for: the loss, drawing with guidance, and image-to-image.

Flow matching: Lipman et al. 2023. DDPM: Ho et al. 2020. Classifier-free guidance: Ho and Salimans 2022. Image-to-image: SDEdit, Meng et al. 2022.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from components.errors import UserError
from components.models.capabilities import OWN_SETTINGS, DataSpec, SamplerSettings, Steer
from components.models.diffusion.autoencoder import LatentSpace, PixelSpace
from components.models.diffusion.config import GaussianDiffusionConfig
from components.models.diffusion.paths import Cosine, Flow, Parts, Path
from components.models.diffusion.samplers import SAMPLERS, Denoise, integrate
from components.models.layers.optimisation import adamw, warm_cosine

CHUNK = 256
"""Images drawn at once where a caller may ask for any number."""
LEAST_LATENT_SIDE = 4
LOSS_TIMES = 4
"""At which the loss of an image is measured."""
TIME_SCALE = 1000
"""The networks' time embeddings were made for times up to a thousand."""
Batch = dict[str, Tensor]
Asked = tuple[Tensor, ...]
"""What the network is asked for, each [N, ...]: a class, or what a caption says. Empty where nothing can be asked for."""


class GaussianDiffusion(pl.LightningModule, ABC):
    """Images [N, C, S, S] in [0, 1] from noise. What can be asked for is a subclass's: `_asked`, `_nothing` and `_say`."""

    samplers = SAMPLERS

    def __init__(self, config: GaussianDiffusionConfig, data: DataSpec) -> None:
        super().__init__()
        self.config, self.data = config, data
        self.path: Path = _path(config)
        self.space = LatentSpace(config, data.channels) if config.latent_factor > 1 else PixelSpace()
        self.code_shape = self._code_shape()

    def _code_shape(self) -> tuple[int, int, int]:
        if self.config.latent_factor == 1:
            return (self.data.channels, self.data.image_size, self.data.image_size)
        side, rest = divmod(self.data.image_size, self.config.latent_factor)
        if rest or side < LEAST_LATENT_SIDE:
            raise UserError(
                f"latent_factor {self.config.latent_factor} does not suit images of {self.data.image_size} pixels: "
                f"choose one that divides the side and leaves at least {LEAST_LATENT_SIDE}, or 1 for diffusion on pixels."
            )
        return (self.config.latent_channels, side, side)

    # -- what can be asked for -----------------------------------------------------------------------------------

    @abstractmethod
    def _asked(self, batch: Batch, *, training: bool) -> Asked:
        """What the images of ``batch`` are to be asked with; while training some of it is hidden, for guidance."""

    @abstractmethod
    def _nothing(self, num: int) -> Asked:
        """What is asked ``num`` times where nothing is."""

    @abstractmethod
    def _say(self, x: Tensor, times: Tensor, asked: Asked) -> Tensor:
        """What the network says of ``x`` [N, C, S, S] at ``times`` [N] in [0, 1]."""

    # -- training ------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        if isinstance(self.space, LatentSpace) and self.global_step < self.config.autoencoder_steps:
            loss = self.space.loss(batch["image"])
            self.log("train/autoencoder_loss", loss, prog_bar=True)
            return loss
        loss = self._loss(self._codes(batch["image"]), self._asked(batch, training=True))
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        if isinstance(self.space, LatentSpace) and self.space.scale == 0:
            self.log("validation/autoencoder_loss", self.space.loss(batch["image"]), batch_size=len(batch["image"]))
            return
        loss = self._loss(self.space.encode(batch["image"]), self._asked(batch, training=False))
        self.log("validation/loss", loss, prog_bar=True, batch_size=len(batch["image"]))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Linear warm-up, then a cosine to zero, anew in each phase."""
        return adamw(self, self.config, self._learning_rate_factor)

    def _learning_rate_factor(self, step: int) -> float:
        first = self.config.autoencoder_steps if self.config.latent_factor > 1 else 0
        if step < first:
            return warm_cosine(step, self.config.warmup_steps, first)
        return warm_cosine(step - first, self.config.warmup_steps, self.config.max_steps - first)

    @torch.no_grad()
    def _codes(self, images: Tensor) -> Tensor:
        if isinstance(self.space, LatentSpace):
            self.space.measure(images)
        codes: Tensor = self.space.encode(images)
        return codes

    def _loss(self, codes: Tensor, asked: Asked) -> Tensor:
        times = self.path.draw_times(len(codes), codes.device)
        noise = torch.randn_like(codes)
        t = times[:, None, None, None]
        said = self._say(self.path.alpha(t) * codes + self.path.sigma(t) * noise, times, asked)
        return ((said - self.path.target(codes, noise)).square() * self.path.weight(t)).mean()

    def _losses(self, images: Tensor, asked: Asked, seed: int) -> Tensor:
        """The mean loss [N] of each image over times spread evenly; the noise of a time is the same for all."""
        generator, codes = torch.Generator().manual_seed(seed), self.space.encode(images)
        losses = torch.zeros(len(codes), device=codes.device)
        for time in torch.linspace(0, 1, LOSS_TIMES + 2)[1:-1].to(codes) * self.path.latest:
            noise, t = torch.randn(codes.shape[1:], generator=generator).to(codes).expand_as(codes), time.expand(len(codes), 1, 1, 1)
            said = self._say(self.path.alpha(t) * codes + self.path.sigma(t) * noise, time.expand(len(codes)), asked)
            losses += ((said - self.path.target(codes, noise)).square() * self.path.weight(t)).flatten(1).mean(1)
        return losses / LOSS_TIMES

    # -- drawing -------------------------------------------------------------------------------------------------

    def settled(self, settings: SamplerSettings) -> SamplerSettings:
        """``settings`` with the config's own in place of None; where nothing can be asked for there is nothing to guide."""
        guidance = self.config.guidance if settings.guidance is None else settings.guidance
        guided = bool(self._nothing(1))
        return SamplerSettings(settings.steps or self.config.sampling_steps, settings.method or self.config.sampler, guidance if guided else None)

    @torch.no_grad()
    def forward_strip(self, images: Tensor, *, frames: int, seed: int) -> Tensor:
        """``images`` [N, C, S, S] under more and more noise, [N, frames, C, S, S]."""
        codes = self.space.encode(images.to(self.device))
        noise = torch.randn(codes.shape, generator=torch.Generator().manual_seed(seed)).to(codes)
        times = torch.linspace(0, 1, frames).to(codes) * self.path.latest
        return torch.stack([self.space.decode(self.path.alpha(t) * codes + self.path.sigma(t) * noise) for t in times], dim=1)

    def _strip(self, num: int, frames: int, generator: torch.Generator, asked: Asked) -> Tensor:
        """``num`` draws on their way from noise, [num, frames, C, S, S]."""
        seen: list[Tensor] = []
        self._draw(num, generator, asked, self.settled(OWN_SETTINGS), see=seen.append)
        shown = torch.linspace(0, len(seen) - 1, min(frames, len(seen))).round().long()
        return torch.stack([self.space.decode(seen[int(index)]) for index in shown], dim=1)

    def _draw(
        self,
        num: int,
        generator: torch.Generator,
        asked: Asked,
        plan: SamplerSettings,
        *,
        see: Callable[[Tensor], None] | None = None,
        steer: Steer | None = None,
    ) -> Tensor:
        """``num`` images from noise; ``asked`` has as many rows."""
        drawn = []
        for start in range(0, num, CHUNK):
            rows = slice(start, min(num, start + CHUNK))
            x = torch.randn(rows.stop - start, *self.code_shape, generator=generator).to(self.device)
            denoise = self._denoiser(len(x), _rows(asked, rows, self.device), plan.guidance, steer)
            drawn.append(self.space.decode(self._integrate(denoise, x, plan, start=self.path.latest, steps=plan.steps or 1, generator=generator, see=see)))
        return torch.cat(drawn)

    def _edit(self, images: Tensor, strength: float, seed: int, asked: Asked, plan: SamplerSettings, steer: Steer | None = None) -> Tensor:
        """``images`` [N, C, S, S] brought to the time ``strength`` and back."""
        assert 0 < strength <= 1, "strength lies in (0, 1]"
        generator = torch.Generator().manual_seed(seed)
        start = strength * self.path.latest
        steps = max(1, math.ceil((plan.steps or 1) * strength))
        edited = []
        for place, chunk in enumerate(images.to(self.device).split(CHUNK)):
            rows = slice(place * CHUNK, place * CHUNK + len(chunk))
            noise = torch.randn(len(chunk), *self.code_shape, generator=generator).to(self.device)
            t = torch.tensor(start, device=self.device)
            x = self.path.alpha(t) * self.space.encode(chunk) + self.path.sigma(t) * noise
            denoise = self._denoiser(len(x), _rows(asked, rows, self.device), plan.guidance, steer)
            edited.append(self.space.decode(self._integrate(denoise, x, plan, start=start, steps=steps, generator=generator)))
        return torch.cat(edited)

    def _integrate(
        self,
        denoise: Denoise,
        x: Tensor,
        plan: SamplerSettings,
        *,
        start: float,
        steps: int,
        generator: torch.Generator,
        see: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        assert plan.method in SAMPLERS, f"no sampler {plan.method}"
        return integrate(denoise, self.path, x, start=start, steps=steps, method=plan.method, generator=generator, see=see)

    def _denoiser(self, num: int, asked: Asked, guidance: float | None, steer: Steer | None) -> Denoise:
        """The network as the samplers ask for it, guided towards ``asked``, for ``num`` images."""
        nothing = self._nothing(num)  # the same at every step

        def denoise(x: Tensor, t: Tensor) -> Parts:
            times = t.expand(len(x))
            if not asked or guidance == 0:
                said = self._say(x, times, nothing)
            elif guidance is None or guidance == 1:
                said = self._say(x, times, asked)
            else:
                both = tuple(torch.cat(pair) for pair in zip(asked, nothing, strict=True))
                wanted, without = self._say(x.repeat(2, 1, 1, 1), times.repeat(2), both).chunk(2)
                said = without + guidance * (wanted - without)
            parts = self._within_range(x, self.path.parts(x, said, t), t)
            return parts if steer is None else self._steered(x, parts, t, steer)

        return denoise

    def _steered(self, x: Tensor, parts: Parts, t: Tensor, steer: Steer) -> Parts:
        """The predicted image moved by ``steer``, and the noise that goes with it."""
        if t < 1e-3:
            return parts
        if not self.space.bounded:
            raise UserError("An image model steers diffusion on pixels only, and this model draws latents: leave the steering out.")
        image = (parts.image + 2 * steer((parts.image + 1) / 2, t)).clamp(-1, 1)
        return Parts(image, (x - self.path.alpha(t) * image) / self.path.sigma(t))

    def _within_range(self, x: Tensor, parts: Parts, t: Tensor) -> Parts:
        """The predicted image cut to what an image can be, and the noise that goes with it."""
        if not self.space.bounded or t < 1e-3:
            return parts
        image = parts.image.clamp(-1, 1)
        return Parts(image, (x - self.path.alpha(t) * image) / self.path.sigma(t))


def _path(config: GaussianDiffusionConfig) -> Path:
    if config.objective == "ddpm":
        return Cosine()
    return Flow(config.time_mean, config.time_spread, says_image=config.predicts == "image")


def _rows(asked: Asked, rows: slice, device: torch.device) -> Asked:
    return tuple(part[rows].to(device) for part in asked)
