"""Diffusion: the network, its loss, drawing with guidance, and image-to-image.

Flow matching: Lipman et al. 2023. DDPM: Ho et al. 2020. Classifier-free guidance: Ho and Salimans 2022. Image-to-image: SDEdit, Meng et al. 2022.
"""

import math
from collections.abc import Callable

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from components.errors import UserError
from components.models.capabilities import OWN_SETTINGS, DataSpec, SamplerSettings
from components.models.diffusion.autoencoder import LatentSpace, PixelSpace
from components.models.diffusion.config import DiffusionConfig
from components.models.diffusion.paths import Cosine, Flow, Parts, Path
from components.models.diffusion.samplers import SAMPLERS, Denoise, integrate
from components.models.layers.classes import ClassCounts
from components.models.layers.conv import zeroed
from components.models.layers.folding import fold_factor, folded, unfolded
from components.models.layers.optimisation import adamw, warm_cosine

CHUNK = 256
"""Images drawn at once where a caller may ask for any number."""
LEAST_LATENT_SIDE = 4
TIME_SCALE = 1000
"""The network's time embedding was made for times up to a thousand."""
Batch = dict[str, Tensor]


class Diffusion(pl.LightningModule):
    """Draws images [N, C, S, S] in [0, 1] from noise."""

    samplers = SAMPLERS

    def __init__(self, config: DiffusionConfig, data: DataSpec) -> None:
        super().__init__()
        self.config, self.data = config, data
        self.path: Path = _path(config)
        self.num_classes = len(data.class_names) if config.conditional else 0
        self.space = LatentSpace(config, data.channels) if config.latent_factor > 1 else PixelSpace()
        self.code_shape = self._code_shape()
        self.network = UNet(self.code_shape[0], self.code_shape[1], self.num_classes, config)
        self.classes = ClassCounts(self.num_classes)

    @property
    def conditional(self) -> bool:
        """Whether `sample_images` heeds labels."""
        return self.num_classes > 0

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

    # -- training ------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        if isinstance(self.space, LatentSpace) and self.global_step < self.config.autoencoder_steps:
            loss = self.space.loss(batch["image"])
            self.log("train/autoencoder_loss", loss, prog_bar=True)
            return loss
        labels = self._training_labels(batch)
        loss = self._loss(self._codes(batch["image"]), labels)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        if isinstance(self.space, LatentSpace) and self.space.scale == 0:
            self.log("validation/autoencoder_loss", self.space.loss(batch["image"]), batch_size=len(batch["image"]))
            return
        labels = batch["label"] if self.conditional else None
        self.log("validation/loss", self._loss(self.space.encode(batch["image"]), labels), prog_bar=True, batch_size=len(batch["image"]))

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

    def _training_labels(self, batch: Batch) -> Tensor | None:
        """The batch's labels, some of them hidden (class K); None without labels."""
        if not self.conditional:
            return None
        self.classes.count(batch["label"])
        hidden = torch.rand(len(batch["label"]), device=self.device) < self.config.label_dropout
        return torch.where(hidden, self.num_classes, batch["label"])

    def _loss(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        times = self.path.draw_times(len(codes), codes.device)
        noise = torch.randn_like(codes)
        t = times[:, None, None, None]
        said = self.network(self.path.alpha(t) * codes + self.path.sigma(t) * noise, times, labels)
        return ((said - self.path.target(codes, noise)).square() * self.path.weight(t)).mean()

    # -- capabilities --------------------------------------------------------------------------------------------

    def settled(self, settings: SamplerSettings) -> SamplerSettings:
        """``settings`` with the config's own in place of None; without classes there is nothing to guide."""
        guidance = self.config.guidance if settings.guidance is None else settings.guidance
        return SamplerSettings(settings.steps or self.config.sampling_steps, settings.method or self.config.sampler, guidance if self.conditional else None)

    @torch.no_grad()
    def sample_images(self, num: int, *, seed: int, labels: Tensor | None = None, settings: SamplerSettings = OWN_SETTINGS) -> Tensor:
        """Draws from noise, [num, C, S, S] in [0, 1]; without ``labels`` [num] the classes come as often as in training."""
        return self._draw(num, seed, labels, self.settled(settings), None)

    @torch.no_grad()
    def edit_images(self, images: Tensor, *, strength: float, seed: int, labels: Tensor | None = None, settings: SamplerSettings = OWN_SETTINGS) -> Tensor:
        """``images`` [N, C, S, S] brought to the time ``strength`` and back; without ``labels`` no class is asked for."""
        assert 0 < strength <= 1, "strength lies in (0, 1]"
        plan, generator = self.settled(settings), torch.Generator().manual_seed(seed)
        start = strength * self.path.latest
        steps = max(1, math.ceil((plan.steps or 1) * strength))
        edited = []
        for place, chunk in enumerate(images.to(self.device).split(CHUNK)):
            noise = torch.randn(len(chunk), *self.code_shape, generator=generator).to(self.device)
            t = torch.tensor(start, device=self.device)
            x = self.path.alpha(t) * self.space.encode(chunk) + self.path.sigma(t) * noise
            chosen = None if labels is None else labels[place * CHUNK : place * CHUNK + len(chunk)].to(self.device)
            denoise = self._denoiser(chosen, plan.guidance)
            edited.append(self.space.decode(self._integrate(denoise, x, plan, start=start, steps=steps, generator=generator)))
        return torch.cat(edited)

    @torch.no_grad()
    def forward_strip(self, images: Tensor, *, frames: int, seed: int) -> Tensor:
        """``images`` [N, C, S, S] under more and more noise, [N, frames, C, S, S]."""
        codes = self.space.encode(images.to(self.device))
        noise = torch.randn(codes.shape, generator=torch.Generator().manual_seed(seed)).to(codes)
        times = torch.linspace(0, 1, frames).to(codes) * self.path.latest
        return torch.stack([self.space.decode(self.path.alpha(t) * codes + self.path.sigma(t) * noise) for t in times], dim=1)

    @torch.no_grad()
    def reverse_strip(self, num: int, *, frames: int, seed: int, labels: Tensor | None = None) -> Tensor:
        """``num`` draws on their way from noise, [num, frames, C, S, S]."""
        seen: list[Tensor] = []
        plan = self.settled(OWN_SETTINGS)
        self._draw(num, seed, labels, plan, seen.append)
        shown = torch.linspace(0, len(seen) - 1, min(frames, len(seen))).round().long()
        return torch.stack([self.space.decode(seen[int(index)]) for index in shown], dim=1)

    def _draw(self, num: int, seed: int, labels: Tensor | None, plan: SamplerSettings, see: Callable[[Tensor], None] | None) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        labels = self.classes.draw(num, generator) if labels is None else labels
        drawn = []
        for start in range(0, num, CHUNK):
            count = min(CHUNK, num - start)
            chosen = None if labels is None else labels[start : start + count].to(self.device)
            x = torch.randn(count, *self.code_shape, generator=generator).to(self.device)
            if see is not None:
                see(x)
            denoise = self._denoiser(chosen, plan.guidance)
            x = self._integrate(denoise, x, plan, start=self.path.latest, steps=plan.steps or 1, generator=generator, see=see)
            drawn.append(self.space.decode(x))
        return torch.cat(drawn)

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

    def _denoiser(self, labels: Tensor | None, guidance: float | None) -> Denoise:
        """The network as the samplers ask for it, with guidance towards ``labels`` [N]; without them no class is asked for."""

        def denoise(x: Tensor, t: Tensor) -> Parts:
            times = t.expand(len(x))
            nothing = torch.full((len(x),), self.num_classes, device=x.device) if self.conditional else None
            if labels is None or not self.conditional or guidance == 0:
                said = self.network(x, times, nothing)
            elif guidance is None or guidance == 1:
                said = self.network(x, times, labels)
            else:
                assert nothing is not None
                with_class, without = self.network(x.repeat(2, 1, 1, 1), times.repeat(2), torch.cat([labels, nothing])).chunk(2)
                said = without + guidance * (with_class - without)
            return self._within_range(x, self.path.parts(x, said, t), t)

        return denoise

    def _within_range(self, x: Tensor, parts: Parts, t: Tensor) -> Parts:
        """The predicted image cut to what an image can be, and the noise that goes with it."""
        if not self.space.bounded or t < 1e-3:
            return parts
        image = parts.image.clamp(-1, 1)
        return Parts(image, (x - self.path.alpha(t) * image) / self.path.sigma(t))


def _path(config: DiffusionConfig) -> Path:
    if config.objective == "ddpm":
        return Cosine()
    return Flow(config.time_mean, config.time_spread, says_image=config.predicts == "image")


class UNet(nn.Module):
    """diffusers' U-Net for codes [N, C, S, S] of any side, folded to the working side; it says nothing (zero) when it is new."""

    def __init__(self, channels: int, side: int, num_classes: int, config: DiffusionConfig) -> None:
        from diffusers.models.unets.unet_2d import UNet2DModel

        super().__init__()
        levels = len(config.widths)
        self.side, self.factor, self.multiple = side, fold_factor(side, config.working_side), 2 ** (levels - 1)
        smallest = math.ceil(side / self.factor / self.multiple)
        attends = [smallest * 2**level <= config.attention_side for level in reversed(range(levels))]
        channels *= self.factor**2
        self.network = UNet2DModel(
            in_channels=channels,
            out_channels=channels,
            layers_per_block=config.blocks,
            block_out_channels=config.widths,
            down_block_types=tuple("AttnDownBlock2D" if attend else "DownBlock2D" for attend in attends),
            up_block_types=tuple("AttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)),
            attention_head_dim=config.head_width,
            norm_num_groups=8,
            dropout=config.dropout,
            resnet_time_scale_shift="scale_shift",  # added before a norm, as by default, most of time and class is normalised away
            num_class_embeds=num_classes + 1 if num_classes else None,
        )
        self.network.conv_out = zeroed(self.network.conv_out)

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:
        """``x`` [N, C, S, S] at ``times`` [N] in [0, 1]; ``labels`` [N], class K for none."""
        maps = folded(x, self.factor, self.multiple)
        return unfolded(self.network(maps, times * TIME_SCALE, class_labels=labels).sample, self.factor, self.side)
