"""Puts a package into the registry, with all that a later audit needs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.registry.package import CARD_FILE, file_hashes, files_digest
from components.registry.runtime import read_spec
from components.tracking import ModelVersion, Tracker

CANDIDATE = "candidate"
CHAMPION = "champion"
PREVIOUS = "previous"

CARD_ARTIFACT = "card.md"
"""The card as a file of the run: the registry keeps 5,000 characters of a description, and cards can be longer."""
FILES_ARTIFACT = "package_files.json"
"""sha256 of every file of the package by its path, stored in the run."""


def register_package(tracker: Tracker, *, run_id: str, folder: Path, tags: Mapping[str, Any] | None = None) -> ModelVersion:
    """Register the package in ``folder`` as a version of its model, alias `candidate`; a run is registered once.

    The version carries the tags family, abilities, identity, dataset, data_version, data_sha256, package_sha256 and
    package_code_sha256, plus ``tags``; its description is the card.
    """
    spec = read_spec(folder / "artifacts")
    known = [version for version in tracker.model_versions(spec.model) if version.run_id == run_id]
    if known:
        return known[0]
    files = file_hashes(folder)
    tracker.log_text(run_id, json.dumps(files, indent=1), FILES_ARTIFACT)
    card = (folder / CARD_FILE).read_text(encoding="utf-8")
    tracker.log_text(run_id, card, CARD_ARTIFACT)
    source = tracker.log_model(run_id, folder, name=spec.model)
    own = {
        "family": spec.family,
        "identity": spec.identity,
        "dataset": spec.dataset,
        "data_version": spec.data_version,
        "data_sha256": spec.data_sha256,
        "package_sha256": files_digest(files),
        "package_code_sha256": spec.code_sha256,
        "abilities": " ".join(spec.abilities),
    }
    version = tracker.register(spec.model, source, run_id, {**own, **(tags or {})}, card)
    tracker.set_alias(spec.model, CANDIDATE, version.version)
    return tracker.model_version(spec.model, version.version)
