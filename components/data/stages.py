"""The data stages as the flows call them: probe in this process, then one DVC stage at a time under the project's lock."""

import time
from collections.abc import Callable

from components.data import dvc_repo
from components.data.config import DatasetConfig, dataset_block, find_dataset, load_datasets
from components.data.dataset import Manifest, read_manifest, stage_folder
from components.data.failure import ValidationFailed, failure_path, read_failure
from components.data.locking import data_lock
from components.data.result import read_result
from components.data.sources import is_parted
from components.data.stamp import STAGES, Stamp, is_written, make_stamp, write_stamp
from components.errors import UserError
from components.params import Strict, load
from components.project import Project

__all__ = ["STAGES", "StageOutcome", "ValidationFailed", "load_datasets", "probe", "run_stage"]


class StageOutcome(Strict):
    """What a stage did; small enough to pass between tasks."""

    dataset: str
    stage: str
    ran: bool
    """False when it was up to date."""
    rows: dict[str, int] = {}
    """Rows by split (`raw` for collect)."""
    dropped: dict[str, int] = {}
    """Rows in quarantine by reason."""
    outcome: str = ""
    """Of validate: `passed` or `warnings`."""
    seconds: float = 0.0


def probe(project: Project, name: str) -> bool:
    """Write the stamps of every stage of dataset ``name`` where they changed; True when one did.

    Raises:
        UserError: the dataset's block has a mistake, or its source cannot be read.
    """
    params = load(project.params)
    config = find_dataset(params, name)
    try:
        stamps = _stamps(project, config)
    except UserError as error:
        raise dataset_block(params, name).child("source").error(f"dataset {name!r}: {error}", "path") from None
    written = [write_stamp(project, name, stamp) for stamp in stamps]
    return any(written)


def _stamps(project: Project, config: DatasetConfig) -> list[Stamp]:
    """Every stage's. Files are looked into only where the stamp is not the one that was written when they were found to be good."""
    check, made_at_once = config.source_module.check, not is_parted(config.source_module)
    if made_at_once:
        check(config.source, config.modality, project.root)
    stamps = [make_stamp(config, stage, project.root) for stage in STAGES]
    if not made_at_once and not is_written(project, config.name, stamps[0]):
        check(config.source, config.modality, project.root)
    return stamps


def run_stage(project: Project, name: str, stage: str, say: Callable[[str], None] | None = None) -> StageOutcome:
    """Bring one stage of one dataset up to date; milliseconds when nothing changed.

    Raises:
        ValidationFailed: a critical rule failed.
        UserError: the stage met a mistake that the user can mend.
    """
    assert stage in STAGES, stage
    started = time.monotonic()
    with data_lock(project, f"genmill: {stage} {name}", say):
        ran = _reproduce(project, name, stage, say)
        return _outcome(project, name, stage, ran, time.monotonic() - started)


def _reproduce(project: Project, name: str, stage: str, say: Callable[[str], None] | None) -> bool:
    note = failure_path(project, name, stage)
    note.unlink(missing_ok=True)
    try:
        return dvc_repo.reproduce(project, f"{stage}@{name}", say)
    except dvc_repo.StageError as error:
        failure = read_failure(note)
        if failure is None:
            raise RuntimeError(f"Stage {stage} of dataset {name!r} broke down ({error}); its own output says where.") from error
        raise (ValidationFailed if failure.kind == ValidationFailed.__name__ else UserError)(failure.message) from None


def _outcome(project: Project, name: str, stage: str, ran: bool, seconds: float) -> StageOutcome:
    if stage == "validate":
        result = read_result(project, name)
        assert result is not None
        return StageOutcome(dataset=name, stage=stage, ran=ran, rows=result.rows, outcome=result.outcome, seconds=seconds)
    manifest = read_manifest(stage_folder(project, name, stage))
    assert isinstance(manifest, Manifest)
    return StageOutcome(dataset=name, stage=stage, ran=ran, rows=manifest.rows_by_split(), dropped=manifest.dropped, seconds=seconds)
