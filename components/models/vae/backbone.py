"""The networks between images and latents. Whatever a latent looks like inside, outside it is a vector [N, latent_dim]."""

import math
from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from components.models.layers.conv import ConvDecoder, ConvEncoder, Pyramid, zeroed
from components.models.layers.folding import fold_factor, folded, unfolded
from components.models.vae.config import VaeConfig

LARGEST_LATENT_SIDE = 8
"""`autoencoder-kl` halves an image until its latent is at most this wide: 8x8x4 is 256 numbers for any image from 12 to 64 pixels."""


class Backbone(nn.Module, ABC):
    """New, its posterior is the standard normal and its decoder's output zero."""

    latent_dim: int

    @abstractmethod
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation, each [N, latent_dim], of ``images`` [N, C, S, S] in [0, 1]."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Maps [N, outputs, S, S] of ``latents`` [N, latent_dim]."""


def build_backbone(config: VaeConfig, channels: int, image_size: int, outputs: int) -> Backbone:
    """The network that ``config.backbone`` names, for images of ``channels``; ``outputs`` is how many maps its decoder gives."""
    kind = SpatialBackbone if config.backbone == "autoencoder-kl" else VectorBackbone
    return kind(config, channels, image_size, outputs)


class VectorBackbone(Backbone):
    """Our own convolutional residual networks round one latent vector."""

    def __init__(self, config: VaeConfig, channels: int, image_size: int, outputs: int) -> None:
        super().__init__()
        self.image_size, self.factor = image_size, fold_factor(image_size, config.working_side)
        pyramid = Pyramid(math.ceil(image_size / self.factor), config.width, config.max_width, config.blocks, config.dropout)
        self.latent_dim = config.latent_dim
        self.encoder = ConvEncoder(channels * self.factor**2, pyramid)
        self.posterior = zeroed(nn.Linear(self.encoder.features, 2 * config.latent_dim))
        self.decoder = ConvDecoder(config.latent_dim, outputs * self.factor**2, pyramid)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.posterior(self.encoder(folded(images, self.factor))).chunk(2, dim=1)
        return mean, log_std

    def decode(self, latents: Tensor) -> Tensor:
        return unfolded(self.decoder(latents), self.factor, self.image_size)


class SpatialBackbone(Backbone):
    """The `AutoencoderKL` of diffusers, built from its config: a latent map [latent_channels, s, s], outside the vector of its numbers.

    Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models", section 3.1.
    """

    def __init__(self, config: VaeConfig, channels: int, image_size: int, outputs: int) -> None:
        super().__init__()
        from diffusers import AutoencoderKL

        halvings = num_halvings(image_size)
        widths = [min(config.width * 2**level, config.max_width) for level in range(halvings + 1)]
        self.image_size = image_size
        self.multiple = 2**halvings
        side = math.ceil(image_size / self.multiple)
        self.shape = (config.latent_channels, side, side)
        self.latent_dim = math.prod(self.shape)
        net: Any = AutoencoderKL(
            in_channels=channels,
            out_channels=outputs,
            down_block_types=("DownEncoderBlock2D",) * len(widths),
            up_block_types=("UpDecoderBlock2D",) * len(widths),
            block_out_channels=tuple(widths),
            layers_per_block=config.blocks,
            latent_channels=config.latent_channels,
            norm_num_groups=math.gcd(8, *widths),
            sample_size=image_size,
        )
        zeroed(net.quant_conv)
        zeroed(net.decoder.conv_out)
        self.net = net

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        whole = folded(images, 1, self.multiple)  # no folding, only the border
        posterior = self.net.encode(whole * 2 - 1).latent_dist
        return posterior.mean.flatten(1), posterior.logvar.flatten(1) / 2

    def decode(self, latents: Tensor) -> Tensor:
        whole: Tensor = self.net.decode(latents.unflatten(1, self.shape)).sample
        return unfolded(whole, 1, self.image_size)


def num_halvings(image_size: int) -> int:
    """How often `autoencoder-kl` halves an image: at least once."""
    return max(1, math.ceil(math.log2(image_size / LARGEST_LATENT_SIDE)))
