"""Which data stages have work to do, read from dvc.lock without running anything."""

import hashlib
from typing import Any

import yaml

from components.data.stamp import STAGES, stamp_path
from components.project import Project


def pending(project: Project, name: str) -> dict[str, str]:
    """The stages of dataset ``name`` that would run, each with the reason; call `stages.probe` first.

    What lies in the outputs is not hashed here: DVC does that when the stage is brought up to date.
    """
    lock = project.root / "dvc.lock"
    locked = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {}) if lock.is_file() else {}
    found: dict[str, str] = {}
    for stage in STAGES:
        recorded = locked.get(f"{stage}@{name}")
        stamp = stamp_path(project, name, stage)
        if recorded is None:
            found[stage] = "never run"
        elif not all((project.root / out["path"]).is_dir() for out in recorded["outs"]):
            found[stage] = "its output is missing"
        elif _recorded_md5(recorded, stamp.relative_to(project.root).as_posix()) != hashlib.md5(stamp.read_bytes(), usedforsecurity=False).hexdigest():
            found[stage] = "its source, params or code changed" if stage == "collect" else "its params or code changed"
        elif found:
            found[stage] = f"{next(reversed(found))} runs before it"
    return found


def current_stages(project: Project, name: str) -> list[str]:
    """The output folders of dataset ``name`` that dvc.lock speaks for: what made them is unchanged, so their bytes are those that it pins."""
    lock = project.root / "dvc.lock"
    locked = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {}) if lock.is_file() else {}
    found: dict[str, str] = {}
    for stage in STAGES:
        recorded, stamp = locked.get(f"{stage}@{name}"), stamp_path(project, name, stage)
        if recorded is None or not stamp.is_file():
            break
        made_from = {stamp.relative_to(project.root).as_posix(): hashlib.md5(stamp.read_bytes(), usedforsecurity=False).hexdigest(), **found}
        if any(made_from.get(dep["path"]) != dep.get("md5") for dep in recorded["deps"]):
            break
        found |= {out["path"]: out["md5"] for out in recorded["outs"]}
    return list(found)


def _recorded_md5(stage: dict[str, Any], path: str) -> str | None:
    return next((dep.get("md5") for dep in stage.get("deps", []) if dep["path"] == path), None)
