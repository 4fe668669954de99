"""What each row of a generated dataset is asked with: a class, a prompt, or nothing; the same for the same version, whenever it is asked."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from components.data.dataset import Dataset
from components.data.published import find_trained_on
from components.data.restore import dataset_at
from components.errors import UserError
from components.models.capabilities import HeedsControl, HeedsLabels
from components.models.prompting import answers
from components.project import Project
from components.registry import wire
from components.registry.loading import LoadedModel
from components.tracking import ModelVersion

LABEL, PROMPT = "label", "prompt"
"""Params that are the same for every row, where they are given."""


class Asked(NamedTuple):
    """What one row is asked with."""

    label: str | None = None
    prompt: str | None = None
    drawn_label: str | None = None
    """The class of the training row whose prompt it is; the model is not told."""

    @property
    def row(self) -> dict[str, Any]:
        """A row of the wire format."""
        return {name: value for name, value in ((LABEL, self.label), (PROMPT, self.prompt)) if value is not None}


class Deal(NamedTuple):
    """How all rows are asked."""

    choices: Sequence[Asked]
    words: str
    """For the lineage."""
    in_turn: bool = True
    """Row by row from the first choice on again; else spread evenly, so that all choices have their turn once."""
    class_names: tuple[str, ...] = ()

    def asked(self, start: int, stop: int, rows: int) -> list[tuple[Asked, int]]:
        """What the rows from ``start`` to ``stop`` of ``rows`` are asked with, and how many of them: what is alike is drawn at once."""
        num = len(self.choices)
        chosen = [self.choices[index % num if self.in_turn else index * num // rows] for index in range(start, stop)]
        return list(Counter(chosen).items())


def generated_modality(model: LoadedModel, name: str) -> str:
    """The modality of what ``model`` draws.

    Raises:
        UserError: it draws nothing by itself.
    """
    abilities, modality = set(model.spec.abilities), model.data_spec.modality
    if wire.SAMPLES_IMAGES in abilities:
        return "image"
    if wire.DRAWS_FROM_TEXT in abilities:
        return "image-text"
    if wire.CONTINUES_TEXT in abilities:
        return "text-pairs" if answers(model.data_spec) else "text"
    if wire.MAPS_TEXT in abilities and modality == "text-pairs":
        return "text-pairs"
    does = ", ".join(sorted(abilities)) or "nothing"
    raise UserError(f"{name} draws nothing of its own, it answers requests with {does}: choose a model that draws pictures or writes text.")


def deal(project: Project, model: LoadedModel, version: ModelVersion, given: dict[str, str]) -> Deal:
    """Equal numbers of every class where the model heeds classes; the prompts of the training split where it needs prompts.

    ``given`` is what every row shall be asked with instead: `label`, `prompt`.

    Raises:
        UserError: the model does not take what is given, or its training data is gone.
    """
    classes = _classes_heeded(model)
    if LABEL in given and not classes:
        raise UserError(f"{version.ref} heeds no labels: leave --param label=… out, or choose a model that was trained with them.")
    modality = generated_modality(model, version.ref)
    if PROMPT in given and modality == "image":
        raise UserError(f"{version.ref} takes no prompt: leave --param prompt=… out.")
    if given:
        told = " and ".join(f"{name} {value!r}" for name, value in sorted(given.items()))
        return Deal((Asked(**given),), f"all rows with {told}", class_names=classes if LABEL in given else ())
    if modality in ("image-text", "text-pairs"):
        data = find_trained_on(project, version.tag("dataset"), version.tag("data_version"), version.tag("data_sha256"))
        return _prompts(dataset_at(project, data), modality)
    if classes:
        return Deal([Asked(label) for label in classes], f"equal numbers of each of {len(classes)} classes", class_names=classes)
    return Deal((Asked(),), "no labels and no prompts")


def _prompts(dataset: Dataset, modality: str) -> Deal:
    """Those of the original rows of the training split, each with its row's class."""
    name = {"image-text": "caption", "text-pairs": "source_text"}[modality]
    labelled = bool(dataset.class_names)
    table = dataset.table("train", columns=[name, LABEL] if labelled else [name], augmented=False)
    labels = [dataset.class_names[label] for label in table[LABEL].to_pylist()] if labelled else [None] * table.num_rows
    choices = [Asked(prompt=prompt, drawn_label=label) for prompt, label in zip(table[name].to_pylist(), labels, strict=True)]
    return Deal(choices, f"{name}s of the training split in order, spread evenly", in_turn=False, class_names=dataset.class_names)


def _classes_heeded(model: LoadedModel) -> tuple[str, ...]:
    """The classes that change what is drawn; a model in a child, which cannot be looked at, is asked for two of them from one seed."""
    classes, known = model.data_spec.class_names, model.model
    if known is not None:
        heeds = (isinstance(known, HeedsLabels) and known.conditional) or (isinstance(known, HeedsControl) and bool(known.control))
    elif len(classes) < 2 or not {wire.SAMPLES_IMAGES, wire.CONTINUES_TEXT} & set(model.spec.abilities):
        heeds = False
    else:
        first, second = (model.predict([{LABEL: name}], {"seed": 0})[0] for name in classes[:2])
        heeds = (first.get("image"), first.get("text")) != (second.get("image"), second.get("text"))
    return classes if heeds else ()
