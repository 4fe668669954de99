"""What a stage depends on besides its input: its resolved params, its code and, for collect, the source's fingerprint.

A stamp is the file that dvc.yaml names as the stage's dependency. It is written only when its content changes, so an
unchanged stage is recognised by the file alone, wherever the code of this package lies.
"""

import json
from pathlib import Path
from typing import Any

from components.atomic import write_text
from components.code import code_digest
from components.data.config import DatasetConfig
from components.data.modalities import modality_module
from components.data.sources import source_modules
from components.errors import UserError
from components.params import Strict
from components.project import Project

STAGES = ("collect", "clean", "augment", "validate")


class Stamp(Strict):
    stage: str
    params: dict[str, Any]
    code: str
    fingerprint: dict[str, Any] = {}


def make_stamp(config: DatasetConfig, stage: str, root: Path) -> Stamp:
    modules = [f"components.data.{stage}", modality_module(config.modality)]
    fingerprint: dict[str, Any] = {}
    if stage == "collect":
        modules += source_modules(config.source.kind, config.modality)
        fingerprint = config.source_module.fingerprint(config.source, config.modality, root)
    return Stamp(stage=stage, params=config.stage_params(stage), code=code_digest(*modules), fingerprint=fingerprint)


def stamp_path(project: Project, name: str, stage: str) -> Path:
    return project.data / "probe" / name / f"{stage}.json"


def read_stamp(project: Project, name: str, stage: str) -> Stamp:
    path = stamp_path(project, name, stage)
    try:
        return Stamp.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `python -m components.data probe {name}` first.") from None


def write_stamp(project: Project, name: str, stamp: Stamp) -> bool:
    """Write the stamp where it differs from what is there; True when it did."""
    if is_written(project, name, stamp):
        return False
    path = stamp_path(project, name, stamp.stage)
    write_text(path, _text(stamp))  # two probes at once are no harm
    return True


def is_written(project: Project, name: str, stamp: Stamp) -> bool:
    """Whether this stamp is the one that is there."""
    path = stamp_path(project, name, stamp.stage)
    return path.is_file() and path.read_text(encoding="utf-8") == _text(stamp)


def _text(stamp: Stamp) -> str:
    return json.dumps(stamp.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
