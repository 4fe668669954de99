"""Gives a network the weights that its run begins with, wholly or with low-rank adapters beside them.

Low-rank adapters: Hu et al. 2022, "LoRA". They are merged into the weights when training is done, so that a package needs no peft.
"""

from collections import Counter
from dataclasses import replace

import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, load_model

from components.errors import UserError
from components.models.capabilities import DataSpec, HeedsControl, HeedsLabels, IsPretrained, NamesClasses
from components.training.start import Lora, Start


def started_data_spec(start: Start, described: DataSpec) -> DataSpec:
    """The data spec of a run that begins with ``start``: its words and the order of its answers come from there, all else is as ``described`` of the dataset.

    Raises:
        UserError: the data has images of another form, other answers, or words that are not as frequent.
    """
    theirs = start.data_spec()
    if not theirs.has_images_like(described):
        form, here = (f"{spec.image_size} pixels and {spec.channels} channels" for spec in (theirs, described))
        raise UserError(f"{start.ref} was trained on images of {form}, here they have {here}: set the model's image_size, or clean.image.mode.")
    if _asked(theirs) != _asked(described):
        raise UserError(f"{start.ref} was trained on other questions or answers than this data has: begin with a model of the same, or leave init_from out.")
    if theirs.token_counts != described.token_counts:
        raise UserError(f"{start.ref} has learnt how frequent words are in other texts than these: leave init_from out, word vectors are soon learnt anew.")
    return replace(described, vocab_size=theirs.vocab_size, tokenizer=theirs.tokenizer, questions=theirs.questions)


def _asked(data: DataSpec) -> list[tuple[str, str, frozenset[str]]]:
    """The questions without the order of their answers, which follows from how often each stands in the data."""
    return [(question.text, question.source, frozenset(question.answers)) for question in data.questions]


def load_start(model: pl.LightningModule, start: Start) -> None:
    """Give ``model`` the weights of ``start``.

    Raises:
        UserError: the model heeds classes and those of its data are others; a tensor is missing, is one too many, or has another shape.
    """
    target: torch.nn.Module = model
    if start.kind == "transformers":
        assert isinstance(model, IsPretrained), "only a family that describes its architecture begins with a folder"
        target = model.pretrained()
    weights, own = load_file(start.weights), target.state_dict()
    misshapen = [name for name in weights.keys() & own.keys() if weights[name].shape != own[name].shape]
    _require_its_classes(model, start, fits=not misshapen)
    for name in misshapen:
        theirs, ours = list(weights[name].shape), list(own[name].shape)
        raise UserError(f"{start.ref} does not fit this model: its tensor {name} is {theirs}, here it is {ours}; make both configs alike.")
    missing, unexpected = load_model(target, start.weights, strict=False)
    if missing or unexpected:
        odd = sorted({*missing, *unexpected})[0]
        raise UserError(f"{start.ref} does not fit this model: only one of the two has the tensor {odd}; make both configs alike.")


def _require_its_classes(model: pl.LightningModule, start: Start, *, fits: bool) -> None:
    """``fits`` says whether the weights have the shapes of the model's, which those of classes have where there are as many."""
    data = model.data
    assert isinstance(data, DataSpec), "every model has the data spec that it was built for"
    theirs, ours = start.data_spec().class_names, data.class_names
    heeded = (isinstance(model, HeedsLabels) and model.conditional) or isinstance(model, NamesClasses) or (isinstance(model, HeedsControl) and model.control)
    if theirs != ours and (heeded or (not fits and len(theirs) != len(ours))):
        raise UserError(f"{start.ref} knows other classes than this data has: begin with a model of the same classes, or leave init_from out.")


def add_adapters(model: pl.LightningModule, lora: Lora) -> None:
    """Put adapters beside the linear layers of ``model``; from then on they alone are trained.

    A layer whose weights stand in another place too gets none: merged into the weights, an adapter would change both places, and it was trained in one.

    Raises:
        UserError: a target names no linear layer, or one that shares its weights; or there is none to adapt.
    """
    from peft import LoraConfig, inject_adapter_in_model

    linear = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    places = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    free = [name for name, module in linear.items() if places[id(module.weight)] == 1]
    if not free:
        raise UserError("This model has no linear layer that could be adapted: leave lora out.")
    known = ", ".join(sorted({name.rpartition(".")[2] for name in free}))
    for target in lora.targets:
        meant = [name for name in linear if _ends(name, target)]
        if not meant:
            raise UserError(f"lora.targets names {target!r}, which is no linear layer of this model: choose from {known}.")
        if not set(meant) <= set(free):
            raise UserError(f"lora.targets names {target!r}, which shares its weights with another layer and cannot be adapted alone: choose from {known}.")
    targets = [name for name in free if not lora.targets or any(_ends(name, target) for target in lora.targets)]
    inject_adapter_in_model(LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets), model)


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def merge_adapters(model: pl.LightningModule) -> None:
    """Add the adapters to the weights beside which they stand, and take them away: ``model`` has the modules that it was built with."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, module in adapted:
        module.merge()
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, module.get_base_layer())
    model.requires_grad_(True)
