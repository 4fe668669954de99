"""The dataset's own feature extractor: small, frozen, trained once per data version on the training split.

With labels it is a classifier, whose last hidden layer gives the features; without labels an encoder trained by VICReg (Bardes
et al. 2022). It never sees a model's samples, and its digest is part of every figure that uses it.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.atomic import write_atomically
from components.cache import mark_used
from components.code import code_digest
from components.data.dataset import Dataset, Split
from components.data.pixels import decode_images, labels_of
from components.errors import UserError
from components.evaluation.telling import Teller, counted
from components.models.layers.conv import ConvEncoder, Pyramid

FEATURES = 32
LARGEST_SIDE = 32
"""Larger images are averaged down to this before they are looked at."""
_BATCH = 64
_STEPS = 300
_WIDTH = 16


class ExtractorNet(nn.Module):
    """Images [N, C, S, S] in [0, 1] to features [N, 32], and from those to logits (or to VICReg's expansion)."""

    def __init__(self, channels: int, image_size: int, outputs: int) -> None:
        super().__init__()
        self.size = min(image_size, LARGEST_SIDE)
        self.encoder = ConvEncoder(channels, Pyramid(self.size, width=_WIDTH, max_width=8 * _WIDTH, blocks=1))
        self.to_features = nn.Linear(self.encoder.features, FEATURES)
        self.head = nn.Linear(FEATURES, outputs)

    def features(self, images: Tensor) -> Tensor:
        if images.shape[-1] != self.size:
            images = F.adaptive_avg_pool2d(images, self.size)
        features: Tensor = self.to_features(self.encoder(images))
        return features

    def logits(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(F.silu(features))
        return logits


class Seen(NamedTuple):
    """What an extractor sees in images."""

    features: Tensor
    """[N, D], finite, on the CPU."""
    logits: Tensor | None
    """[N, K] of the classes that it knows; None where it knows none."""

    def rows(self, places: Tensor) -> "Seen":
        return Seen(self.features[places], None if self.logits is None else self.logits[places])


@dataclass(frozen=True)
class OwnExtractor:
    """A frozen extractor and what is known of it."""

    net: ExtractorNet
    kind: str
    """`classifier` or `vicreg`."""
    sha256: str
    """Digest of the weights."""
    test_accuracy: float | None
    """Share of the test split that the classifier names rightly; None without labels."""

    @property
    def name(self) -> str:
        return f"own-{self.kind}-{FEATURES}"

    @property
    def suffix(self) -> str:
        return "own"

    def look(self, images: Tensor) -> Seen:
        """Features, and the logits of a classifier."""
        features = self.features(images)
        return Seen(features, self.logits(features) if self.kind == "classifier" else None)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """[N, 32] on the CPU, for images [N, C, S, S] in [0, 1] on any device, or their bytes."""
        return torch.cat([self.net.features(as_images(chunk.cpu()) if chunk.dtype == torch.uint8 else chunk.cpu().float()) for chunk in images.split(512)])

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """Class logits [N, K] of ``features``; only a classifier has them."""
        assert self.kind == "classifier", "an encoder trained without labels knows no classes"
        return self.net.logits(features)


def read_pixels(dataset: Dataset, split: Split, size: int | None = None, augmented: bool = False) -> tuple[Tensor, Tensor | None]:
    """The images of ``split`` as bytes [N, C, S, S], and their labels [N], None where the dataset has no labels; S is ``size`` or the stored one.

    As floats they take four times the memory, so `as_images` scales those that are looked at.
    """
    table = dataset.table(split, columns=["image", "label"], augmented=augmented)
    return torch.from_numpy(decode_images(table, size)), torch.from_numpy(labels_of(table)) if dataset.class_names else None


def as_images(pixels: Tensor) -> Tensor:
    """Bytes [N, C, S, S] as images in [0, 1]."""
    return pixels.float().div_(255)


def own_extractor(dataset: Dataset, cache: Path, tell: Teller, size: int | None = None) -> OwnExtractor:
    """The extractor of this data version for images ``size`` pixels wide (default: as they are): from the cache, or trained now (seconds) and kept there."""
    code = code_digest("components.evaluation.features")
    kind = "classifier" if len(dataset.class_names) > 1 else "vicreg"
    path = cache / "extractors" / f"{dataset.manifest.sha256}-{size or 'own'}-{code[:16]}.safetensors"
    tensors, facts = kept(path, lambda: _train(dataset, kind, size, tell))
    with torch.device("meta"):  # its own initial weights would cost time and move the caller's random state
        net = ExtractorNet(int(facts["channels"]), int(facts["image_size"]), int(facts["outputs"]))
    net.load_state_dict(tensors, assign=True)
    accuracy = facts.get("test_accuracy")
    return OwnExtractor(net.eval().requires_grad_(False), facts["kind"], weights_digest(tensors), float(accuracy) if accuracy else None)


def kept(path: Path, train: Callable[[], tuple[nn.Module, dict[str, str]]]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights in ``path`` and what is known of them; ``train`` makes them where they are missing."""
    from safetensors import safe_open

    if not path.exists():
        net, facts = train()
        write_tensors(path, {name: tensor.contiguous() for name, tensor in net.state_dict().items()}, facts)
    mark_used(path)
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118 - the handle is no mapping


def _train(dataset: Dataset, kind: str, size: int | None, tell: Teller) -> tuple[ExtractorNet, dict[str, str]]:
    images, labels = read_pixels(dataset, "train", size)
    if len(images) < 2:
        raise UserError(f"The training split of {dataset.name!r} has {len(images)} images, too few for a feature extractor: add rows.")
    steps = counted(range(_STEPS), f"training the feature extractor of {dataset.name} ({kind})", tell)
    with repeatable():
        if kind == "classifier":
            assert labels is not None
            net = train_classifier(images, labels, len(dataset.class_names), steps)
        else:
            net = _train_vicreg(images, steps)
        facts = {"kind": kind, "channels": str(images.shape[1]), "image_size": str(images.shape[-1]), "outputs": str(net.head.out_features)}
        if kind == "classifier":
            facts["test_accuracy"] = f"{_accuracy(net, dataset, size):.4f}"
    return net, facts


def train_classifier(images: Tensor, labels: Tensor, num_classes: int, steps: Iterator[int], num_steps: int = _STEPS) -> ExtractorNet:
    """A classifier of ``images``, bytes [N, C, S, S], trained for the ``num_steps`` of ``steps``; call it under `repeatable`."""
    net = ExtractorNet(images.shape[1], images.shape[-1], num_classes)

    def loss(rows: Tensor) -> Tensor:
        return F.cross_entropy(net.logits(net.features(_altered(as_images(images[rows])))), labels[rows], label_smoothing=0.05)

    return _optimise(net, loss, len(images), steps, num_steps)


def _train_vicreg(images: Tensor, steps: Iterator[int]) -> ExtractorNet:
    net = ExtractorNet(images.shape[1], images.shape[-1], 4 * FEATURES)

    def loss(rows: Tensor) -> Tensor:
        a, b = (net.features(_altered(as_images(images[rows]))) for _ in range(2))
        return _vicreg(a, b) + _vicreg(net.logits(a), net.logits(b))

    return _optimise(net, loss, len(images), steps)


def _vicreg(a: Tensor, b: Tensor) -> Tensor:
    """Two views alike, each unit varied, units uncorrelated; weights 25, 25, 1 as in the paper."""
    loss = 25 * F.mse_loss(a, b)
    for view in (a, b):
        centred = view - view.mean(0)
        covariance = centred.T @ centred / (len(view) - 1)
        spread = F.relu(1 - (covariance.diagonal() + 1e-4).sqrt()).mean()
        loss = loss + 12.5 * spread + (covariance.square().sum() - covariance.diagonal().square().sum()) / view.shape[1]
    return loss


def _optimise(net: ExtractorNet, loss: Callable[[Tensor], Tensor], rows: int, steps: Iterator[int], num_steps: int = _STEPS) -> ExtractorNet:
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=num_steps, pct_start=0.1)
    order = torch.empty(0, dtype=torch.long)
    for _ in steps:
        while len(order) < min(_BATCH, rows):
            order = torch.cat([order, torch.randperm(rows)])
        batch, order = order[:_BATCH], order[_BATCH:]
        optimizer.zero_grad()
        loss(batch).backward()
        optimizer.step()
        schedule.step()
    return net.eval().requires_grad_(False)


def _altered(images: Tensor) -> Tensor:
    """A random small turn, shift, zoom and change of contrast of each image, with a little noise."""
    num = len(images)
    angle, zoom = (torch.rand(num) - 0.5) * 0.5, 1 + (torch.rand(num) - 0.5) * 0.2
    shift = (torch.rand(num, 2) - 0.5) * 0.4
    matrix = torch.stack([zoom * angle.cos(), -zoom * angle.sin(), shift[:, 0], zoom * angle.sin(), zoom * angle.cos(), shift[:, 1]], dim=1)
    grid = F.affine_grid(matrix.unflatten(1, (2, 3)), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return moved * (1 + (torch.rand(num, 1, 1, 1) - 0.5) * 0.3) + torch.randn_like(images) * 0.02


def _accuracy(net: ExtractorNet, dataset: Dataset, size: int | None) -> float:
    pixels, labels = read_pixels(dataset, "test", size)
    assert labels is not None
    with torch.no_grad():
        named = torch.cat([net.logits(net.features(as_images(chunk))).argmax(1) for chunk in pixels.split(512)]) if len(pixels) else labels
    return float((named == labels).float().mean())


@contextlib.contextmanager
def repeatable(seed: int = 0) -> Iterator[None]:
    """A fixed seed, one thread and full float32, so that the weights hang on neither cores nor settings; all is put back."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_float32_matmul_precision(precision)


def write_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, str]) -> None:
    """Whole or not at all: two processes may write the same file at once."""
    from safetensors.torch import save_file

    write_atomically(path, lambda scratch: save_file(tensors, scratch, metadata=facts))


def weights_digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].numpy().tobytes())
    return digest.hexdigest()
