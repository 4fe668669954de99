"""A run's process: RUN.json in, RESULT.json out. It trains, evaluates and packages; a phase that is done is not done again.

Marker files in ``run_dir`` say which phases are done: `trained.json` (with `weights.safetensors`), `evaluated.json` (with `evidence/`) and
`packaged.json` (with `package/`). Each is written when all that it speaks for is in place.
"""

import os
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytorch_lightning as pl
from filelock import FileLock, Timeout
from safetensors.torch import load_model, save_model

from components.atomic import write_atomically, write_text
from components.data.dataset import Dataset
from components.errors import UserError
from components.evaluation.evaluate import evaluate, require_enough, require_scorable
from components.evaluation.evidence import Evidence
from components.evaluation.protocol import Figure
from components.evaluation.validation import evaluate_on_validation, require_validation, validation_for_test
from components.models.capabilities import DataSpec
from components.models.family import Family, TrainingConfig, find_family
from components.params import Strict
from components.project import Project
from components.registry.card import CardCost, CardData, model_card
from components.registry.package import write_package
from components.registry.stored import show_evidence, store_evidence, store_figures
from components.tracking import PICTURE_KEYS, MetricPoint, Tracker
from components.training import datamodules
from components.training.begin import started_data_spec
from components.training.callbacks import Diverged
from components.training.checkpoints import Pruned
from components.training.cost import core_seconds, peak_memory_bytes
from components.training.environment import record_inputs
from components.training.files import checkpoint_folder, last_checkpoint
from components.training.fit import Training, build_model, fit
from components.training.progress import Telling, emit
from components.training.samples import Sample
from components.training.spec import Exit, RunResult, RunSpec
from components.training.stopping import Interrupted, StopRequest

RESULT = "RESULT.json"
WAIT_S = 15.0
"""How long a process waits for an earlier one of the same run, whose parent may just have died."""
Marker = TypeVar("Marker", bound=Strict)
Done = TypeVar("Done")


class Evaluated(Strict):
    """What the evaluation left: figures, and files by name."""

    figures: tuple[Figure, ...]
    pictures: dict[str, Path]
    texts: dict[str, Path]
    notes: tuple[str, ...]
    evaluate_s: float
    core_s: float
    animations: dict[str, Path] = {}

    def evidence(self) -> Evidence:
        pictures = {name: path.read_bytes() for name, path in self.pictures.items()}
        texts = {name: path.read_text(encoding="utf-8") for name, path in self.texts.items()}
        animations = {name: path.read_bytes() for name, path in self.animations.items()}
        return Evidence(self.figures, pictures, texts, self.notes, animations)


class Packaged(Strict):
    """What packaging left."""

    folder: Path
    sha256: str
    package_s: float
    core_s: float


def main(run_json: Path, *, until_stdin_closes: bool) -> Exit:
    """Do the run that ``run_json`` describes; everything of it is in the files it leaves."""
    stop = StopRequest()
    stop.listen(until_stdin_closes=until_stdin_closes)
    emit("started", pid=os.getpid())
    spec = RunSpec.model_validate_json(run_json.read_text(encoding="utf-8"))

    def alone() -> RunResult:
        with _alone(spec):
            return Run(spec, stop).result()

    result, status, message = attempt(alone)
    result = result or _unfinished(spec, status, message)
    write_text(spec.run_dir / RESULT, result.model_dump_json(indent=1), synced=True)
    return status


def attempt(work: Callable[[], Done]) -> tuple[Done | None, Exit, str]:
    """What ``work`` returned, with how it ended; whatever went wrong becomes a sentence, for the parent must hear of it."""
    try:
        return work(), Exit.FINISHED, ""
    except Interrupted:
        return None, Exit.INTERRUPTED, "interrupted"
    except Diverged as error:
        return None, Exit.DIVERGED, str(error)
    except Pruned as error:
        return None, Exit.PRUNED, str(error)
    except UserError as error:
        return None, Exit.USER_ERROR, str(error)
    except Exception as error:  # noqa: BLE001 - it reaches the parent by its message, and the log by its traceback
        traceback.print_exc()
        return None, Exit.CRASHED, f"{type(error).__name__}: {error}"


def _alone(spec: RunSpec) -> FileLock:
    """The kernel's lock on the run's folder; a killed holder frees it."""
    lock = FileLock(spec.run_dir / "run.lock")
    try:
        lock.acquire(timeout=WAIT_S, poll_interval=0.2)
    except Timeout:
        raise UserError(f"The run of {spec.model} in {spec.run_dir} is in progress in another process: wait for it, or stop that process.") from None
    return lock


def _unfinished(spec: RunSpec, status: Exit, message: str) -> RunResult:
    words = {Exit.INTERRUPTED: "interrupted", Exit.DIVERGED: "diverged", Exit.PRUNED: "pruned"}
    return RunResult(
        status=words.get(status, "failed"), message=message, mlflow_run_id=spec.mlflow_run_id, steps=last_checkpoint(checkpoint_folder(spec.run_dir))[1],
        core_s=core_seconds(), peak_memory_bytes=peak_memory_bytes(),
    )  # fmt: skip


class Run:
    """The phases of one run, in order; each looks first whether its marker is there."""

    def __init__(self, spec: RunSpec, stop: StopRequest) -> None:
        self.spec, self.stop = spec, stop
        self.project = Project(spec.project)
        self.tracker = Tracker(spec.tracking_uri)
        self.family: Family = find_family(spec.family)
        self.config: TrainingConfig = self.family.config.model_validate(spec.config)
        self.dataset = Dataset.open(self.project, spec.dataset)
        if self.dataset.manifest.sha256 != spec.data_sha256:
            raise UserError(f"Dataset {spec.dataset!r} has changed since {spec.data_version} was published: run the command again, it publishes first.")
        if spec.trial:
            require_validation(self.dataset)
        else:
            require_enough(self.dataset)
        described = datamodules.describe(self.dataset, self.config, self.project.cache, kind=spec.batches)
        self.data_spec: DataSpec = started_data_spec(spec.start, described) if spec.start else described

    def result(self) -> RunResult:
        model = build_model(self.spec, self.family, self.data_spec)
        require_scorable(model, validation_for_test(self.dataset) if self.spec.trial else self.dataset, self.data_spec, self.spec.evaluation)
        training = self._trained(model)
        evaluated = self._evaluated(model, training)
        result = RunResult(
            status="finished", mlflow_run_id=self.spec.mlflow_run_id, figures=evaluated.figures, pictures=evaluated.pictures,
            animations=evaluated.animations, texts=evaluated.texts, notes=evaluated.notes, steps=training.steps, train_s=training.train_s,
            evaluate_s=evaluated.evaluate_s, core_s=training.core_s + evaluated.core_s, peak_memory_bytes=peak_memory_bytes(),
            parameters=training.parameters, resumed=training.resumed,
        )  # fmt: skip
        if self.spec.trial:
            self._log_trial(training, evaluated)
            return result
        packaged = self._packaged(model, training, evaluated)
        emit("progress", phase="log", step=0, max_steps=1)
        self._log(training, evaluated, packaged)
        made = {"package": packaged.folder, "package_sha256": packaged.sha256, "package_s": packaged.package_s, "core_s": result.core_s + packaged.core_s}
        return result.model_copy(update=made)

    # -- training ----------------------------------------------------------------------------------------------------

    def _trained(self, model: pl.LightningModule) -> Training:
        weights, marker = self.spec.run_dir / "weights.safetensors", self.spec.run_dir / "trained.json"
        done = _read(marker, Training)
        if done is not None:
            load_model(model, weights)
            done.hardware.apply()
            model.eval().to(done.hardware.device)
            return done
        record_inputs(self.tracker, self.spec)
        training = fit(model, self.spec, self.dataset, self.data_spec, self.config, cache=self.project.cache, stop=self.stop, log=self._log_progress)
        write_atomically(weights, lambda path: save_model(model, str(path)), synced=True)
        write_text(marker, training.model_dump_json(indent=1), synced=True)
        return training

    def _log_progress(self, points: list[MetricPoint], samples: list[Sample], alarms: Sequence[str]) -> None:
        """To MLflow, behind a checkpoint. What is logged again after a kill stands there once."""
        self.tracker.log_metrics(self.spec.mlflow_run_id, points)
        for sample in samples:
            path = Path(sample.path)
            if path.suffix == ".png":
                self.tracker.log_image(self.spec.mlflow_run_id, PICTURE_KEYS + sample.name, path.read_bytes(), sample.step)
            else:
                self.tracker.log_text(self.spec.mlflow_run_id, path.read_text(encoding="utf-8"), f"texts/{path.name}")
        if alarms:
            self.tracker.set_tags(self.spec.mlflow_run_id, {"alarm": "; ".join(alarms)})

    # -- evaluation --------------------------------------------------------------------------------------------------

    def _evaluated(self, model: pl.LightningModule, training: Training) -> Evaluated:
        marker = self.spec.run_dir / "evaluated.json"
        done = _read(marker, Evaluated)
        if done is not None:
            return done
        emit("progress", phase="evaluate", step=0, max_steps=1)
        began, began_core = time.monotonic(), core_seconds()
        score = evaluate_on_validation if self.spec.trial else evaluate
        evidence = score(model, self.dataset, self.data_spec, config=self.spec.evaluation, cache=self.project.cache, tell=Telling("evaluate"))
        folder = self.spec.run_dir / "evidence"
        alarms = tuple(f"Alarm while training: {alarm}." for alarm in training.alarms)
        evaluated = Evaluated(
            figures=evidence.figures,
            pictures={name: _store(folder / f"{name}.png", png) for name, png in evidence.pictures.items()},
            animations={name: _store(folder / f"{name}.gif", gif) for name, gif in evidence.animations.items()},
            texts={name: _store(folder / f"{name}.txt", text.encode()) for name, text in evidence.texts.items()},
            notes=(*alarms, *evidence.notes), evaluate_s=time.monotonic() - began, core_s=core_seconds() - began_core,
        )  # fmt: skip
        write_text(marker, evaluated.model_dump_json(indent=1), synced=True)
        for path in evaluated.pictures.values():
            emit("picture", name=path.stem, step=self.config.max_steps, path=str(path))
        return evaluated

    # -- packaging ---------------------------------------------------------------------------------------------------

    def _packaged(self, model: pl.LightningModule, training: Training, evaluated: Evaluated) -> Packaged:
        marker = self.spec.run_dir / "packaged.json"
        done = _read(marker, Packaged)
        if done is not None:
            return done
        emit("progress", phase="package", step=0, max_steps=1)
        began, began_core = time.monotonic(), core_seconds()
        spec = self.spec
        package = write_package(
            model.cpu(), family=spec.family, config=spec.config, data_spec=self.data_spec, model_name=spec.model, identity=spec.identity,
            dataset=spec.dataset, data_version=spec.data_version, data_sha256=spec.data_sha256, folder=spec.run_dir / "package",
            card=self._card(training, evaluated),
        )  # fmt: skip
        packaged = Packaged(folder=package.folder, sha256=package.sha256, package_s=time.monotonic() - began, core_s=core_seconds() - began_core)
        write_text(marker, packaged.model_dump_json(indent=1), synced=True)
        return packaged

    def _card(self, training: Training, evaluated: Evaluated) -> str:
        spec, manifest = self.spec, self.dataset.manifest
        data = CardData(
            dataset=spec.dataset, version=spec.data_version, sha256=spec.data_sha256, rows=manifest.rows_by_split(), licence=manifest.licence,
            source=", ".join(f"{key} {value}" for key, value in manifest.source.items()),
            validation=self.tracker.get_run(spec.mlflow_run_id).tag("validation") or "unknown",
        )  # fmt: skip
        cost = CardCost(
            parameters=training.parameters, steps=training.steps, train_s=training.train_s, core_s=training.core_s + evaluated.core_s,
            peak_memory_bytes=peak_memory_bytes(), device=training.hardware.device_name,
        )  # fmt: skip
        return model_card(
            self.family, name=spec.model, family_name=spec.family, size=spec.size, data=data, figures=evaluated.figures, cost=cost,
            config=spec.config, notes=evaluated.notes,
        )  # fmt: skip

    # -- record ------------------------------------------------------------------------------------------------------

    def _log(self, training: Training, evaluated: Evaluated, packaged: Packaged) -> None:
        """Figures, evidence and cost to MLflow. The time is the evaluation's, so that logging twice leaves one point."""
        run_id, now_ms = self.spec.mlflow_run_id, int((self.spec.run_dir / "evaluated.json").stat().st_mtime * 1000)
        cost = _cost(training, evaluated, packaged)
        evidence = evaluated.evidence()
        store_evidence(self.tracker, run_id, evidence)
        show_evidence(self.tracker, run_id, evidence, cost=cost, now_ms=now_ms)
        hardware = {f"hardware.{key}": value for key, value in training.hardware.model_dump().items()}
        self.tracker.set_tags(
            run_id,
            {**cost, "skipped_steps": training.skipped_steps, "kept_step": training.kept_step, "package_sha256": packaged.sha256, **hardware},
        )

    def _log_trial(self, training: Training, evaluated: Evaluated) -> None:
        """Figures and cost alone: a search has many trials, and nobody asks one of them for a picture."""
        run_id, now_ms = self.spec.mlflow_run_id, int((self.spec.run_dir / "evaluated.json").stat().st_mtime * 1000)
        store_figures(self.tracker, run_id, evaluated.figures)
        self.tracker.log_metrics(run_id, [MetricPoint(f"validation/{figure.name}", figure.value, 0, now_ms) for figure in evaluated.figures])
        self.tracker.set_tags(run_id, {"train_s": round(training.train_s, 2), "evaluate_s": round(evaluated.evaluate_s, 2)})


def _cost(training: Training, evaluated: Evaluated, packaged: Packaged) -> dict[str, float]:
    """What the run took, by phase and in all."""
    return {
        "wall_s": round(training.train_s + evaluated.evaluate_s + packaged.package_s, 2),
        "core_s": round(training.core_s + evaluated.core_s + packaged.core_s, 2),
        "train_s": round(training.train_s, 2), "evaluate_s": round(evaluated.evaluate_s, 2), "package_s": round(packaged.package_s, 2),
        "flops": training.flops, "peak_memory_bytes": peak_memory_bytes(), "parameters": training.parameters,
    }  # fmt: skip


def _read(marker: Path, kind: type[Marker]) -> Marker | None:
    return kind.model_validate_json(marker.read_text(encoding="utf-8")) if marker.is_file() else None


def _store(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
