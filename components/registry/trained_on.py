"""Which data versions the models that matter were trained on: every version in the registry, every one in the ledger, every training under way."""

from collections.abc import Iterable, Iterator

from components.data.gc import Protected
from components.errors import UserError
from components.project import Project
from components.registry import ledger
from components.tracking import Tracker


def protected_versions(project: Project, tracker: Tracker, datasets: Iterable[str]) -> list[Protected]:
    """What must not be freed of ``datasets``.

    Raises:
        UserError: the registry cannot be asked, or is another one than the ledger speaks of: then nothing is known, and nothing is guessed.
    """
    _require_store(project, tracker)
    names = tracker.model_names()
    records = ledger.read(project)
    strange = sorted({record.model for record in records} - {*names})
    if strange:
        raise UserError(
            f"The ledger speaks of {strange[0]}, which the registry {tracker.uri} does not know, so that it is another one: set MLFLOW_TRACKING_URI to the "
            "registry of this project; nothing is freed before it is known what the models were trained on."
        )
    return [*_registered(tracker, names), *_promoted(records), *_training(tracker, datasets)]


def _require_store(project: Project, tracker: Tracker) -> None:
    """A store that is only made by asking it knows of no model, which says nothing of those that are registered elsewhere."""
    embedded = Tracker.of(project).uri == tracker.uri and tracker.uri.startswith("sqlite:///")
    if embedded and not (project.mlflow / "mlflow.db").is_file():
        raise UserError(
            f"There is no registry in {project.mlflow}, so that it is not known what models were trained on: set MLFLOW_TRACKING_URI to the one that "
            "this project uses, or say with --no-registry that nothing was ever trained on these versions."
        )


def _registered(tracker: Tracker, names: Iterable[str]) -> Iterator[Protected]:
    for name in names:
        for version in tracker.model_versions(name):
            if version.tag("dataset"):
                yield Protected(version.tag("dataset"), version.tag("data_version"), version.tag("data_sha256"), f"{version.ref} was trained on it")


def _promoted(records: Iterable[ledger.Record]) -> Iterator[Protected]:
    for record in records:
        dataset, at, number = record.data_version.partition("@")
        if at:
            yield Protected(dataset, number, record.data_sha256, f"record {record.number} of the ledger names it ({record.model}/{record.to_version})")


def _training(tracker: Tracker, datasets: Iterable[str]) -> Iterator[Protected]:
    for dataset in datasets:
        for run in tracker.runs(dataset):
            if run.status == "RUNNING" and run.tag("data_version"):
                yield Protected(dataset, run.tag("data_version"), run.tag("data_sha256"), f"run {run.name} trains on it")
