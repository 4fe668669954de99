"""The dataset's own judge of images and captions: small, frozen, trained once per data version on the training split.

Two towers in one space as in CLIP (Radford et al. 2021), a convolutional one for images, and for captions the mean over vectors of words and pairs of
neighbouring words, found by a hash (Joulin et al. 2017): so it hangs on no model's vocabulary. It never sees a model's samples, and its digest
is part of every figure that uses it.
"""

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.code import code_digest
from components.data.dataset import Dataset
from components.evaluation.features import as_images, kept, read_pixels, repeatable, weights_digest
from components.evaluation.telling import Teller, counted
from components.models.layers.conv import ConvEncoder, Pyramid
from components.models.layers.folding import fold_factor, folded

LARGEST_SIDE = 32
"""Larger images are averaged down to this before they are looked at."""
POOL = 100
"""Captions of which an image's own is to be found, as in the R-precision of Xu et al. 2018, "AttnGAN"."""
_BUCKETS = 8192
_DIM = 64
_WIDTH = 24
_WORKING_SIDE = 16
_BATCH = 128
_STEPS = 300
_CHUNK = 512
_WORD = re.compile(r"\w+|[^\w\s]")


class MatcherNet(nn.Module):
    """Images [N, C, S, S] in [0, 1] and captions to vectors [N, 64] of length 1."""

    def __init__(self, channels: int, image_size: int) -> None:
        super().__init__()
        self.size = min(image_size, LARGEST_SIDE)
        self.factor = fold_factor(self.size, _WORKING_SIDE)
        side = -(-self.size // self.factor)
        self.encoder = ConvEncoder(channels * self.factor**2, Pyramid(side, width=_WIDTH, max_width=4 * _WIDTH, blocks=1))
        self.from_image = nn.Linear(self.encoder.features, _DIM)
        self.words = nn.EmbeddingBag(_BUCKETS, 2 * _DIM, mode="mean")
        self.from_text = nn.Sequential(nn.Linear(2 * _DIM, 2 * _DIM), nn.SiLU(), nn.Linear(2 * _DIM, _DIM))
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def of_images(self, images: Tensor) -> Tensor:
        if images.shape[-1] != self.size:
            images = F.adaptive_avg_pool2d(images, self.size)
        return F.normalize(self.from_image(self.encoder(folded(images, self.factor))), dim=1)

    def of_captions(self, buckets: Sequence[Sequence[int]]) -> Tensor:
        starts = torch.tensor([0, *(len(row) for row in buckets[:-1])]).cumsum(0)
        return F.normalize(self.from_text(self.words(torch.tensor([bucket for row in buckets for bucket in row]), starts)), dim=1)


@dataclass(frozen=True)
class Matcher:
    """A frozen judge and what is known of it."""

    net: MatcherNet
    sha256: str
    """Digest of the weights."""

    @property
    def name(self) -> str:
        return f"own-matcher-{_DIM}"

    @torch.no_grad()
    def images(self, images: Tensor) -> Tensor:
        """Vectors [N, 64] on the CPU of images [N, C, S, S] in [0, 1]."""
        return torch.cat([self.net.of_images(chunk.cpu().float()) for chunk in images.split(_CHUNK)])

    @torch.no_grad()
    def captions(self, captions: Sequence[str]) -> Tensor:
        """Vectors [N, 64] of ``captions``."""
        return self.net.of_captions([buckets_of(caption) for caption in captions])


def buckets_of(caption: str) -> list[int]:
    """Where the words of ``caption``, and its pairs of neighbours, stand in the table; never empty."""
    words = ["", *_WORD.findall(caption.lower())]
    return [zlib.crc32(part.encode()) % _BUCKETS for part in (*words, *(f"{a} {b}" for a, b in pairwise(words)))]


def own_matcher(dataset: Dataset, cache: Path, tell: Teller, size: int) -> Matcher:
    """The judge of this data version for images ``size`` pixels wide: from the cache, or trained now (seconds) and kept there."""
    code = code_digest("components.evaluation.matcher")
    tensors, facts = kept(cache / "matchers" / f"{dataset.manifest.sha256}-{size}-{code[:16]}.safetensors", lambda: _train(dataset, size, tell))
    with torch.device("meta"):  # its own initial weights would cost time and move the caller's random state
        net = MatcherNet(int(facts["channels"]), int(facts["image_size"]))
    net.load_state_dict(tensors, assign=True)
    return Matcher(net.eval().requires_grad_(False), weights_digest(tensors))


def own_caption_ranks(images: Tensor, captions: Tensor) -> Tensor:
    """For vectors [N, D] of images and of their captions how many of `POOL` - 1 other captions fit an image better than its own, [N].

    The others of image n are those of the images behind it; captions equal to its own are no others.
    """
    pool = min(POOL, len(images))
    others = (torch.arange(len(images))[:, None] + torch.arange(1, pool)) % len(images)
    own = (images * captions).sum(dim=1, keepdim=True)
    fits = torch.einsum("nd,npd->np", images, captions[others])
    same = (captions[others] == captions[:, None]).all(dim=2)
    return ((fits > own) & ~same).sum(dim=1)


def _train(dataset: Dataset, size: int, tell: Teller) -> tuple[MatcherNet, dict[str, str]]:
    pixels, _ = read_pixels(dataset, "train", size)
    captions = dataset.table("train", columns=["caption"])["caption"].to_pylist()
    buckets = [buckets_of(caption) for caption in captions]
    with repeatable():
        net = MatcherNet(pixels.shape[1], pixels.shape[-1])
        optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=_STEPS, pct_start=0.1)
        for _ in counted(range(_STEPS), f"training the judge of images and captions of {dataset.name}", tell):
            rows = torch.randperm(len(pixels))[:_BATCH]
            loss = _contrast(net, as_images(pixels[rows]), [captions[row] for row in rows], [buckets[row] for row in rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval().requires_grad_(False), {"channels": str(pixels.shape[1]), "image_size": str(pixels.shape[-1])}


def _contrast(net: MatcherNet, images: Tensor, captions: Sequence[str], buckets: Sequence[Sequence[int]]) -> Tensor:
    """Each image finds a caption like its own among those of the batch, and each caption such an image."""
    numbers = torch.tensor([captions.index(caption) for caption in captions])
    wanted = (numbers[:, None] == numbers[None]).float()
    logits = net.log_scale.exp().clamp(max=100) * net.of_images(images) @ net.of_captions(buckets).T
    wanted = wanted / wanted.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted)) / 2
