"""A dataset and models that fit it, put into params.yaml from a path or an address."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.data.adding.guess import source_block
from components.data.adding.look import Look, look
from components.data.adding.suggest import dataset_block
from components.errors import UserError, nearest, writing
from components.models.family import ImageTrainingConfig, family_names, find_family
from components.params import Block
from components.params_text import with_block
from components.project import Project
from pipelines.catalog import Catalog, load_catalog

_TINY_SIDE = 32
"""Pixels of a side that size `tiny` trains on in minutes; larger images are brought to it for training, and stay as they are in the dataset."""
_TINY_SAMPLES = 2000
_FEWEST_BATCHES = 4
"""Batches of an epoch below which a smaller batch is proposed."""


@dataclass(frozen=True)
class Addition:
    """What would be, or was, written."""

    name: str
    look: Look
    dataset: dict[str, Any]
    models: dict[str, dict[str, Any]]
    is_new: bool
    """Whether the dataset was not there before."""
    text: str
    """The whole of the new params.yaml."""

    @property
    def blocks(self) -> str:
        """What is new, as it stands in the file."""
        text = with_block("", "datasets", self.name, self.dataset) if self.is_new else ""
        for model, block in self.models.items():
            text = with_block(text, "models", model, block)
        return text

    @property
    def command(self) -> str:
        return f"genmill run {' '.join(self.models)}"


def add_dataset(
    project: Project,
    name: str,
    where: str,
    here: Path,
    *,
    modality: str | None = None,
    families: Sequence[str] = (),
    licence: str = "",
    size: str = "tiny",
    allow_private: bool = False,
) -> Addition:
    """The dataset ``name`` from ``where`` (as seen from the folder ``here``) with a model of each of ``families``; nothing is written yet.

    A dataset that is there with the same source only gets the models that it lacks.

    Raises:
        UserError: nothing fits, the name is taken, or params.yaml has a mistake already.
    """
    before = load_catalog(project)
    _refuse_unknown_and_taken(before, name, families)
    source = source_block(where, project.root, here)
    if allow_private:
        if source["kind"] != "http":
            raise UserError(f"{where} is no address of the web, so there is nothing to allow: leave out --allow-private.")
        source["allow_private"] = True
    found = look(source, project.root, modality)
    known = before.datasets.get(name)
    block = dataset_block(found, source, licence)
    if known is not None and not _is_same(before.source, name, source):
        raise UserError(f"there is a dataset {name!r} in {project.params.name} already, from another source: choose another name, or change its block there.")
    starters = [] if families else _starters(found.modality)
    _refuse_unknown_and_taken(before, name, starters)
    models = {f"{family}-{name}": _model_block(family, name, found, block.get("clean", {}), size) for family in families or starters}
    with project.params.open(encoding="utf-8", newline="") as file:  # the ends of its lines stay as they are
        text = file.read()
    if known is None:
        text = with_block(text, "datasets", name, block)
    for model, entry in models.items():
        text = with_block(text, "models", model, entry)
    _check(text)
    return Addition(name, found, block, models, known is None, text)


def write_addition(project: Project, addition: Addition) -> None:
    with writing(project.params), project.params.open("w", encoding="utf-8", newline="") as file:
        file.write(addition.text)


def _refuse_unknown_and_taken(before: Catalog, name: str, families: Sequence[str]) -> None:
    """Before anything is fetched or read, where the families are named."""
    for family in families:
        if family not in family_names():
            raise UserError(f"there is no family {family!r}; {nearest(family, family_names())}")
        model = f"{family}-{name}"
        if model in before.models:
            raise UserError(f"there is a model {model!r} in {before.project.params.name} already: `genmill run {model}` trains it.")


def _is_same(source: Block, name: str, block: dict[str, Any]) -> bool:
    there = source.child("datasets").child(name).child("source").value
    return all(there.get(key) == value for key, value in block.items())


def _starters(modality: str) -> list[str]:
    found = [name for name in family_names() if (family := find_family(name)).starter and family.modality[0] == modality]
    fitting = [name for name in family_names() if modality in find_family(name).modality]
    if not found and not fitting:
        raise UserError(f"no family of models trains on {modality}: give a --modality that one does.")
    return found or fitting[:1]


def _model_block(name: str, dataset: str, found: Look, clean: Mapping[str, Any], size: str) -> dict[str, Any]:
    family = find_family(name)
    if found.modality not in family.modality:
        raise UserError(f"family {name} trains on {' or '.join(family.modality)}, and this is {found.modality}: choose another --family or --modality.")
    config = family.resolve(size, Block({}, (), {}, Path("params.yaml")))
    settings: dict[str, Any] = {}
    if isinstance(config, ImageTrainingConfig) and size == "tiny" and _side(found, clean) > _TINY_SIDE:
        settings["image_size"] = _TINY_SIDE
    if found.is_exact and found.num * 0.8 < config.batch_size * _FEWEST_BATCHES and not found.whole.CAN_CUT:
        settings["batch_size"] = max(1, 1 << (int(found.num * 0.8) // _FEWEST_BATCHES).bit_length() - 1)
    # A tiny model is scored on as many test images as are drawn in a minute or two.
    drawn = (
        {"evaluation": {"num_samples": _TINY_SAMPLES}} if isinstance(config, ImageTrainingConfig) and size == "tiny" and found.num > 10 * _TINY_SAMPLES else {}
    )
    return {"family": name, "dataset": dataset, "size": size, "seed": 0, **({"config": settings} if settings else {}), **drawn}


def _side(found: Look, clean: Mapping[str, Any]) -> int:
    """The shorter side of the dataset's images."""
    size = clean.get("image", {}).get("size")
    return int(size or min((min(one.form[1:3]) for one in found.good if len(one.form) == 3), default=0))


def _check(text: str) -> None:
    """The new file is read as any other before the old one goes."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Project(Path(folder))
        copy.params.write_text(text, encoding="utf-8")
        load_catalog(copy)
