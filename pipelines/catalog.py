"""The whole of params.yaml, resolved and checked before anything runs."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from components import params
from components.data.config import DatasetConfig, VersionSettings, load_datasets, with_read
from components.data.modalities import modality_names
from components.errors import UserError, nearest
from components.evaluation.config import EvaluationConfig
from components.models.family import Family, Size, TrainingConfig, family_names, find_family
from components.params import Block, Strict
from components.project import Project
from components.registry.gates import Gates, load_gates
from components.training.start import Lora
from components.tuning.space import Choices, Range, load_space
from pipelines.schedules import Notify, Schedule, Trigger, load_schedules, load_triggers

TOP_LEVEL = ("datasets", "models", "gates", "promotion", "run", "schedules", "triggers", "notify", "servers", "versions")
SIZES = ("tiny", "small", "base")


class ModelBlock(Strict):
    """One block of `models:`."""

    family: str
    dataset: str
    size: Size = "tiny"
    seed: int = 0
    config: dict[str, Any] = {}
    init_from: str | None = None
    """Whose weights training begins with: MODEL, MODEL@champion, MODEL/3, or a folder in the format of transformers, relative to the project.

    A model may name itself, to go on from a version that is registered.
    """
    lora: Lora | None = None
    """Train adapters beside those weights instead of the weights themselves."""
    seeds: int = Field(1, ge=1, le=100)
    """How many trainings, this one and others from the seeds behind its own, the uncertainty of the figures is taken over."""
    evaluation: EvaluationConfig = EvaluationConfig()
    gates: dict[str, Any] = {}
    """Over those of `gates.FAMILY`, which are over the family's own: a figure with `min`, `max` or both, a rule of `RULES`, or `false` for none."""
    promotion: dict[str, Any] = {}
    """Over those of `promotion:`."""
    tune: dict[str, Any] = {}
    """Over the family's search space: of a field a range (`low`, `high`, `log`), `choices`, or `false` to leave it as it is."""


class PromotionSettings(Strict):
    """The `promotion:` block, of the whole file or of a model."""

    approval: Literal["none", "required"] = "none"
    """Whether a person must say yes, in the Prefect UI or by `genmill approve`."""
    approval_timeout_h: float = Field(24.0, gt=0, le=24 * 30)
    """Hours after which a promotion that nobody answers is refused."""
    auto: bool = False
    """Whether a candidate that passes its gates is promoted by the build, and by `genmill promote --auto`."""


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
    gates: Gates
    promotion: PromotionSettings
    batches: str
    """Kind of the batches it is trained on."""
    space: dict[str, Range | Choices]
    """What `genmill tune` may choose from."""
    augment: dict[str, Any]
    """What is done to the dataset's training rows when they are drawn."""

    @property
    def begins_with(self) -> str | None:
        """The name of the other model that `init_from` means, whatever its version; a folder's name otherwise.

        None where the model goes on from a version of its own: that one is there already.
        """
        if self.block.init_from is None:
            return None
        name = re.split("[@/]", self.block.init_from)[0]
        return None if name == self.name else name

    def cost(self) -> float:
        """A rough order of cost, to run the cheapest first."""
        return self.config.max_steps * self.family.cost_per_step * (1, 10, 100)[SIZES.index(self.block.size)] * self.block.seeds

    def replicates(self) -> list["ModelEntry"]:
        """The same trainings from the other seeds, without further ones of their own."""
        return [replace(self, block=self.block.model_copy(update={"seed": self.block.seed + index, "seeds": 1})) for index in range(1, self.block.seeds)]


class FittingFamily(NamedTuple):
    """A family that can train on a dataset."""

    name: str
    family: Family
    uses: str
    """The modality whose batches it trains on: an image family leaves the captions of captioned images aside."""
    models: tuple[str, ...]
    """Those of params.yaml."""


@dataclass(frozen=True)
class Catalog:
    """Everything params.yaml asks for."""

    project: Project
    datasets: dict[str, DatasetConfig]
    models: dict[str, ModelEntry]
    run: tuple[str, ...]
    schedules: dict[str, Schedule]
    triggers: dict[str, Trigger]
    notify: Notify
    ports: Ports
    source: Block
    """The whole of params.yaml."""
    size: str | None
    """In place of every model's own."""
    seeds: int | None = None
    """In place of every model's own."""

    def choose(self, names: Sequence[str], *, everything: bool = False, dataset: str | None = None, families: Sequence[str] = ()) -> list[ModelEntry]:
        """The models named, or all, or those on ``dataset`` (of ``families``, with a block or without), or the default set.

        The cheapest comes first, and a model behind the one that it begins with.
        """
        if names and (everything or dataset is not None):
            raise UserError("Models are chosen by their names, with --dataset, or with --all: leave all but one of them out.")
        if families and dataset is None:
            raise UserError("--family chooses among the families that fit a dataset: name that with --dataset.")
        if dataset is not None:
            chosen = self._on(dataset, families)
        elif everything:
            chosen = list(self.models.values())
        else:
            chosen = [self.model(name) for name in (names or self.run or tuple(self.models))]
        return _starts_first(sorted(chosen, key=lambda entry: (entry.cost(), entry.name)))

    def model(self, name: str) -> ModelEntry:
        """The model ``name`` of params.yaml; FAMILY-DATASET needs no block there and has the family's own settings."""
        found = self.models.get(name) or self._without_block(name)
        if found is None:
            raise UserError(f"There is no model {name!r} in params.yaml; {nearest(name, self.models)}")
        return found

    def fitting(self, dataset: str) -> list[FittingFamily]:
        """The families that can train on ``dataset``, by name."""
        modality = self.dataset(dataset).modality
        families = {name: find_family(name) for name in family_names()}
        return [
            FittingFamily(name, family, _uses(family, modality), tuple(self._models_of(name, dataset)))
            for name, family in families.items()
            if modality in family.modality
        ]

    def _models_of(self, family: str, dataset: str) -> list[str]:
        return [name for name, entry in self.models.items() if (entry.block.family, entry.block.dataset) == (family, dataset)]

    def _on(self, dataset: str, families: Sequence[str]) -> list[ModelEntry]:
        fitting = {found.name: found for found in self.fitting(dataset)}
        if not families:
            chosen = [entry for entry in self.models.values() if entry.block.dataset == dataset]
            if not chosen:
                raise UserError(f"No model in params.yaml uses the dataset {dataset!r}: choose with --family, of these: {', '.join(fitting)}.")
            return chosen
        for name in families:
            if name not in fitting:
                raise UserError(f"The family {name!r} does not fit {dataset!r} ({self.dataset(dataset).modality}); {nearest(name, fitting)}")
        return [self.model(model) for name in dict.fromkeys(families) for model in fitting[name].models or (f"{name}-{dataset}",)]

    def _without_block(self, name: str) -> ModelEntry | None:
        for family in family_names():
            dataset = name.removeprefix(f"{family}-")
            if name != dataset and dataset in self.datasets and self.datasets[dataset].modality in find_family(family).modality:
                value = {"family": family, "dataset": dataset}
                return _model(name, Block(value, ("models", name), self.source.lines, self.source.file), self.datasets, self.size, self.seeds, self.source)
        return None

    def dataset(self, name: str) -> DatasetConfig:
        if name not in self.datasets:
            raise UserError(f"There is no dataset {name!r} in params.yaml; {nearest(name, self.datasets)}")
        return self.datasets[name]

    def datasets_of(self, entries: Sequence[ModelEntry]) -> list[str]:
        """What must be prepared for ``entries``, in this order: the datasets of each, and those that their sources read."""
        return with_read(self.datasets, [entry.block.dataset for entry in entries])


_params_path: ContextVar[Path | None] = ContextVar("params_path", default=None)


@contextlib.contextmanager
def params_from(path: Path | None) -> Iterator[None]:
    """Read the catalog from ``path`` in place of the project's params.yaml for the length of this context; None changes nothing."""
    token = _params_path.set(path or _params_path.get())
    try:
        yield
    finally:
        _params_path.reset(token)


def load_catalog(project: Project, *, size: str | None = None, seeds: int | None = None, path: Path | None = None) -> Catalog:
    """Read and check all of params.yaml; ``size`` and ``seeds`` override those of every model.

    Raises:
        UserError: names the line and the nearest right word.
    """
    whole = params.load(path or _params_path.get() or project.params)
    for key in whole.value:
        if key not in TOP_LEVEL:
            raise whole.error(f"unknown key {key!r}; {nearest(key, TOP_LEVEL)}", key)
    if size is not None and size not in SIZES:
        raise UserError(f"There is no size {size!r}; {nearest(size, SIZES)}")
    datasets = load_datasets(whole)
    _check_defaults(whole)
    whole.child("versions").validate(VersionSettings)
    models = {name: _model(name, block, datasets, size, seeds, whole) for name, block in whole.child("models").children()}
    default_set = _default_set(whole, models)
    return Catalog(
        project, datasets, models, default_set, load_schedules(whole, models, datasets),
        load_triggers(whole, {name: entry.block.dataset for name, entry in models.items()}, default_set, datasets),
        whole.child("notify").validate(Notify), whole.child("servers").validate(Ports), whole, size, seeds,
    )  # fmt: skip


def _starts_first(entries: list[ModelEntry]) -> list[ModelEntry]:
    """Each entry behind the one that it begins with, else in their order.

    Raises:
        UserError: models begin with each other.
    """
    left, ordered = {entry.name: entry for entry in entries}, []
    while left:
        ready = next((entry for entry in left.values() if entry.begins_with not in left), None)
        if ready is None:
            raise UserError(f"The models {', '.join(left)} begin with one another: one of them must begin without init_from.")
        ordered.append(left.pop(ready.name))
    return ordered


def _check_defaults(whole: Block) -> None:
    """The blocks `promotion:` and `gates:` by themselves: gates stand there by family."""
    whole.child("promotion").validate(PromotionSettings)
    for name, block in whole.child("gates").children():
        try:
            family = find_family(name)
        except UserError as error:
            raise whole.child("gates").error(str(error), name) from None
        load_gates(family.gates, block)


def _model(name: str, block: Block, datasets: dict[str, DatasetConfig], size: str | None, seeds: int | None, whole: Block) -> ModelEntry:
    given = {"size": size, "seeds": seeds}
    model = block.validate(ModelBlock).model_copy(update={key: value for key, value in given.items() if value is not None})
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
    gates = load_gates(family.gates, whole.child("gates").child(model.family), block.child("gates"))
    promotion = block.child("promotion").validate(PromotionSettings, {**whole.child("promotion").value, **model.promotion})
    config = family.resolve(model.size, block.child("config"))
    space, augment = load_space(family, config, block.child("tune")), datasets[model.dataset].load_time()
    return ModelEntry(name, model, family, config, gates, promotion, family.batches_of(modality), space, augment)


def _misfit(model: ModelBlock, family: Family, datasets: dict[str, DatasetConfig]) -> str:
    """Why the family cannot train on the dataset, and on which it can."""
    modality = datasets[model.dataset].modality
    fitting = [key for key, dataset in datasets.items() if dataset.modality in family.modality]
    fit = f"these fit: {', '.join(fitting)}" if fitting else "no dataset here fits"
    if modality == "image" and "image-text" in family.modality:
        fit += f"; or give each image its caption (in a folder: a .txt of its name, or metadata.jsonl) and set datasets.{model.dataset}.modality to image-text"
    return f"{model.family} needs {' or '.join(family.modality)}, but {model.dataset} is {modality}; {fit}."


def _uses(family: Family, modality: str) -> str:
    """What of a dataset of ``modality`` the family trains on: the modality itself, or the one whose batches it asks for."""
    batches = family.batches_of(modality)
    return batches if batches in modality_names() else modality


def _default_set(whole: Block, models: dict[str, ModelEntry]) -> tuple[str, ...]:
    names = whole.value.get("run") or []
    if not isinstance(names, list):
        raise whole.error("run must be a list of models.", "run")
    for name in names:
        if not isinstance(name, str) or name not in models:
            raise whole.error(f"run names {name!r}, which is no model; {nearest(str(name), models)}", "run")
    return tuple(names)
