"""Image-to-image: what is gained in realism and lost in faithfulness as the strength grows (Meng et al. 2022, "SDEdit", figure 3).

The model is given coarse guides, test images of which only the averages of blocks are left, and draws them anew.
"""

import io
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from components.evaluation.evidence import Evidence
from components.evaluation.features import OwnExtractor
from components.evaluation.frechet import Moments, frechet_distance, moments
from components.evaluation.pictures import grid_png
from components.evaluation.telling import SILENT, Teller, counted
from components.models.capabilities import EditsImages, SamplerSettings

STRENGTHS = (0.2, 0.35, 0.5, 0.65, 0.8, 1.0)
MOST_EDITED = 256
SHOWN = 8
BLOCKS_PER_SIDE = 4
"""Blocks that are left of a small image in each direction; of one above 16 pixels, blocks of 4 pixels."""


class Trade(NamedTuple):
    """One point of the curve."""

    strength: float
    fid: float
    """Fréchet distance of the edited images to the test split: realism."""
    rmse: float
    """Root mean square difference to the guides, where 1 is the whole range: faithfulness."""


def editing_evidence(
    model: EditsImages, images: Tensor, reference: Tensor, extractor: OwnExtractor, *, seed: int, settings: SamplerSettings, tell: Teller = SILENT
) -> Evidence:
    """The curve as a picture and a table, and some edits, for test ``images`` [N, C, S, S] and features ``reference`` [M, D] of the test split."""
    originals = images[:MOST_EDITED]
    guides = coarse(originals)
    strengths = counted(STRENGTHS, f"drawing {len(guides)} test images anew, more and more freely", tell)
    edits = [model.edit_images(guides, strength=strength, seed=seed, settings=settings).cpu() for strength in strengths]
    known = moments(reference)
    curve = [_trade(0.0, guides, guides, extractor, known)]
    curve += [_trade(strength, edited, guides, extractor, known) for strength, edited in zip(STRENGTHS, edits, strict=True)]
    shown = torch.stack([guides[:SHOWN], *(edited[:SHOWN] for edited in edits), originals[:SHOWN]], dim=1)
    captions = ("guide", *(f"{strength:g}" for strength in STRENGTHS), "real")
    return Evidence(
        pictures={"image_to_image": grid_png(shown.flatten(0, 1), shown.shape[1], column_captions=captions), "image_to_image_curve": _plot(curve)},
        texts={"image_to_image": _table(curve, len(guides))},
        notes=("In image_to_image each row goes from a coarse guide over its edits, by strength, to the image that the guide was made from.",),
    )


def coarse(images: Tensor) -> Tensor:
    """``images`` [N, C, S, S] with each block of pixels at its mean."""
    side = images.shape[-1]
    blocks = max(BLOCKS_PER_SIDE, side // 4)
    return F.interpolate(F.adaptive_avg_pool2d(images, blocks), size=(side, side), mode="nearest")


def _trade(strength: float, edited: Tensor, guides: Tensor, extractor: OwnExtractor, reference: Moments) -> Trade:
    fid = frechet_distance(moments(extractor.features(edited)), reference)
    return Trade(strength, fid, float((edited - guides).square().mean().sqrt()))


def _table(curve: list[Trade], num: int) -> str:
    lines = [f"{num} coarse guides of test images, strength 0 is the guide itself", "strength  FID to the test split  RMSE to the guide"]
    return "\n".join([*lines, *(f"{point.strength:8.2f}  {point.fid:21.3f}  {point.rmse:17.4f}" for point in curve)]) + "\n"


def _plot(curve: list[Trade]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.plot([point.rmse for point in curve], [point.fid for point in curve], marker="o", color="#2458a6")
    for point in curve:
        axes.annotate(f"{point.strength:g}", (point.rmse, point.fid), textcoords="offset points", xytext=(6, 5), fontsize=8)
    axes.set_xlabel("difference to the guide (RMSE): less is more faithful")
    axes.set_ylabel("FID to the test split: less is more real")
    axes.set_title("Image-to-image by strength", fontsize=10)
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
