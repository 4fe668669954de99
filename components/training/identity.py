"""The name of a run: a digest of everything that its result depends on."""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from typing import Any

from components.code import code_digest
from components.evaluation.config import EvaluationConfig
from components.models.family import TrainingConfig
from components.training.start import Start

LIBRARIES = (
    "torch",
    "pytorch-lightning",
    "torchmetrics",
    "tokenizers",
    "transformers",
    "peft",
    "safetensors",
    "numpy",
    "scikit-learn",
    "mlflow",
    "dvc",
    "prefect",
)


def run_identity(
    *,
    family: str,
    config: TrainingConfig,
    size: str,
    seed: int,
    evaluation: EvaluationConfig,
    batches: str,
    data_sha256: str,
    precision: str = "auto",
    start: Start | None = None,
    augment: Mapping[str, Any] | None = None,
) -> str:
    """sha256 over the resolved config, the data version and the code; a finished run of the same identity need not run again."""
    return _digest(
        {
            "family": family,
            "size": size,
            "precision": precision,
            "params": params_sha256(config, seed, evaluation, start, augment),
            "data": data_sha256,
            "code": code_of(family, batches),
        }
    )


def params_sha256(config: TrainingConfig, seed: int, evaluation: EvaluationConfig, start: Start | None = None, augment: Mapping[str, Any] | None = None) -> str:
    """``augment`` is what is done to rows when they are drawn, which is no part of the data version."""
    begun = {"start": start.identity()} if start else {}
    altered = {"augment": dict(augment)} if augment else {}
    return _digest({"config": config.model_dump(mode="json"), "seed": seed, "evaluation": evaluation.identity(), **begun, **altered})


def code_of(family: str, batches: str) -> str:
    """Digest of the code that trains ``family`` on ``batches`` of a kind: its folder, the data module, the training loop, and all that they import."""
    package = f"components.models.{family.replace('-', '_')}"
    return code_digest(f"{package}.config", f"{package}.model", f"components.training.datamodules.{batches.replace('-', '_')}", "components.training.fit")


def library_versions() -> dict[str, str]:
    """Installed versions of what a run's result or record depends on."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
