"""Figures and pictures of a model of images, by what it can do: samples, edits, likelihood, reconstruction."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.code import code_digest
from components.data.dataset import Dataset
from components.evaluation.config import EvaluationConfig
from components.evaluation.evidence import Evidence
from components.evaluation.features import as_images, read_pixels
from components.evaluation.membership import BY_LOSS, LEAST_FOR_AREA, MOST_TOLD, Attack, by_loss_of_images, membership_notes, people, told_by_losses
from components.evaluation.pictures import pairs_png
from components.evaluation.protocol import Figure
from components.evaluation.sample_figures import score_samples
from components.evaluation.scoring import MOST_SCORED, Scoring, require_enough_images, shuffled, standard_error
from components.evaluation.telling import Teller, counted
from components.models.capabilities import DataSpec, DrawsFromText, HasImageLosses, HasLatentUnits, Reconstructs, SamplesImages, ScoresImages

PARTS = 5
"""Of the test images, between which a figure of all of them at once spreads."""


def score_images(model: Any, dataset: Dataset, data_spec: DataSpec, *, config: EvaluationConfig, cache: Path, tell: Teller) -> Evidence:
    """Everything that can be measured and shown of ``model``, by its capabilities, against the test split of ``dataset``."""
    require_enough_images(dataset)
    scoring = Scoring(dataset, config, cache, code_digest("components.evaluation.images"), data_spec)
    evidence = Evidence()
    if isinstance(model, SamplesImages):
        evidence = evidence.plus(score_samples(model, scoring, tell))
    if isinstance(model, DrawsFromText):
        from components.evaluation.text_drawing import score_text_drawing

        evidence = evidence.plus(score_text_drawing(model, scoring, tell))
    if isinstance(model, (ScoresImages, Reconstructs, HasLatentUnits)):
        evidence = evidence.plus(_score_test_images(model, scoring, tell))
    if isinstance(model, HasImageLosses):
        evidence = evidence.plus(told_by_losses(model, people(scoring), scoring, tell))
    return evidence


def _score_test_images(model: Any, scoring: Scoring, tell: Teller) -> Evidence:
    images = as_images(read_pixels(scoring.dataset, "test", scoring.size)[0][:MOST_SCORED])
    device = getattr(model, "device", torch.device("cpu"))
    evidence = Evidence()
    if isinstance(model, ScoresImages):
        bits = _bits(model, images, scoring, f"measuring the likelihood of {len(images):,} test images", tell)
        evidence = evidence.plus(Evidence((_bits_per_dim(model, images, bits, scoring),))).plus(_told_by_bits(model, bits, scoring, tell))
    if isinstance(model, Reconstructs):
        evidence = evidence.plus(_reconstruction(model, images, device, scoring, tell))
    if isinstance(model, HasLatentUnits):
        active = model.active_units(images.to(device))
        parts = torch.tensor([model.active_units(part.to(device)) for part in images.split(-(-len(images) // PARTS))], dtype=torch.float64)
        figure = scoring.figure(
            "active_units", active, "max", len(images), preprocessing=scoring.shape, unit=f"of {model.latent_dim}",
            spread=standard_error(parts), spread_over=f"{len(parts)} parts of the test images (standard error)",
        )  # fmt: skip
        evidence = evidence.plus(Evidence((figure,)))
    return evidence


def _bits(model: ScoresImages, images: Tensor, scoring: Scoring, what: str, tell: Teller) -> Tensor:
    """Bits per dimension [N] of ``images``."""
    device, seed = getattr(model, "device", torch.device("cpu")), scoring.config.seed
    chunks = counted(images.split(256), what, tell)
    return torch.cat([model.bits_per_dim(chunk.to(device), seed=seed + index).cpu() for index, chunk in enumerate(chunks)]).double()


def _bits_per_dim(model: ScoresImages, images: Tensor, bits: Tensor, scoring: Scoring) -> Figure:
    train, _ = read_pixels(scoring.dataset, "train", scoring.size)
    return scoring.figure(
        "bits_per_dim", float(bits.mean()), "min", len(images), preprocessing=f"{scoring.shape}, {model.likelihood}", unit="bits",
        floor=independent_pixels_bits(train, images, model.levels), floor_name="independent pixels (a baseline, not a limit)",
        spread=float(bits.std() / math.sqrt(len(bits))), spread_over="test images (standard error)",
    )  # fmt: skip


def _told_by_bits(model: ScoresImages, test_bits: Tensor, scoring: Scoring, tell: Teller) -> Evidence:
    """Membership inference by the likelihood; ``test_bits`` [N] are there already."""
    members = as_images(people(scoring).members[:MOST_TOLD])
    if len(members) < LEAST_FOR_AREA:
        return Evidence(notes=tuple(membership_notes(len(members), BY_LOSS)))
    bits = _bits(model, members, scoring, f"measuring the likelihood of {len(members):,} training images", tell)
    others = test_bits[shuffled(len(test_bits), 0)[: len(members)]]
    figures, notes = by_loss_of_images(scoring, Attack(-bits[: len(others)], -others), f"bits per dimension, {model.likelihood}")
    return Evidence(tuple(figures), notes=tuple(notes))


def independent_pixels_bits(train: Tensor, test: Tensor, levels: int) -> float:
    """Bits per dimension of ``test`` when each pixel keeps its own histogram of grey levels in ``train``, bytes, one count added to each."""
    counts = torch.ones(train[0].numel(), levels, dtype=torch.float64)
    for chunk in train.split(1024):  # whole numbers of all at once would take many times the memory of the images
        known = _levels(as_images(chunk), levels)
        counts.scatter_add_(1, known, torch.ones_like(known, dtype=torch.float64))
    return float(-(counts / counts.sum(1, keepdim=True)).log2().gather(1, _levels(test, levels)).mean())


def _levels(images: Tensor, levels: int) -> Tensor:
    """The grey level of each pixel, [C*H*W, N]."""
    return (images.flatten(1) * (levels - 1)).round().long().T


def _reconstruction(model: Reconstructs, images: Tensor, device: torch.device, scoring: Scoring, tell: Teller) -> Evidence:
    chunks = counted(images.split(256), f"reconstructing {len(images):,} test images", tell)
    again = torch.cat([model.reconstruct(chunk.to(device)).cpu() for chunk in chunks])
    error = (again - images).square().flatten(1).mean(1)
    figure = scoring.figure("reconstruction_psnr", float(-10 * error.mean().log10()), "max", len(images), preprocessing=f"{scoring.shape} in [0, 1]", unit="dB")
    return Evidence((figure,), {"reconstructions": pairs_png(images[:24], again[:24], columns=12)})
