"""Images and captions in one space: two towers trained to find each other's partner.

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision"; the sigmoid loss: Zhai et al. 2023, "Sigmoid Loss
for Language Image Pre-Training".
"""

import math
from collections.abc import Iterable

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from components.models.capabilities import DataSpec
from components.models.clip.config import ClipConfig
from components.models.clip.towers import TextTower
from components.models.layers.contrastive import clamped_scale, contrastive_loss, partners_alike, same_rows
from components.models.layers.optimisation import adamw, warm_cosine
from components.models.layers.towers import tower_of

CLASS_CAPTIONS = 5_000
"""Training captions from which the vectors of all classes are taken, at most about; each class gives as many."""
Batch = dict[str, Tensor]


class Clip(pl.LightningModule):
    """Images [N, C, S, S] in [0, 1] and tokens [N, T] to vectors [N, embedding_dim] of length 1."""

    class_vectors: Tensor
    """Of each class the mean of what captions say of it, [K, embedding_dim]; zero before `finish`."""

    def __init__(self, config: ClipConfig, data: DataSpec) -> None:
        super().__init__()
        self.config, self.data = config, data
        self.caption_length = config.caption_length
        self.image_tower = tower_of(config.image_tower, config, data)
        self.text_tower = TextTower(config, data)
        self.from_image = nn.Linear(self.image_tower.features, config.embedding_dim, bias=False)
        self.from_text = nn.Linear(self.text_tower.features, config.embedding_dim, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))
        # A pair drawn at random hardly ever belongs together (section 3.2 of the sigmoid paper).
        self.bias = nn.Parameter(torch.tensor(-math.log(config.batch_size))) if config.loss == "sigmoid" else None
        self.register_buffer("class_vectors", torch.zeros(len(data.class_names), config.embedding_dim))

    # -- training ------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        loss, hits = self._compare(batch)
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/batch_recall", hits)
        self.log("train/scale", self.scale)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        loss, hits = self._compare(batch)
        self.log("validation/loss", loss, prog_bar=True, batch_size=len(batch["tokens"]))
        self.log("validation/batch_recall", hits, batch_size=len(batch["tokens"]))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Linear warm-up, then a cosine to zero."""
        return adamw(self, self.config, lambda step: warm_cosine(step, self.config.warmup_steps, self.config.max_steps))

    @property
    def scale(self) -> Tensor:
        """What similarities are multiplied by before they are compared."""
        return clamped_scale(self.log_scale)

    def _compare(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss, and the share of the images that are nearest to a caption like their own."""
        logits, same = self._pair_logits(batch)
        loss = self._softmax_loss(logits, same) if self.bias is None else self._sigmoid_loss(logits, same)
        hits = same.gather(1, logits.argmax(dim=1, keepdim=True)).float().mean()
        return loss, hits

    def _pair_logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """How well each image fits each caption, and whether it should: captions that read the same fit each other's images as well. Both [N, N]."""
        tokens = batch["tokens"]
        logits = self.scale * self.embed_images(batch["image"]) @ self.embed_captions(tokens).T
        return logits if self.bias is None else logits + self.bias, same_rows(tokens)

    def _softmax_loss(self, logits: Tensor, same: Tensor) -> Tensor:
        wanted = partners_alike(same)
        return contrastive_loss(logits, wanted, wanted)

    def _sigmoid_loss(self, logits: Tensor, same: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, same.float(), reduction="sum") / len(logits)

    # -- after training ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def finish(self, batches: Iterable[Batch]) -> None:
        """Take the vector of each class from captions of the training split (section 3.1.4, prompt ensembles); no image has a part in it.

        Every class gives as many, wherever in the split its rows stand: those of a folder of classes are one class behind another.
        """
        num_classes = len(self.data.class_names)
        if not num_classes:
            return
        share = math.ceil(CLASS_CAPTIONS / num_classes)
        sums, seen = torch.zeros_like(self.class_vectors), torch.zeros(num_classes, dtype=torch.int64)
        for batch in batches:
            label = batch["label"].cpu()
            wanted = _place_in_class(label, seen) < share
            seen += label.bincount(minlength=num_classes)
            if wanted.any():
                sums.index_add_(0, label[wanted].to(self.device), self.embed_captions(batch["tokens"][wanted].to(self.device)))
            if (seen >= share).all():
                break
        self.class_vectors.copy_(F.normalize(sums, dim=1))

    # -- capabilities --------------------------------------------------------------------------------------------

    def embed_images(self, images: Tensor) -> Tensor:
        return F.normalize(self.from_image(self.image_tower(images)), dim=1)

    def embed_captions(self, tokens: Tensor) -> Tensor:
        return F.normalize(self.from_text(self.text_tower(tokens)), dim=1)

    def class_probabilities(self, images: Tensor) -> Tensor:
        return (self.scale * self.embed_images(images) @ self.class_vectors.T).softmax(dim=1)


def _place_in_class(label: Tensor, seen: Tensor) -> Tensor:
    """How many rows of its class stand before each row [N], where ``seen`` [K] of each class stood before them all."""
    own = F.one_hot(label, len(seen))
    return (seen + own.cumsum(0) - own).gather(1, label[:, None]).squeeze(1)
