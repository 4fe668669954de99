"""The generative adversarial network: two networks against each other under a relativistic loss.

Relativistic pairing loss with both gradient penalties: Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern Baseline GAN" (R3GAN);
R1: Mescheder et al. 2018. The two optimisers are stepped by hand, each once per batch.
"""

from typing import Any, cast

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from components.models.capabilities import OWN_SETTINGS, DataSpec, SamplerSettings
from components.models.gan.augmentation import augmented
from components.models.gan.config import GanConfig
from components.models.gan.networks import Discriminator, Generator, ImageForm
from components.models.layers.classes import ClassCounts
from components.models.layers.conv import Pyramid
from components.models.layers.folding import fold_factor

CHUNK = 512
"""Images drawn at once where a caller may ask for any number."""
PENALTY_VALUES = 64
"""Values of the image for which the penalties are given."""
FINAL_RATE = 0.1
"""Share of the learning rate that is left at the end."""
Batch = dict[str, Tensor]


class Gan(pl.LightningModule):
    """Draws images [N, C, S, S] in [0, 1] from noise [N, latent_dim]."""

    sampler = "generator"
    steps_done: Tensor
    """Batches trained on; Lightning's own count goes up with every optimiser."""

    def __init__(self, config: GanConfig, data: DataSpec) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config, self.data = config, data
        self.num_classes = len(data.class_names) if config.conditional else 0
        form = ImageForm(data.channels, data.image_size, fold_factor(data.image_size, config.working_side), config.stem_width)
        pyramid = Pyramid(form.folded_side, config.width, config.max_width, config.blocks)
        self.generator = Generator(config.latent_dim, self.num_classes, form, pyramid)
        self.discriminator = Discriminator(self.num_classes, form, pyramid)
        self.classes = ClassCounts(self.num_classes)
        self.register_buffer("steps_done", torch.zeros((), dtype=torch.long))

    @property
    def conditional(self) -> bool:
        """Whether `sample_images` heeds labels."""
        return self.num_classes > 0

    # -- training ------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> None:
        real, labels = batch["image"] * 2 - 1, batch["label"] if self.conditional else None
        if labels is not None:
            self.classes.count(labels)
        generator_optimizer, discriminator_optimizer = cast(list[Any], self.optimizers())
        found: dict[str, Tensor] = {}
        self._step(discriminator_optimizer, self._discriminator_loss(real, labels, found))
        self._step(generator_optimizer, self._generator_loss(real, labels, found))
        # All at once: in a first step Lightning forgets what was logged before a hook of an optimiser logs something.
        self.log_dict({f"train/{name}": value.detach() for name, value in found.items()}, prog_bar=True)
        for schedule in cast(list[Any], self.lr_schedulers()):
            schedule.step()
        self.steps_done += 1

    def _step(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def _discriminator_loss(self, real: Tensor, labels: Tensor | None, found: dict[str, Tensor]) -> Tensor:
        """The loss to descend; what is worth knowing of it goes into ``found``."""
        with torch.no_grad():
            fake = self._draw(len(real), labels)
        images = self._seen(torch.cat([real, fake])).requires_grad_()
        # A view, because hooks on a module (the counter of FLOPs has them) cannot stand a leaf among its inputs inside autograd.grad.
        scores = self.discriminator(images.view_as(images), None if labels is None else labels.repeat(2))
        of_real, of_fake = scores.chunk(2)
        (slope,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
        penalty = slope.square().flatten(1).sum(1).mean() * 2  # R1 and R2: the mean over both halves is half of their sum
        loss = F.softplus(of_fake - of_real).mean()
        found.update(loss=loss, gradient_penalty=penalty, discriminator_gap=(of_real - of_fake).mean())
        return loss + self._penalty() / 2 * penalty

    def _generator_loss(self, real: Tensor, labels: Tensor | None, found: dict[str, Tensor]) -> Tensor:
        images = self._seen(torch.cat([real, self._draw(len(real), labels)]))
        of_real, of_fake = self.discriminator(images, None if labels is None else labels.repeat(2)).chunk(2)
        loss = F.softplus(of_real - of_fake).mean()
        found["generator_loss"] = loss
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """How much realer unseen images look than drawn ones; far below `train/discriminator_gap` the discriminator knows its images by heart."""
        real, labels = batch["image"] * 2 - 1, batch["label"] if self.conditional else None
        gap = (self.discriminator(real, labels) - self.discriminator(self._draw(len(real), labels), labels)).mean()
        self.log("validation/discriminator_gap", gap, batch_size=len(real))

    def _seen(self, images: Tensor) -> Tensor:
        return augmented(images, self.config.augment, shift=self.config.shift, cutout=self.config.cutout)

    def _draw(self, num: int, labels: Tensor | None) -> Tensor:
        images: Tensor = self.generator(torch.randn(num, self.config.latent_dim, device=self.device), labels)
        return images

    def _penalty(self) -> float:
        """Falls geometrically from `penalty` to `final_penalty`, both in proportion to the number of values of an image."""
        values = self.data.channels * self.data.image_size**2 / PENALTY_VALUES
        first, last = self.config.penalty * values, self.config.final_penalty * values
        done = min(1.0, float(self.steps_done) / self.config.max_steps)
        return first * (last / first) ** done if first and last else first + (last - first) * done

    def configure_optimizers(self) -> Any:
        """Adam without momentum for each network; warm-up, then a line down to a tenth."""
        rates = ((self.generator, 1.0), (self.discriminator, self.config.discriminator_rate))
        optimizers = [torch.optim.Adam(net.parameters(), lr=self.config.learning_rate * rate, betas=(0.0, 0.99)) for net, rate in rates]
        return optimizers, [torch.optim.lr_scheduler.LambdaLR(optimizer, self._learning_rate_factor) for optimizer in optimizers]

    def _learning_rate_factor(self, step: int) -> float:
        warm = min(1.0, (step + 1) / max(1, self.config.warmup_steps))
        return warm * (1 - (1 - FINAL_RATE) * min(1.0, step / self.config.max_steps))

    # -- capabilities --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample_images(self, num: int, *, seed: int, labels: Tensor | None = None, settings: SamplerSettings = OWN_SETTINGS) -> Tensor:
        """One pass of the generator, [num, C, S, S] in [0, 1]; without ``labels`` [num] the classes come as often as in training."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(num, self.config.latent_dim, generator=generator).to(self.device)
        if labels is None or not self.conditional:
            labels = self.classes.draw(num, generator)
        labels = None if labels is None else labels.to(self.device)
        chunks = zip(noise.split(CHUNK), [None] * len(noise) if labels is None else labels.split(CHUNK), strict=False)
        return torch.cat([(self.generator(part, of) + 1) / 2 for part, of in chunks]).clamp(0, 1)
