"""What turns images into features: the dataset's own extractor, or one that a user names beside it."""

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from components.data.dataset import Dataset, Split
from components.data.pixels import decode_images
from components.errors import UserError
from components.evaluation.config import ExtractorConfig
from components.evaluation.features import Seen, as_images, read_pixels, write_tensors
from components.evaluation.telling import SILENT, Teller, counted

CHUNK = 128
"""Images that an extractor looks at at once."""


class Extractor(Protocol):
    """A frozen network with a digest."""

    @property
    def name(self) -> str:
        """As in a figure's identity."""

    @property
    def suffix(self) -> str:
        """As in a figure's name: `own` in `fid_own`."""

    @property
    def sha256(self) -> str:
        """Of everything that its features hang on."""

    def look(self, images: Tensor) -> Seen:
        """At images [N, C, S, S] in [0, 1], or their bytes; N is small."""


def named_extractor(config: ExtractorConfig, root: Path) -> Extractor | None:
    """The extractor that the user names, loaded; None where the dataset's own is all that is asked for.

    Raises:
        UserError: its files are missing, are others than those named, or hold something else.
    """
    if config.kind == "inception":
        from components.evaluation.inception import load_inception

        return load_inception(config, root)
    if config.kind == "dinov2":
        from components.evaluation.dinov2 import load_dinov2

        return load_dinov2(config, root)
    return None


def require_extractor(config: ExtractorConfig, dataset: Dataset, size: int) -> None:
    """Refuse, before anything is trained, an extractor that cannot look at this dataset's images, ``size`` pixels wide.

    Raises:
        UserError: saying what it lacks.
    """
    extractor = named_extractor(config, dataset.project.root)
    if extractor is not None:
        some = next(dataset.tables("validation" if dataset.manifest.rows("validation") > 1 else "test", ["image"])).slice(0, 3)
        look_at(extractor, torch.from_numpy(decode_images(some, size)), "three real images")


@torch.no_grad()
def look_at(extractor: Extractor, images: Tensor, what: str, tell: Teller = SILENT) -> Seen:
    """At all of ``images`` [N, C, S, S] in [0, 1] or bytes, a few at a time; ``what`` names them.

    Raises:
        UserError: the extractor gives no row of finite features for each image.
    """
    parts = [
        _checked(extractor.look(chunk), len(chunk), extractor.name, what)
        for chunk in counted(images.split(CHUNK), f"looking at {what} with {extractor.name}", tell)
    ]
    return Seen(torch.cat([part.features for part in parts]), _joined([part.logits for part in parts]))


def split_seen(extractor: Extractor, dataset: Dataset, split: Split, cache: Path, size: int | None = None, tell: Teller = SILENT) -> Seen:
    """The original rows of ``split``, ``size`` pixels wide (default: as they are): from the cache, or looked at now and kept there."""
    from safetensors.torch import load_file

    path = cache / "features" / f"{dataset.manifest.sha256}-{extractor.sha256[:16]}-{size or 'own'}-{split}.safetensors"
    if not path.exists():
        pixels, _ = read_pixels(dataset, split, size)
        seen = look_at(extractor, pixels, f"the {split} split", tell)
        write_tensors(path, {name: tensor for name, tensor in seen._asdict().items() if tensor is not None}, {})
    tensors = load_file(path)
    return Seen(tensors["features"], tensors.get("logits"))


def in_unit_range(images: Tensor) -> Tensor:
    """Images [N, C, S, S] in [0, 1], or their bytes, as [N, 3, S, S] in [0, 1]; grey ones get three equal channels."""
    scaled = as_images(images) if images.dtype == torch.uint8 else images.float().clamp(0, 1)
    return scaled.repeat(1, 3, 1, 1) if scaled.shape[1] == 1 else scaled


def _checked(seen: Seen, num: int, name: str, what: str) -> Seen:
    features = seen.features
    if features.ndim != 2 or len(features) != num or not features.shape[1]:
        raise UserError(
            f"{name} gives features of shape {list(features.shape)} for {num} images instead of a row for each: name another file in evaluation.extractor."
        )
    if not features.isfinite().all():
        raise UserError(
            f"{name} gives features that are no finite numbers for {what}: train with a lower learning_rate where the model drew them, "
            "else name another extractor."
        )
    return seen


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known) if known else None
