"""Diffusion by class: what is asked for is a label, and the network is diffusers' U-Net."""

import math

import torch
from torch import Tensor, nn

from components.models.capabilities import OWN_SETTINGS, DataSpec, SamplerSettings
from components.models.diffusion.config import DiffusionConfig
from components.models.diffusion.core import TIME_SCALE, Asked, Batch, GaussianDiffusion
from components.models.layers.classes import ClassCounts
from components.models.layers.conv import zeroed
from components.models.layers.folding import fold_factor, folded, unfolded


class Diffusion(GaussianDiffusion):
    """Draws images [N, C, S, S] in [0, 1] from noise."""

    config: DiffusionConfig

    def __init__(self, config: DiffusionConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        self.num_classes = len(data.class_names) if config.conditional else 0
        self.network = UNet(self.code_shape[0], self.code_shape[1], self.num_classes, config)
        self.classes = ClassCounts(self.num_classes)

    @property
    def conditional(self) -> bool:
        """Whether `sample_images` heeds labels."""
        return self.num_classes > 0

    def _asked(self, batch: Batch, *, training: bool) -> Asked:
        if not self.conditional:
            return ()
        if not training:
            return (batch["label"],)
        self.classes.count(batch["label"])
        hidden = torch.rand(len(batch["label"]), device=self.device) < self.config.label_dropout
        return (torch.where(hidden, self.num_classes, batch["label"]),)

    def _nothing(self, num: int) -> Asked:
        return (torch.full((num,), self.num_classes, device=self.device),) if self.conditional else ()

    def _say(self, x: Tensor, times: Tensor, asked: Asked) -> Tensor:
        out: Tensor = self.network(x, times, asked[0] if asked else None)
        return out

    def _of(self, labels: Tensor | None) -> Asked:
        return () if labels is None or not self.conditional else (labels,)

    # -- capabilities --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample_images(self, num: int, *, seed: int, labels: Tensor | None = None, settings: SamplerSettings = OWN_SETTINGS) -> Tensor:
        """Draws from noise, [num, C, S, S] in [0, 1]; without ``labels`` [num] the classes come as often as in training."""
        generator = torch.Generator().manual_seed(seed)
        return self._draw(num, generator, self._of(self.classes.draw(num, generator) if labels is None else labels), self.settled(settings))

    @torch.no_grad()
    def edit_images(self, images: Tensor, *, strength: float, seed: int, labels: Tensor | None = None, settings: SamplerSettings = OWN_SETTINGS) -> Tensor:
        """``images`` [N, C, S, S] brought to the time ``strength`` and back; without ``labels`` no class is asked for."""
        return self._edit(images, strength, seed, self._of(labels), self.settled(settings))

    @torch.no_grad()
    def reverse_strip(self, num: int, *, frames: int, seed: int, labels: Tensor | None = None) -> Tensor:
        """``num`` draws on their way from noise, [num, frames, C, S, S]."""
        generator = torch.Generator().manual_seed(seed)
        return self._strip(num, frames, generator, self._of(self.classes.draw(num, generator) if labels is None else labels))

    @torch.no_grad()
    def image_losses(self, images: Tensor, *, seed: int, labels: Tensor | None = None) -> Tensor:
        """The loss [N] of ``images`` [N, C, S, S]; without ``labels`` no class is asked for."""
        asked = tuple(part.to(self.device) for part in self._of(labels)) or self._nothing(len(images))
        return self._losses(images.to(self.device), asked, seed)


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
