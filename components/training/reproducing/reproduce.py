"""One reproduction from beginning to end; nothing of the project's own store, registry, ledger or data is changed.

In its folder: `code/`, `project/` (the data version, and an MLflow store of its own), `run/` (checkpoints, evidence, package) and
`reproduction.json`, which says how far it is, so that an interrupted one goes on.
"""

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError, computed_field

from components.atomic import write_text
from components.data.published import find_trained_on
from components.data.restore import restore
from components.errors import UserError, writing
from components.evaluation.protocol import Figure
from components.params import Strict
from components.project import Project
from components.registry.audit.package import opened_package
from components.registry.package import file_hashes
from components.registry.references import resolve
from components.registry.runtime import WEIGHTS_FILE
from components.registry.stored import stored_figures
from components.tracking import ENVIRONMENT_ARTIFACT, ModelVersion, RunRecord, Tracker, embedded_uri
from components.training.environment import installed, machine
from components.training.launch import LOG, RESULT_JSON, Event, follow
from components.training.reproducing.agreement import AgreementRow, DifferenceRow, compare_figures, differences, versions_of
from components.training.reproducing.code import RestoredCode, restore_code
from components.training.reproducing.spec import StoredSpec, find_start, stored_spec

STATE = "reproduction.json"
HARDWARE = ("device_name", "precision", "matmul", "threads")
CARRIED_TAGS = ("model", "family", "size", "identity", "dataset", "data_version", "data_sha256", "validation")
Say = Callable[[str], None]


class State(Strict):
    """How far a reproduction is."""

    run_id: str
    """The run that is reproduced."""
    version: str
    code: RestoredCode | None = None
    own_run_id: str = ""
    """The MLflow run in the store of the reproduction."""
    finished: bool = False


class Reproduction(Strict):
    """What came out."""

    version: str
    folder: Path
    code: str
    """Which code ran, in one sentence."""
    weights: str
    """`identical` or `differ`."""
    figures: tuple[AgreementRow, ...]
    differences: tuple[DifferenceRow, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """Whether every figure agrees."""
        return bool(self.figures) and all(row.verdict in ("identical", "agrees") for row in self.figures)


class Outcome(Strict):
    """The part of a run's RESULT.json that counts here; the code that wrote it may be older or newer than this."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: str
    message: str = ""
    figures: tuple[dict[str, Any], ...] = ()
    package: Path | None = None

    def measured(self) -> tuple[Figure, ...]:
        return tuple(Figure.model_validate({name: value for name, value in figure.items() if name in Figure.model_fields}) for figure in self.figures)


def reproduce(project: Project, tracker: Tracker, ref: str, *, to: Path | None, say: Say, on_event: Callable[[Event], None]) -> Reproduction:
    """Restore code, data and params of ``ref`` into the folder ``to``, train, evaluate and package there, and compare.

    Raises:
        UserError: it cannot be done as it is; ``resume`` goes on where that can help.
        KeyboardInterrupt: it was stopped; the same call with the same folder goes on.
    """
    version = resolve(tracker, ref)
    run = tracker.get_run(version.run_id)
    spec = stored_spec(tracker, run)
    folder = _opened(to.resolve() if to is not None else default_folder(project, version), version)
    spec = _restored(project, tracker, version, run, spec, folder, say)
    say(f"Training {version.ref} again; everything of it is in {folder}.")
    code, received = follow(folder / "run", spec.as_json(), on_event, code=folder / "code", threads=_threads(run))
    if received:
        raise KeyboardInterrupt
    outcome = _outcome(version, folder, code)
    own = Tracker(spec.tracking_uri)
    own.end_run(spec.mlflow_run_id)
    result = _compared(tracker, version, run, own.get_run(spec.mlflow_run_id), folder, outcome)
    _write(folder, _state(folder).model_copy(update={"finished": True}))
    return result


def default_folder(project: Project, version: ModelVersion) -> Path:
    """Below the project's state; another one where there is a finished reproduction already."""
    home, name = project.state / "reproductions", f"{version.name}-{version.version}"
    number = 1
    while True:
        folder = home / (name if number == 1 else f"{name}-{number}")
        if not (folder / STATE).is_file() or not _state(folder).finished:
            return folder
        number += 1


def _opened(folder: Path, version: ModelVersion) -> Path:
    """A new folder, or the one of an unfinished reproduction of the same run."""
    if (folder / STATE).is_file():
        state = _state(folder)
        if state.run_id == version.run_id and not state.finished:
            return folder
        raise UserError(f"{folder} holds {'a finished' if state.finished else 'another'} reproduction, of {state.version}: give --to a new folder.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty: give --to a folder that does not exist yet.")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder, State(run_id=version.run_id, version=version.ref))
    return folder


def _restored(project: Project, tracker: Tracker, version: ModelVersion, run: RunRecord, spec: StoredSpec, folder: Path, say: Say) -> StoredSpec:
    """Code, data and store in place, each once; the spec that trains there."""
    start = find_start(tracker, spec, folder)
    state = _state(folder)
    if state.code is None or not (folder / "code").is_dir():
        with opened_package(tracker, version) as package:
            if package is None:
                raise UserError(f"The package of {version.ref} is gone from {version.source}: restore that folder; `genmill audit {version.ref}` says more.")
            state = state.model_copy(update={"code": restore_code(project, run, package, spec.batches, folder / "code")})
        _write(folder, state)
    assert state.code is not None
    say(_of_code(state.code))
    if not (folder / "project").is_dir():
        data = find_trained_on(project, spec.dataset, spec.data_version, spec.data_sha256)
        restore(project, data, folder / "project", from_remote=True)
    say(f"Data: {spec.dataset}@{spec.data_version}, restored from the remote, every file as its manifest says.")
    home = Project(folder / "project")
    if not state.own_run_id:
        tags = {name: run.tag(name) for name in CARRIED_TAGS}
        own = Tracker(embedded_uri(home))
        run_id = own.start_run(spec.experiment, f"reproduction of {version.ref}", {**tags, "reproduces": run.run_id}, run.params)
        state = state.model_copy(update={"own_run_id": run_id})
        _write(folder, state)
    places = {"project": home.root, "run_dir": folder / "run", "tracking_uri": embedded_uri(home), "mlflow_run_id": state.own_run_id}
    return spec.placed(project.root, {**places, "start": start})


def _of_code(code: RestoredCode) -> str:
    agreed = "its digest is that of the run" if code.is_the_same else "its digest is not that of the run" if code.sha256 else "it cannot say its digest"
    return f"Code: {code.origin}; {agreed}."


def _threads(run: RunRecord) -> int | None:
    """As many as the run had, where it recorded that: sums over another number of parts round otherwise."""
    recorded = run.tag("hardware.threads")
    return int(recorded) if recorded.isdigit() else None


def _outcome(version: ModelVersion, folder: Path, code: int) -> Outcome:
    log, path = folder / "run" / LOG, folder / "run" / RESULT_JSON
    try:
        outcome = Outcome.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        raise UserError(f"The process that trains {version.ref} again ended with exit code {code} and left no result: see its log {log}.") from None
    if outcome.status == "interrupted":
        raise KeyboardInterrupt
    if outcome.status != "finished":
        raise UserError(f"{version.ref} cannot be trained again ({outcome.message}): see {log}.")
    return outcome


def _compared(tracker: Tracker, version: ModelVersion, run: RunRecord, own: RunRecord, folder: Path, outcome: Outcome) -> Reproduction:
    code = _state(folder).code
    assert code is not None, "it was laid down before anything ran"
    assert outcome.package is not None, "a finished run has its package"
    differing = differences(*_setups(tracker, run, own, code))
    weights = f"artifacts/{WEIGHTS_FILE}"
    with opened_package(tracker, version) as package:
        identical = package is not None and file_hashes(package).get(weights) == file_hashes(outcome.package).get(weights)
    return Reproduction(
        version=version.ref, folder=folder, code=_of_code(code), weights="identical" if identical else "differ", differences=differing,
        figures=compare_figures(stored_figures(tracker, run.run_id), outcome.measured(), same_setup=not differing),
    )  # fmt: skip


def _setups(tracker: Tracker, run: RunRecord, own: RunRecord, code: RestoredCode) -> tuple[dict[str, str], dict[str, str]]:
    """What the result may depend on besides data and params: as it was recorded, and as it is here."""
    stored = tracker.read_artifact(run.run_id, ENVIRONMENT_ARTIFACT)
    then = versions_of(stored.decode("utf-8", errors="replace") if stored is not None else run.tag("libraries") or "{}")
    now = versions_of(installed())
    recorded = {"machine": run.tag("machine"), "python": run.tag("python"), "code": code.recorded_sha256[:16]}
    here = {"machine": machine(), "python": platform.python_version(), "code": code.sha256[:16]}
    for name in HARDWARE:
        recorded[name.replace("_", " ")], here[name.replace("_", " ")] = run.tag(f"hardware.{name}"), own.tag(f"hardware.{name}")
    # A library that is only here was not imported there, or the older record did not list it.
    return {**recorded, **then}, {**here, **{name: now.get(name, "not installed") for name in then}}


def _state(folder: Path) -> State:
    try:
        return State.model_validate_json((folder / STATE).read_bytes())
    except ValidationError:
        raise UserError(f"{folder / STATE} cannot be read: delete {folder}, or give --to a new folder.") from None


def _write(folder: Path, state: State) -> None:
    write_text(folder / STATE, state.model_dump_json(indent=1), synced=True)
