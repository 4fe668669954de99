"""Reads dvc.lock, and merges the entries of one dataset into another one."""

import io
from typing import Any

from components.data.stamp import STAGES


def locked_outputs(lock: bytes, name: str) -> list[tuple[str, str]]:
    """(folder, md5 of its list of files) of every stage of dataset ``name`` in a dvc.lock."""
    stages = _read(lock)["stages"]
    return [(out["path"], out["md5"]) for stage in STAGES for out in stages.get(f"{stage}@{name}", {}).get("outs", [])]


def all_outputs(text: bytes) -> set[str]:
    """The md5 of every output that a dvc.lock or a .dvc file pins, ours or not."""
    found = _read(text)
    outs = [out for stage in found["stages"].values() for out in stage.get("outs", [])] + (found.get("outs") or [])
    return {out["md5"] for out in outs if out.get("md5")}


def merged_lock(base: bytes | None, working: bytes, name: str) -> bytes:
    """The dvc.lock ``base`` with the stages of dataset ``name`` taken from ``working``."""
    from ruamel.yaml import YAML

    ours = {f"{stage}@{name}" for stage in STAGES}
    mine = {key: stage for key, stage in _read(working)["stages"].items() if key in ours}
    stages = {**(_read(base)["stages"] if base else {}), **mine}
    text = io.StringIO()
    # DVC's own writer: another one would leave a digest like 12e4 unquoted, which DVC then reads as a number.
    YAML().dump({"schema": "2.0", "stages": dict(sorted(stages.items()))}, text)
    return text.getvalue().encode()


def _read(lock: bytes) -> dict[str, Any]:
    from ruamel.yaml import YAML

    return {"stages": {}, **(YAML(typ="safe").load(lock) or {})}
