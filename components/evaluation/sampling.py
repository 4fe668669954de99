"""Samples from fixed seeds: for the pictures of training and reports, and in bulk for the figures."""

from typing import Any

import torch
from torch import Tensor

from components.data.dataset import Dataset
from components.data.pixels import labels_of
from components.evaluation.evidence import Evidence
from components.evaluation.pictures import grid_png
from components.evaluation.telling import SILENT, Teller, counted
from components.models.capabilities import (
    OWN_SETTINGS,
    ContinuesText,
    DataSpec,
    DrawsFromText,
    FillsMasks,
    HeedsLabels,
    MapsText,
    RelatesWords,
    RendersViews,
    SamplerSettings,
    SamplesImages,
)
from components.models.prompting import answers

_CHUNK = 256
_SEED_STRIDE = 1_000_003
"""Between the seeds of two chunks, so that small seeds of the user's never meet."""


@torch.no_grad()
def draw_samples(model: Any, data_spec: DataSpec, *, seed: int, num: int) -> Evidence:
    """About ``num`` samples as a person wants to see them: a picture `samples`, or a text `samples`; nothing of a model that draws none."""
    png, text = _picture(model, data_spec, seed, num), _text(model, data_spec, seed)
    return Evidence(pictures={"samples": png} if png else {}, texts={"samples": text} if text else {})


def _picture(model: Any, data_spec: DataSpec, seed: int, num: int) -> bytes | None:
    if isinstance(model, SamplesImages):
        return samples_picture(model, data_spec, seed=seed, num=num)
    if isinstance(model, DrawsFromText):
        from components.evaluation.text_drawing import samples_of_captions

        return samples_of_captions(model, data_spec, seed=seed)
    if isinstance(model, RendersViews):
        from components.evaluation.views import views_picture

        return views_picture(model, data_spec)
    return None


def _text(model: Any, data_spec: DataSpec, seed: int) -> str | None:
    if isinstance(model, RelatesWords):
        from components.evaluation.embeddings import neighbours_text

        return neighbours_text(model.token_vectors(), data_spec)
    if not data_spec.example_texts:
        return None
    if isinstance(model, ContinuesText) and not answers(data_spec):
        from components.evaluation.text import sample_text

        return sample_text(model, data_spec, seed=seed)
    if isinstance(model, FillsMasks):
        from components.evaluation.masked import sample_fills

        return sample_fills(model, data_spec)
    if isinstance(model, MapsText):
        return _mapped(model, data_spec)
    return None


def _mapped(model: MapsText, data_spec: DataSpec) -> str:
    if model.sentinels:
        from components.evaluation.spans import sample_spans

        return sample_spans(model, data_spec)
    from components.evaluation.mapping import sample_answers

    return sample_answers(model, data_spec)


def samples_picture(model: SamplesImages, data_spec: DataSpec, *, seed: int, num: int, settings: SamplerSettings = OWN_SETTINGS) -> bytes:
    """A PNG grid; one row per class where the model heeds labels (at most 20 classes are shown)."""
    classes = data_spec.class_names[:20]
    if not (classes and isinstance(model, HeedsLabels) and model.conditional):
        columns = max(1, round(num**0.5))
        return grid_png(draw_images(model, num, seed=seed, settings=settings), columns)
    columns = max(4, num // len(classes))
    labels = torch.arange(len(classes)).repeat_interleave(columns)
    return grid_png(draw_images(model, len(labels), seed=seed, labels=labels, settings=settings), columns, row_captions=classes)


@torch.no_grad()
def draw_images(
    model: SamplesImages,
    num: int,
    *,
    seed: int,
    labels: Tensor | None = None,
    settings: SamplerSettings = OWN_SETTINGS,
    what: str = "",
    tell: Teller = SILENT,
) -> Tensor:
    """``num`` samples [num, C, S, S] on the CPU, drawn in chunks of fixed size so that memory does not grow with ``num``; ``what`` names the work."""
    chunks = []
    for index, start in enumerate(counted(range(0, num, _CHUNK), what, tell)):
        count = min(_CHUNK, num - start)
        chosen = None if labels is None else labels[start : start + count]
        drawn = model.sample_images(count, seed=seed + index * _SEED_STRIDE, labels=chosen, settings=settings)
        chunks.append(drawn.float().cpu())
    return torch.cat(chunks)


def labels_like_train(dataset: Dataset, model: Any, num: int) -> Tensor | None:
    """Labels in the proportions of the training split, the same for every draw: random ones would move a figure more than the model does."""
    if not (dataset.class_names and isinstance(model, HeedsLabels) and model.conditional):
        return None
    labels = torch.from_numpy(labels_of(dataset.table("train", columns=["label"], augmented=False)))
    return labels.sort().values[torch.arange(num) * len(labels) // num]
