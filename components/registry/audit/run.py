"""The run: what MLflow keeps of it agrees with the version, and its params, environment and figures are those that it stored."""

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path

from pydantic import ConfigDict, ValidationError

from components.params import Strict
from components.registry.audit.rows import NOT_RECORDED, AuditRow, not_rehashed, same, same_where_recorded, unbroken
from components.registry.runtime import read_spec
from components.registry.stored import stored_figures
from components.tracking import ENVIRONMENT_ARTIFACT, SPEC_ARTIFACT, ModelVersion, RunRecord, Tracker


class StoredParams(Strict):
    """The part of a stored run.json that the package holds too; the rest, which changes with the code, is left as it is."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    family: str
    dataset: str
    data_sha256: str
    identity: str
    config: dict[str, object]


def run_rows(tracker: Tracker, version: ModelVersion, run: RunRecord, package: Path | None, *, rehash: bool) -> Iterator[AuditRow]:
    """Rows on the MLflow run of ``version``, whose package lies in ``package``."""
    yield same("MLflow run", "FINISHED", run.status)
    for tag in ("identity", "data_sha256", "data_version"):
        yield same(f"{tag} of the run", version.tag(tag), run.tag(tag))
    for link, artifact, tag in (("params", SPEC_ARTIFACT, "spec_sha256"), ("environment", ENVIRONMENT_ARTIFACT, "environment_sha256")):
        recorded = run.tag(tag)
        yield not_rehashed(link, recorded) if recorded and not rehash else _artifact_row(tracker, run, link, artifact, recorded)
    if rehash and package is not None:
        yield _params_in_the_package(tracker, run, package)
    yield _figures_row(tracker, run)


def _artifact_row(tracker: Tracker, run: RunRecord, link: str, artifact: str, recorded: str) -> AuditRow:
    content = tracker.read_artifact(run.run_id, artifact) if recorded else None
    return same_where_recorded(link, recorded, hashlib.sha256(content).hexdigest() if content is not None else f"no {artifact}")


def _params_in_the_package(tracker: Tracker, run: RunRecord, package: Path) -> AuditRow:
    """The params that the run stored against those in the package, whose files are hashed."""
    link, content = "params in the package", tracker.read_artifact(run.run_id, SPEC_ARTIFACT)
    if content is None:
        return AuditRow(link=link, expected=f"those of {SPEC_ARTIFACT}", found=NOT_RECORDED, ok=None)
    try:
        stored, packaged = StoredParams.model_validate_json(content), read_spec(package / "artifacts")
    except (OSError, ValidationError):
        return unbroken(link, f"those of {SPEC_ARTIFACT}", [f"{SPEC_ARTIFACT} or the package's spec.json cannot be read"])
    ours, theirs = ({**json.loads(json.dumps(one.config)), "family": one.family, "data": one.data_sha256, "run": one.identity} for one in (stored, packaged))
    differing = [f"{name} is {theirs.get(name)}, the run stored {ours.get(name)}" for name in ours | theirs if ours.get(name) != theirs.get(name)]
    return unbroken(link, f"those of {SPEC_ARTIFACT}", differing, found=f"{len(stored.config)} params, all the same")


def _figures_row(tracker: Tracker, run: RunRecord) -> AuditRow:
    """The figures as the run stored them, with their protocol, against the metrics that MLflow's database holds of them."""
    link, expected = "figures", "the metrics of the run"
    try:
        figures = stored_figures(tracker, run.run_id)
    except ValueError:
        return unbroken(link, expected, ["the stored figures cannot be read"])
    logged = {figure.name: run.metrics[f"test/{figure.name}"] for figure in figures if f"test/{figure.name}" in run.metrics}
    differing = [
        f"{figure.name} is stored as {figure.value:.6g}, the metric is {logged[figure.name]:.6g}"
        for figure in figures
        if figure.name in logged and not math.isclose(figure.value, logged[figure.name], rel_tol=1e-9) and not math.isnan(figure.value)
    ]
    return unbroken(link, expected, differing, found=f"{len(figures)} figures, {len(logged)} of them metrics with the same value")
