"""The whole of params.yaml, resolved and checked before anything runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zoneinfo import available_timezones

from pydantic import Field

from components import params
from components.data.config import DatasetConfig, load_datasets
from components.errors import UserError, nearest
from components.evaluation.config import EvaluationConfig
from components.models.family import Family, Size, TrainingConfig, find_family
from components.params import Block, Strict
from components.project import Project
from components.registry.gates import load_gates
from components.training.start import Lora

TOP_LEVEL = ("datasets", "models", "run", "schedules", "servers")
SIZES = ("tiny", "small", "base")


class ModelBlock(Strict):
    """One block of `models:`."""

    family: str
    dataset: str
    size: Size = "tiny"
    seed: int = 0
    config: dict[str, Any] = {}
    init_from: str | None = None
    """Whose weights training begins with: MODEL, MODEL@champion, MODEL/3, or a folder in the format of transformers, relative to the project."""
    lora: Lora | None = None
    """Train adapters beside those weights instead of the weights themselves."""
    evaluation: EvaluationConfig = EvaluationConfig()
    gates: dict[str, Any] = {}


class Schedule(Strict):
    """One block of `schedules:`."""

    cron: str
    timezone: str = "UTC"
    flow: Literal["build"] = "build"
    models: tuple[str, ...] = ()
    """Empty: the default set of `run:`."""
    active: bool = True


class Ports(Strict):
    """The `servers:` block; a port that is left out is chosen once and kept."""

    prefect_port: int | None = Field(default=None, ge=1, le=65535)
    mlflow_port: int | None = Field(default=None, ge=1, le=65535)


@dataclass(frozen=True)
class ModelEntry:
    """A model of params.yaml with everything resolved."""

    name: str
    block: ModelBlock
    family: Family
    config: TrainingConfig
    gates: Block
    batches: str
    """Kind of the batches it is trained on."""

    def cost(self) -> float:
        """A rough order of cost, to run the cheapest first."""
        return self.config.max_steps * self.family.cost_per_step * (1, 10, 100)[SIZES.index(self.block.size)]


@dataclass(frozen=True)
class Catalog:
    """Everything params.yaml asks for."""

    project: Project
    datasets: dict[str, DatasetConfig]
    models: dict[str, ModelEntry]
    run: tuple[str, ...]
    schedules: dict[str, Schedule]
    ports: Ports

    def choose(self, names: tuple[str, ...] | list[str], *, everything: bool = False, dataset: str | None = None) -> list[ModelEntry]:
        """The models named, or all, or those on ``dataset``, or the default set; cheapest first."""
        if dataset is not None:
            self.dataset(dataset)
            chosen = [model for model in self.models.values() if model.block.dataset == dataset]
            if not chosen:
                raise UserError(f"No model in params.yaml uses the dataset {dataset!r}: add a block under models.")
        elif everything:
            chosen = list(self.models.values())
        else:
            chosen = [self.model(name) for name in (names or self.run or tuple(self.models))]
        return sorted(chosen, key=lambda entry: (entry.cost(), entry.name))

    def model(self, name: str) -> ModelEntry:
        if name not in self.models:
            raise UserError(f"There is no model {name!r} in params.yaml; {nearest(name, self.models)}")
        return self.models[name]

    def dataset(self, name: str) -> DatasetConfig:
        if name not in self.datasets:
            raise UserError(f"There is no dataset {name!r} in params.yaml; {nearest(name, self.datasets)}")
        return self.datasets[name]


def load_catalog(project: Project, *, size: str | None = None, path: Path | None = None) -> Catalog:
    """Read and check all of params.yaml; ``size`` overrides the size of every model.

    Raises:
        UserError: names the line and the nearest right word.
    """
    whole = params.load(path or project.params)
    for key in whole.value:
        if key not in TOP_LEVEL:
            raise whole.error(f"unknown key {key!r}; {nearest(key, TOP_LEVEL)}", key)
    if size is not None and size not in SIZES:
        raise UserError(f"There is no size {size!r}; {nearest(size, SIZES)}")
    datasets = load_datasets(whole)
    models = {name: _model(name, block, datasets, size) for name, block in whole.child("models").children()}
    schedules = {name: _schedule(block, models) for name, block in whole.child("schedules").children()}
    return Catalog(project, datasets, models, _default_set(whole, models), schedules, whole.child("servers").validate(Ports))


def _model(name: str, block: Block, datasets: dict[str, DatasetConfig], size: str | None) -> ModelEntry:
    model = block.validate(ModelBlock)
    if size is not None:
        model = model.model_copy(update={"size": size})
    try:
        family = find_family(model.family)
    except UserError as error:
        raise block.error(str(error), "family") from None
    if model.dataset not in datasets:
        raise block.error(f"there is no dataset {model.dataset!r}; {nearest(model.dataset, datasets)}", "dataset")
    modality = datasets[model.dataset].modality
    if modality not in family.modality:
        raise block.error(_misfit(model, family, datasets), "dataset")
    if model.lora is not None and model.init_from is None:
        raise block.error("lora adapts weights that are there: give init_from, or leave lora out.", "lora")
    load_gates(block.child("gates"))
    return ModelEntry(name, model, family, family.resolve(model.size, block.child("config")), block.child("gates"), family.batches_of(modality))


def _misfit(model: ModelBlock, family: Family, datasets: dict[str, DatasetConfig]) -> str:
    """Why the family cannot train on the dataset, and on which it can."""
    modality = datasets[model.dataset].modality
    fitting = [key for key, dataset in datasets.items() if dataset.modality in family.modality]
    fit = f"these fit: {', '.join(fitting)}" if fitting else "no dataset here fits"
    if modality == "image" and "image-text" in family.modality:
        fit += f"; or give each image its caption (in a folder: a .txt of its name, or metadata.jsonl) and set datasets.{model.dataset}.modality to image-text"
    return f"{model.family} needs {' or '.join(family.modality)}, but {model.dataset} is {modality}; {fit}."


def _schedule(block: Block, models: dict[str, ModelEntry]) -> Schedule:
    schedule = block.validate(Schedule)
    if not _is_cron(schedule.cron):
        raise block.error(f"{schedule.cron!r} is no cron expression: give five fields, e.g. '0 3 * * *' for 3 o'clock every night.", "cron")
    if schedule.timezone not in available_timezones():
        raise block.error(f"there is no timezone {schedule.timezone!r}; {nearest(schedule.timezone, available_timezones())}", "timezone")
    for model in schedule.models:
        if model not in models:
            raise block.error(f"there is no model {model!r}; {nearest(model, models)}", "models")
    return schedule


def _is_cron(expression: str) -> bool:
    from datetime import UTC, datetime

    from cronsim import CronSim, CronSimError

    try:
        return len(expression.split()) == 5 and CronSim(expression, datetime.now(UTC)) is not None
    except CronSimError:
        return False


def _default_set(whole: Block, models: dict[str, ModelEntry]) -> tuple[str, ...]:
    names = whole.value.get("run") or []
    if not isinstance(names, list):
        raise whole.error("run must be a list of models.", "run")
    for name in names:
        if name not in models:
            raise whole.error(f"run names {name!r}, which is no model; {nearest(str(name), models)}", "run")
    return tuple(names)
