"""A registered version as a model in this process, so that it can be scored on something new."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from components.errors import UserError, first_line
from components.models.capabilities import DataSpec
from components.registry.loading import Child, is_same_code
from components.registry.package import request_of
from components.registry.runtime import WEIGHTS_FILE, PackageSpec, Runtime, build_model, read_spec


def reopen(folder: Path) -> tuple[Any, DataSpec]:
    """The model of the package in ``folder``, in evaluation mode on the CPU, and what it was told of its data.

    A package of other code is opened with the code that stands here, and must then give the very answer that its own code gives.

    Raises:
        UserError: the code that stands here makes another model of it.
    """
    spec = read_spec(folder / "artifacts")
    model = _built(spec, folder / "artifacts" / WEIGHTS_FILE)
    data_spec = DataSpec.from_dict(spec.data_spec)
    if not is_same_code(spec):
        _require_same_answer(Runtime(model, spec), folder, data_spec)
    return model, data_spec


def _built(spec: PackageSpec, weights: Path) -> Any:
    from safetensors.torch import load_model

    try:
        model = build_model(spec)
        load_model(model, weights)
    except (ValidationError, RuntimeError) as error:
        raise UserError(_changed(spec, first_line(error))) from None
    return model.eval()


def _require_same_answer(here: Runtime, folder: Path, data_spec: DataSpec) -> None:
    request = request_of(here.spec.abilities, data_spec)
    child = Child(folder)
    try:
        own = child.predict(request["rows"], request["params"])
    finally:
        child.close()
    if here.predict(request["rows"], request["params"]) != own:
        raise UserError(_changed(here.spec, "it answers differently"))


def _changed(spec: PackageSpec, why: str) -> str:
    return f"{spec.model} was packaged by other code, and the code that stands here makes another model of it ({why}): train it again."
