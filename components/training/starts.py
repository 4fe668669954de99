"""Finds what `init_from` means, before anything is planned: bytes that later runs do not move."""

import hashlib
import json
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.models.family import TrainingConfig
from components.project import Project
from components.registry.loading import package_folder
from components.registry.references import resolve
from components.registry.runtime import read_spec
from components.tracking import Tracker
from components.training.start import DESCRIPTION, TOKENIZER, WEIGHTS, Lora, Start


def find_start(project: Project, tracker: Tracker, *, model: str, family: str, config: TrainingConfig, init_from: str, lora: Lora | None) -> Start:
    """The start of ``model``, whose weights come from ``init_from``: `MODEL`, `MODEL@champion`, `MODEL/3`, or a folder in the format of transformers.

    Raises:
        UserError: there is no such version, or its family, architecture or vocabulary is another one.
    """
    folder = project.root / Path(init_from).expanduser()
    if folder.is_dir():
        return _of_folder(model, config, init_from, folder.resolve(), lora)
    version = resolve(tracker, init_from)
    artifacts = package_folder(project, tracker, version) / "artifacts"
    spec = read_spec(artifacts)
    if spec.family != family:
        raise UserError(f"{model} is of the family {family} and cannot begin with {version.ref}, which is of the family {spec.family}: choose one of {family}.")
    _require_alike(model, version.ref, config, spec.config)
    return Start(ref=version.ref, sha256=version.tag("package_sha256"), folder=artifacts, lora=lora)


def _of_folder(model: str, config: TrainingConfig, ref: str, folder: Path, lora: Lora | None) -> Start:
    for name in (DESCRIPTION, WEIGHTS, TOKENIZER):
        if not (folder / name).is_file():
            raise UserError(f"{model} cannot begin with {ref}, which has no {name}: give init_from a folder such as `genmill export` writes.")
    try:
        described = config.architecture_of(json.loads((folder / DESCRIPTION).read_bytes()))
    except UserError as error:
        raise UserError(f"{model} cannot begin with {ref}: {error}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{model} cannot begin with {ref}, whose {DESCRIPTION} cannot be understood: write the folder anew.") from None
    _require_alike(model, ref, config, described)
    return Start(ref=ref, sha256=folder_sha256(folder), folder=folder, kind="transformers", lora=lora)


def folder_sha256(folder: Path) -> str:
    """Digest of the description, weights and tokenizer in a folder in the format of transformers."""
    digest = hashlib.sha256()
    for name in (DESCRIPTION, WEIGHTS, TOKENIZER):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _require_alike(model: str, ref: str, config: TrainingConfig, theirs: dict[str, Any]) -> None:
    ours = json.loads(config.model_dump_json())
    differing = [name for name in config.ARCHITECTURE if ours[name] != theirs.get(name)]
    if differing:
        what = ", ".join(f"{name} {theirs.get(name)} (here {ours[name]})" for name in differing)
        raise UserError(f"{model} cannot begin with {ref}, which has {what}: set the same in models.{model}.config.")
