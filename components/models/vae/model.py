"""The variational autoencoder: network, bound, and the prior fitted after training.

Kingma and Welling 2014, "Auto-Encoding Variational Bayes". KL warm-up: Sonderby et al. 2016, "Ladder VAE", section 3.3; free
nats: Kingma et al. 2016, "Inverse Autoregressive Flow", appendix C.8.
"""

import math
from collections.abc import Iterable

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from components.models.capabilities import OWN_SETTINGS, DataSpec, SamplerSettings
from components.models.layers.optimisation import adamw, warm_cosine
from components.models.vae.backbone import build_backbone
from components.models.vae.config import VaeConfig
from components.models.vae.likelihood import DiscretisedLogistics
from components.models.vae.prior import MixturePrior

CHUNK = 512
"""Images decoded at once where a caller may ask for any number."""
ACTIVE_VARIANCE = 0.01
"""A unit is active when the variance of its posterior mean over the data is above this (Burda et al. 2016, section 5)."""
MAX_PRIOR_POINTS = 20_000
"""Latents that the prior is fitted to, at most: expectation maximisation on more takes minutes."""
Batch = dict[str, Tensor]


class Vae(pl.LightningModule):
    """Images [N, C, S, S] in [0, 1] <-> latent vectors [N, latent_dim]."""

    def __init__(self, config: VaeConfig, data: DataSpec) -> None:
        super().__init__()
        self.config, self.data = config, data
        self.pixels = DiscretisedLogistics(config.levels, config.mixtures)
        self.backbone = build_backbone(config, data.channels, data.image_size, self.pixels.outputs(data.channels))
        self.latent_dim = self.backbone.latent_dim
        self.prior = MixturePrior(self.latent_dim, config.prior_components, len(data.class_names) or 10)
        self.num_dims = data.channels * data.image_size**2

    # -- training ------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        nats, kl = self._bound(batch["image"])
        weight = self.config.kl_weight * min(1.0, (self.global_step + 1) / max(1, self.config.kl_warmup_steps))
        loss = (nats.mean() + weight * kl.mean(0).clamp(min=self.config.free_nats).sum()) / self.num_dims
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/reconstruction_bits", nats.mean() / (self.num_dims * math.log(2)))
        self.log("train/kl_nats", kl.sum(1).mean())
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        nats, kl = self._bound(batch["image"])
        bits = (nats + kl.sum(1)).mean() / (self.num_dims * math.log(2))
        self.log("validation/loss", bits, prog_bar=True, batch_size=len(batch["image"]))
        self.log("validation/kl_nats", kl.sum(1).mean(), batch_size=len(batch["image"]))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Linear warm-up, then a cosine to zero."""
        return adamw(self, self.config, lambda step: warm_cosine(step, self.config.warmup_steps, self.config.max_steps))

    def _bound(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Negative log likelihood of one draw in nats [N], and the KL from the standard normal per unit [N, latent_dim]."""
        mean, log_std = self.encode(images)
        latents = mean + log_std.exp() * torch.randn_like(mean)
        kl = 0.5 * (mean.square() + (2 * log_std).exp() - 1) - log_std
        return -self.pixels.log_prob(self.backbone.decode(latents), images), kl

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of the posterior, each [N, latent_dim]."""
        mean, log_std = self.backbone.encode(images)
        return mean, log_std.clamp(-8, 4)

    # -- after training ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def finish(self, batches: Iterable[Batch]) -> None:
        """Fit the prior to draws of the posteriors of ``batches``, the training split's original rows."""
        means, log_stds, labels = [], [], []
        for batch in batches:
            mean, log_std = self.encode(batch["image"].to(self.device))
            means.append(mean.cpu())
            log_stds.append(log_std.cpu())
            labels += [batch["label"]] if "label" in batch else []
        assert means, "finish needs the training rows"
        rows = _spread(sum(map(len, means)), MAX_PRIOR_POINTS)
        latents, repeats = self._posterior_draws(torch.cat(means)[rows], torch.cat(log_stds)[rows])
        known = torch.cat(labels)[rows].repeat(repeats) if labels and self.data.class_names else None
        self.prior.fit(latents.to(self.device), None if known is None else known.to(self.device))

    def _posterior_draws(self, mean: Tensor, log_std: Tensor) -> tuple[Tensor, int]:
        """As many latents of every row as there is room for, [repeats * N, D], and how many that are of each."""
        repeats = min(self.config.prior_draws, max(1, MAX_PRIOR_POINTS // len(mean)))
        noise = torch.randn(repeats, *mean.shape, generator=torch.Generator().manual_seed(0))
        return (mean + log_std.exp() * noise).flatten(0, 1), repeats

    # -- capabilities --------------------------------------------------------------------------------------------

    @property
    def sampler(self) -> str:
        """How samples come about, for the record of a figure."""
        return "decoder draw" if self.config.draw_pixels else "decoder mean"

    @property
    def conditional(self) -> bool:
        """Whether `sample_images` heeds labels: once the prior is fitted on labelled data."""
        return self.prior.by_class

    @torch.no_grad()
    def sample_images(self, num: int, *, seed: int, labels: Tensor | None = None, settings: SamplerSettings = OWN_SETTINGS) -> Tensor:
        """Decoded draws of the prior, [num, C, S, S] in [0, 1]; ``labels`` [num] count once `finish` has seen labels, ``settings`` never."""
        generator = torch.Generator().manual_seed(seed)
        return self._images(self.prior.draw(num, generator, labels), generator)

    @torch.no_grad()
    def sample_before_prior(self, num: int, *, seed: int) -> Tensor:
        """As `sample_images`, but of the standard normal."""
        generator = torch.Generator().manual_seed(seed)
        return self._images(torch.randn(num, self.latent_dim, generator=generator).to(self.device), generator)

    def _images(self, latents: Tensor, generator: torch.Generator) -> Tensor:
        """What the decoder makes of ``latents`` [N, D]: draws or means, as the config says."""
        chunks = latents.split(CHUNK)
        if self.config.draw_pixels:
            return torch.cat([self.pixels.draw(self.backbone.decode(chunk), generator) for chunk in chunks])
        return torch.cat([self.decode(chunk) for chunk in chunks])

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """The mean image of each latent, [N, C, S, S] in [0, 1]."""
        return self.pixels.mean(self.backbone.decode(latents))

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        return self.decode(self.embed(images))

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """The posterior's mean, [N, latent_dim]."""
        return self.encode(images)[0]

    @property
    def likelihood(self) -> str:
        """What `bits_per_dim` counts; figures compare only where it is the same."""
        return f"{self.config.levels} levels per channel, importance-weighted bound of {self.config.importance_samples} draws"

    @property
    def levels(self) -> int:
        return self.config.levels

    @torch.no_grad()
    def bits_per_dim(self, images: Tensor, *, seed: int) -> Tensor:
        """The importance-weighted bound (Burda et al. 2016) under the fitted prior, in bits per pixel and channel, [N]."""
        generator = torch.Generator().manual_seed(seed)
        mean, log_std = self.encode(images)
        log_ratios = []
        for _ in range(self.config.importance_samples):
            noise = torch.randn(mean.shape, generator=generator).to(mean)
            latents = mean + log_std.exp() * noise
            log_posterior = (-0.5 * (noise.square() + math.log(2 * math.pi)) - log_std).sum(1)
            log_ratios.append(self.pixels.log_prob(self.backbone.decode(latents), images) + self.prior.log_prob(latents) - log_posterior)
        log_likelihood = torch.logsumexp(torch.stack(log_ratios), dim=0) - math.log(len(log_ratios))
        return -log_likelihood / (self.num_dims * math.log(2))

    @torch.no_grad()
    def active_units(self, images: Tensor) -> int:
        """How many latent units carry information about ``images``."""
        return int((self.embed(images).var(dim=0) > ACTIVE_VARIANCE).sum())


def _spread(num: int, most: int) -> Tensor:
    """``most`` of ``num`` rows, evenly spread."""
    return torch.arange(min(num, most)) * num // min(num, most)
