"""DINOv2 (Oquab et al. 2023) from a local folder in the format of transformers; its features are the class token behind the last layer.

Stein et al. 2023, "Exposing flaws of generative model evaluation metrics", find that distances between them agree best with people.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from components.errors import UserError, first_line
from components.evaluation.config import ExtractorConfig
from components.evaluation.extractor_files import IMAGE_SETTINGS, verified_sha256
from components.evaluation.extractors import in_unit_range
from components.evaluation.features import Seen
from components.params import Strict

_RESAMPLES = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers, which the folder's settings use."""


class ImageSettings(Strict):
    """How images are brought to what the network was trained on; the defaults are DINOv2's own."""

    shortest_edge: int = 256
    crop: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    resample: str = "bicubic"

    @classmethod
    def read(cls, folder: Path) -> "ImageSettings":
        """From `preprocessor_config.json`, which not every folder has."""
        file = folder / IMAGE_SETTINGS
        if not file.is_file():
            return cls()
        try:
            stored = json.loads(file.read_bytes())
            known = {
                "shortest_edge": stored.get("size", {}).get("shortest_edge"), "crop": stored.get("crop_size", {}).get("height"),
                "mean": stored.get("image_mean"), "std": stored.get("image_std"), "resample": _RESAMPLES.get(stored.get("resample")),
            }  # fmt: skip
            return cls.model_validate({name: value for name, value in known.items() if value is not None})
        except (ValueError, AttributeError) as error:
            raise UserError(f"{file} is no image settings of DINOv2: put the file that belongs to the weights there.") from error

    def applied(self, images: Tensor) -> Tensor:
        """[N, 3, crop, crop] of ``images`` [N, 3, S, S] in [0, 1]: the shorter side scaled, the middle cut out, each channel normalised."""
        short = min(images.shape[-2:])
        size = [round(side * self.shortest_edge / short) for side in images.shape[-2:]]
        scaled = F.interpolate(images, size=size, mode=self.resample, antialias=True, align_corners=False).clamp(0, 1)
        top, left = (size[0] - self.crop) // 2, (size[1] - self.crop) // 2
        mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (self.mean, self.std))
        return (scaled[..., top : top + self.crop, left : left + self.crop] - mean) / std


@dataclass(frozen=True)
class Dinov2:
    """The folder, loaded."""

    network: Any
    settings: ImageSettings
    sha256: str
    device: str
    name: str
    suffix = "dinov2"

    def look(self, images: Tensor) -> Seen:
        pixels = self.settings.applied(in_unit_range(images).to(self.device))
        features: Tensor = self.network(pixel_values=pixels).last_hidden_state[:, 0]
        return Seen(features.float().cpu(), None)


def load_dinov2(config: ExtractorConfig, root: Path) -> Dinov2:
    """The folder at ``config.path``.

    Raises:
        UserError: it is missing, another one, or holds no DINOv2.
    """
    from transformers import AutoConfig, AutoModel

    sha256, folder = verified_sha256(config, root), root / config.path
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        described = AutoConfig.from_pretrained(folder, local_files_only=True)
        if not described.model_type.startswith("dinov2"):
            raise ValueError(f"its model_type is {described.model_type}")
        with _quiet():
            network = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = first_line(error)
        raise UserError(f"{folder} holds no DINOv2 in the format of transformers ({reason}): correct evaluation.extractor.path.") from error
    settings = ImageSettings.read(folder)
    if settings.crop > settings.shortest_edge or settings.crop % described.patch_size:
        raise UserError(
            f"{folder / IMAGE_SETTINGS} cuts {settings.crop} pixels, which are no whole patches of {described.patch_size}: "
            "put the file that belongs to the weights there."
        )
    return Dinov2(network.eval().requires_grad_(False).to(device), settings, sha256, device, f"dinov2-{described.hidden_size}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar for the weights; it is put back."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
