"""The networks between images and latents. Whatever a latent looks like inside, outside it is a vector [N, latent_dim]."""

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from components.models.layers.conv import ConvDecoder, ConvEncoder, Pyramid, zeroed
from components.models.vae.config import VaeConfig

LARGEST_LATENT_SIDE = 8
"""`autoencoder-kl` halves an image until its latent is at most this wide: 8x8x4 is 256 numbers for any image from 12 to 64 pixels."""


class Backbone(nn.Module):
    """New, its posterior is the standard normal and its decoder's output zero."""

    latent_dim: int

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation, each [N, latent_dim], of ``images`` [N, C, S, S] in [0, 1]."""
        raise NotImplementedError

    def decode(self, latents: Tensor) -> Tensor:
        """Maps [N, outputs, S, S] of ``latents`` [N, latent_dim]."""
        raise NotImplementedError


def build_backbone(config: VaeConfig, channels: int, image_size: int, outputs: int) -> Backbone:
    """The network that ``config.backbone`` names, for images of ``channels``; ``outputs`` is how many maps its decoder gives."""
    kind = SpatialBackbone if config.backbone == "autoencoder-kl" else VectorBackbone
    return kind(config, channels, image_size, outputs)


class VectorBackbone(Backbone):
    """Our own convolutional residual networks round one latent vector."""

    def __init__(self, config: VaeConfig, channels: int, image_size: int, outputs: int) -> None:
        super().__init__()
        pyramid = Pyramid(image_size, config.width, config.max_width, config.blocks, config.dropout, config.patch)
        self.latent_dim = config.latent_dim
        self.encoder = ConvEncoder(channels, pyramid)
        self.posterior = zeroed(nn.Linear(self.encoder.features, 2 * config.latent_dim))
        self.decoder = ConvDecoder(config.latent_dim, outputs, pyramid)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.posterior(self.encoder(images)).chunk(2, dim=1)
        return mean, log_std

    def decode(self, latents: Tensor) -> Tensor:
        maps: Tensor = self.decoder(latents)
        return maps


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
        self.missing = -image_size % 2**halvings
        side = (image_size + self.missing) // 2**halvings
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
        whole = F.pad(images, (0, self.missing, 0, self.missing), mode="replicate") if self.missing else images
        posterior = self.net.encode(whole * 2 - 1).latent_dist
        return posterior.mean.flatten(1), posterior.logvar.flatten(1) / 2

    def decode(self, latents: Tensor) -> Tensor:
        whole: Tensor = self.net.decode(latents.unflatten(1, self.shape)).sample
        return whole[..., : self.image_size, : self.image_size]


def num_halvings(image_size: int) -> int:
    """How often `autoencoder-kl` halves an image: at least once."""
    return max(1, math.ceil(math.log2(image_size / LARGEST_LATENT_SIDE)))
