"""Writes an MLflow model folder from code, weights and a description; nothing is pickled, nothing is looked up on the network."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Columns = Sequence[tuple[str, str]]
"""Name and type (`string`, `long` or `any`) of each column; every one is optional."""


def save_model_folder(
    folder: Path,
    *,
    script: Path,
    code: Path,
    artifacts: Mapping[str, Path],
    inputs: Columns,
    outputs: Columns,
    params: Mapping[str, Any],
    example_rows: Sequence[Mapping[str, Any]],
    example_params: Mapping[str, Any],
    requirements: Sequence[str],
    metadata: Mapping[str, Any],
) -> None:
    """Save a models-from-code pyfunc: ``script`` sets the model, ``code`` (a folder of packages) goes first on its path.

    ``params`` are the request's parameters with their defaults; ``requirements`` are written as given.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # A uv.lock of the current folder would otherwise replace the requirements.
    os.environ["MLFLOW_UV_AUTO_DETECT"] = "false"
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema

    signature = ModelSignature(
        Schema([_column(*column) for column in inputs]),
        Schema([_column(*column) for column in outputs]),
        ParamSchema([_param(ParamSpec, name, value) for name, value in params.items()]),
    )
    mlflow.pyfunc.save_model(
        str(folder),
        python_model=str(script),
        code_paths=[str(path) for path in sorted(code.iterdir())],
        artifacts={name: str(path) for name, path in artifacts.items()},
        signature=signature,
        input_example=(pd.DataFrame(list(example_rows)), dict(example_params)),
        pip_requirements=list(requirements),
        metadata=dict(metadata),
    )
    _forget_machine(folder)


def _forget_machine(folder: Path) -> None:
    """Take the paths of this machine, which nobody reads, out of the MLmodel file."""
    from mlflow.models import Model

    described = Model.load(str(folder))
    flavor = described.flavors["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    described.save(str(folder / "MLmodel"))


def _param(spec: Any, name: str, value: Any) -> Any:
    """A tuple is a list of strings."""
    return spec(name, "string", list(value), (-1,)) if isinstance(value, tuple) else spec(name, _TYPES[type(value)], value)


_TYPES = {int: "long", float: "double", str: "string", bool: "boolean"}


def _column(name: str, kind: str) -> Any:
    from mlflow.types import ColSpec
    from mlflow.types.schema import AnyType

    return ColSpec(AnyType() if kind == "any" else kind, name, required=False)
