"""Inception as NVIDIA's StyleGAN2-ADA and StyleGAN3 use it: the TorchScript file `inception-2015-12-05.pt`, a translation of the original network.

It takes bytes [N, 3, H, W] and resizes them itself. Called with `return_features=True` it gives features [N, 2048], with `no_output_bias=True` the
probabilities of 1,008 classes without the last layer's bias, as the Inception Score was defined (metrics/metric_utils.py and inception_score.py there).
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.errors import UserError
from components.evaluation.config import ExtractorConfig
from components.evaluation.extractor_files import verified_sha256
from components.evaluation.extractors import in_unit_range
from components.evaluation.features import Seen

_LEAST_PROBABILITY = 1e-30


@dataclass(frozen=True)
class Inception:
    """The file, loaded."""

    network: Any
    sha256: str
    device: str
    knows_classes: bool
    """Whether it can be asked for probabilities: asked of the file once, so that a failure while looking is never taken for a no."""
    name = "inception-2015-12-05"
    suffix = "inception"

    def look(self, images: Tensor) -> Seen:
        """Features, and the logarithms of the probabilities as logits; None where the file gives no probabilities."""
        pixels = (255 * in_unit_range(images)).round().to(torch.uint8).to(self.device)
        features = self._called(pixels, return_features=True)
        if not self.knows_classes:  # a file that has features alone has no Inception Score
            return Seen(features, None)
        probabilities = self._called(pixels, no_output_bias=True)
        return Seen(features, probabilities.clamp(min=_LEAST_PROBABILITY).log())

    def _called(self, pixels: Tensor, **how: bool) -> Tensor:
        try:
            found = self.network(pixels, **how)
        except (RuntimeError, torch.jit.Error) as error:  # the file's own `raise` is the second
            reason = str(error).strip().splitlines()[-1]
            raise UserError(
                f"{self.name} cannot be called with {next(iter(how))}=True ({reason}): name the file of StyleGAN3 in evaluation.extractor.path."
            ) from error
        if not isinstance(found, Tensor):
            raise UserError(f"{self.name} gives {type(found).__name__} and no tensor: name the file of StyleGAN3 in evaluation.extractor.path.")
        return found.float().cpu()


def load_inception(config: ExtractorConfig, root: Path) -> Inception:
    """The file at ``config.path``; nothing in it is run before its sha256 was found right.

    Raises:
        UserError: it is missing, another one, or no TorchScript.
    """
    sha256, path = verified_sha256(config, root), root / config.path
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.load.*")  # deprecated there, and the only way to read this file
        try:
            network = torch.jit.load(str(path), map_location=device)
        except RuntimeError as error:
            raise UserError(f"{path} is no TorchScript file: put inception-2015-12-05.pt there, or correct evaluation.extractor.path.") from error
    knows_classes = any(argument.name == "no_output_bias" for argument in network.forward.schema.arguments)
    return Inception(network.eval(), sha256, device, knows_classes)
