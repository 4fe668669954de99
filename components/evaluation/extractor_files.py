"""The files of an extractor that a user names: where they lie, and whether they are those that were meant."""

import hashlib
from pathlib import Path

from components.data.dataset import file_sha256
from components.errors import UserError
from components.evaluation.config import EvaluationConfig, ExtractorConfig

CONFIG, IMAGE_SETTINGS = "config.json", "preprocessor_config.json"
"""Files of a folder in the format of transformers."""


def pinned(config: EvaluationConfig, root: Path) -> EvaluationConfig:
    """``config`` with the sha256 of the extractor's files, which a run's identity needs; as it is where it names none.

    Raises:
        UserError: they are missing, or others than those named.
    """
    if config.extractor.kind == "own":
        return config
    return config.model_copy(update={"extractor": config.extractor.model_copy(update={"sha256": verified_sha256(config.extractor, root)})})


def located(config: EvaluationConfig, root: Path) -> EvaluationConfig:
    """``config`` with the whole path of the extractor's files: a restored dataset is no project that they could be relative to."""
    if config.extractor.kind == "own":
        return config
    return config.model_copy(update={"extractor": config.extractor.model_copy(update={"path": str(root / config.extractor.path)})})


def verified_sha256(config: ExtractorConfig, root: Path) -> str:
    """The digest of the files at ``config.path`` below the project ``root``.

    Raises:
        UserError: they are missing, or their digest is another than ``config.sha256``.
    """
    path = root / config.path
    found = _file(path) if config.kind == "inception" else _folder(path)
    if config.sha256 and found != config.sha256:
        raise UserError(
            f"{path} has sha256 {found}, and evaluation.extractor.sha256 says {config.sha256}: put the file that was meant there, or correct the sha256."
        )
    return found


def _file(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"There is no extractor {path}: put the TorchScript file inception-2015-12-05.pt there, or correct evaluation.extractor.path.")
    return file_sha256(path)


def _folder(path: Path) -> str:
    """Over the weights, the config and the image settings: the features hang on all three."""
    weights = sorted(path.glob("*.safetensors"))
    if not (path / CONFIG).is_file() or not weights:
        raise UserError(f"{path} has no {CONFIG} or no *.safetensors: put a DINOv2 in the format of transformers there, or correct evaluation.extractor.path.")
    files = [path / CONFIG, path / IMAGE_SETTINGS, *weights]
    return hashlib.sha256("".join(f"{file.name} {file_sha256(file)}\n" for file in files if file.is_file()).encode()).hexdigest()
