"""The space that diffusion works in: pixels, or the latents of a KL autoencoder (Rombach et al. 2022, "Latent Diffusion Models")."""

import torch
from torch import Tensor, nn

from components.models.diffusion.config import GaussianDiffusionConfig

DECODED_AT_ONCE = 32
"""Images; the decoder's maps at full resolution are many times as large as the images and their latents."""


class PixelSpace(nn.Module):
    """Images in [0, 1] scaled to [-1, 1]."""

    bounded = True
    """Whether a predicted image can be cut to [-1, 1]."""

    def encode(self, images: Tensor) -> Tensor:
        return images * 2 - 1

    def decode(self, codes: Tensor) -> Tensor:
        return ((codes + 1) / 2).clamp(0, 1)


class LatentSpace(nn.Module):
    """Images [N, C, S, S] <-> latents [N, latent_channels, S / factor, S / factor] of about unit variance."""

    bounded = False
    scale: Tensor
    """Standard deviation of the raw latents; 0 until it was measured."""

    def __init__(self, config: GaussianDiffusionConfig, channels: int) -> None:
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        super().__init__()
        levels = config.latent_factor.bit_length()
        widths = tuple(config.autoencoder_width * min(2**level, 4) for level in range(levels))
        self.kl_weight = config.autoencoder_kl_weight
        self.network = AutoencoderKL(
            in_channels=channels,
            out_channels=channels,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=widths,
            layers_per_block=1,
            latent_channels=config.latent_channels,
            norm_num_groups=8,
            mid_block_add_attention=False,
        )
        self.register_buffer("scale", torch.zeros(()))

    def loss(self, images: Tensor) -> Tensor:
        """Squared and absolute error of the reconstruction, plus the weighed KL, per pixel and channel."""
        posterior = self.network.encode(images * 2 - 1).latent_dist
        error = self.network.decode(posterior.sample()).sample - (images * 2 - 1)
        return error.square().mean() + error.abs().mean() + self.kl_weight * posterior.kl().mean() / images[0].numel()

    def measure(self, images: Tensor) -> None:
        """Take the scale of the latents from ``images``, once."""
        if self.scale == 0:
            self.scale.copy_(self.network.encode(images * 2 - 1).latent_dist.mean.std())

    def encode(self, images: Tensor) -> Tensor:
        return self.network.encode(images * 2 - 1).latent_dist.mean / self._scale()

    def decode(self, codes: Tensor) -> Tensor:
        images = torch.cat([self.network.decode(chunk * self._scale()).sample for chunk in codes.split(DECODED_AT_ONCE)])
        return ((images + 1) / 2).clamp(0, 1)

    def _scale(self) -> Tensor:
        return torch.where(self.scale > 0, self.scale, torch.ones_like(self.scale))
