"""Pictures of a latent space, and what the prior fitted after training is worth."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from components.code import code_digest
from components.data.dataset import Dataset
from components.evaluation.config import EvaluationConfig
from components.evaluation.draw_figures import Draws, fid_figure
from components.evaluation.evidence import Evidence
from components.evaluation.extractors import look_at, split_seen
from components.evaluation.features import as_images, own_extractor, read_pixels
from components.evaluation.pictures import grid_png
from components.evaluation.protocol import Figure, Recorded
from components.evaluation.sample_figures import SAMPLING_SEEDS, num_drawn, real_images
from components.evaluation.sampling import draw_images
from components.evaluation.scoring import MOST_SCORED, Scoring
from components.evaluation.telling import Teller
from components.models.capabilities import OWN_SETTINGS, DataSpec, HasFittedPrior, HasLatentSpace, SamplerSettings, SamplesImages

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAIRS = 8
STEPS = 8
"""Images between the two ends of an interpolation."""
UNITS = 8
DEVIATIONS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
PRIOR_SHOWN = (3, 12)
"""Rows and columns of samples from each prior."""
MOST_CLASSES = 20
"""With more, a legend and its colours cannot be told apart."""


def score_latent_space(model: HasLatentSpace, dataset: Dataset, data_spec: DataSpec, *, config: EvaluationConfig, cache: Path, tell: Teller) -> Evidence:
    """Pictures `interpolations`, `traversals`, `latent_map` of the test split; picture `prior` and figure `fid_own_before_prior` where a prior was fitted."""
    tell.say("walking through the latent space")
    pixels, labels = read_pixels(dataset, "test", data_spec.image_size)
    images, labels = as_images(pixels[:MOST_SCORED]), labels[:MOST_SCORED] if labels is not None else None
    latents = embed_all(model, images)
    pictures = {
        "interpolations": interpolations_png(model, images, latents, labels, seed=config.seed),
        "traversals": traversals_png(model, latents),
        "latent_map": map_png(latents, labels, dataset.class_names),
    }
    evidence = Evidence(pictures=pictures)
    if isinstance(model, HasFittedPrior) and isinstance(model, SamplesImages):
        scoring = Scoring(dataset, config, cache, code_digest("components.evaluation.latent"), data_spec)
        figure = _fid_before_prior(model, scoring, tell)
        evidence = evidence.plus(Evidence((figure,), {"prior": prior_png(model, seed=config.seed)}))
    return evidence


def embed_all(model: HasLatentSpace, images: Tensor) -> Tensor:
    """Latents [N, D] on the CPU of ``images`` [N, C, H, W]."""
    return torch.cat([model.embed(chunk.to(_device(model))).float().cpu() for chunk in images.split(256)])


# -- pictures --------------------------------------------------------------------------------------------------------


def interpolations_png(model: HasLatentSpace, images: Tensor, latents: Tensor, labels: Tensor | None, *, seed: int) -> bytes:
    """Rows from one test image to another: the ends are the real images, between them decoded latents."""
    first, second = _pairs(len(images), labels, seed)
    parts = torch.linspace(0, 1, STEPS)
    rows = []
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        between = torch.stack([slerp(latents[a], latents[b], float(part)) for part in parts])
        rows.append(torch.cat([images[a : a + 1], _decoded(model, between), images[b : b + 1]]))
    captions = ("real", *[f"{part:.0%}" for part in parts], "real")
    return grid_png(torch.cat(rows), STEPS + 2, column_captions=captions)


def slerp(a: Tensor, b: Tensor, part: float) -> Tensor:
    """From ``a`` [D] to ``b`` [D] along the arc: on the straight line latents get shorter than any that the decoder was trained on.

    White 2016, "Sampling Generative Networks", section 2.1. Straight where the two point the same way or one is zero.
    """
    cosine = nn.functional.cosine_similarity(a, b, dim=0)
    angle = torch.arccos(cosine.clamp(-1, 1))
    if not (a.any() and b.any()) or not 1e-3 < float(angle) < torch.pi - 1e-3:
        return torch.lerp(a, b, part)
    return (torch.sin((1 - part) * angle) * a + torch.sin(part * angle) * b) / torch.sin(angle)


def _pairs(num: int, labels: Tensor | None, seed: int) -> tuple[Tensor, Tensor]:
    """Up to `PAIRS` pairs of test images, of different classes where that can be had."""
    order = torch.randperm(num, generator=torch.Generator().manual_seed(seed))
    count = min(PAIRS, num // 2)
    first, rest = order[:count], order[count:]
    if labels is None:
        return first, rest[:count]
    chosen: list[int] = []
    for place in first.tolist():
        free = [other for other in rest.tolist() if other not in chosen]
        chosen.append(next((other for other in free if labels[other] != labels[place]), free[0]))
    return first, torch.tensor(chosen)


def traversals_png(model: HasLatentSpace, latents: Tensor) -> bytes:
    """One row for each of the units that vary most: that unit from -3 to 3 of its standard deviations, all others at the test split's mean."""
    mean, std = latents.mean(0), latents.std(0)
    units = std.argsort(descending=True)[:UNITS]
    walked = mean.repeat(len(units), len(DEVIATIONS), 1)
    for row, unit in enumerate(units.tolist()):
        walked[row, :, unit] += torch.tensor(DEVIATIONS) * std[unit]
    rows = [f"unit {unit}" for unit in units.tolist()]
    columns = [f"{part:+.0f} std" if part else "mean" for part in DEVIATIONS]
    return grid_png(_decoded(model, walked.flatten(0, 1)), len(DEVIATIONS), row_captions=rows, column_captions=columns)


def map_png(latents: Tensor, labels: Tensor | None, class_names: Sequence[str]) -> bytes:
    """The latents on their two longest axes, coloured by class where there are labels."""
    from matplotlib.figure import Figure as Canvas

    points, shares = project(latents)
    canvas = Canvas(figsize=(7.2, 4.8), dpi=100, layout="constrained")
    axes = canvas.add_subplot()
    if labels is None or len(class_names) > MOST_CLASSES:
        axes.scatter(points[:, 0], points[:, 1], s=8, alpha=0.6, linewidths=0)
    else:
        _scatter_classes(axes, points, labels, class_names)
    axes.set_xlabel(f"first axis, {shares[0]:.0%} of the variance")
    axes.set_ylabel(f"second axis, {shares[1]:.0%}")
    axes.set_title(f"{len(points):,} test images")
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png")
    return buffer.getvalue()


def _scatter_classes(axes: "Axes", points: Tensor, labels: Tensor, class_names: Sequence[str]) -> None:
    from matplotlib import colormaps

    colours = colormaps["tab10" if len(class_names) <= 10 else "tab20"].colors  # type: ignore[attr-defined]
    for index, name in enumerate(class_names):
        chosen = points[labels == index]
        axes.scatter(chosen[:, 0], chosen[:, 1], s=10, alpha=0.7, linewidths=0, color=colours[index], label=name)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=2, frameon=False)


def project(latents: Tensor) -> tuple[Tensor, Tensor]:
    """The latents on their two longest principal axes, [N, 2], and the share of the variance that each of these holds, [2]."""
    centred = (latents - latents.mean(0)).double()
    _, lengths, axes = torch.linalg.svd(centred, full_matrices=False)
    points = centred @ axes[:2].T
    shares = lengths.square() / lengths.square().sum().clamp(min=1e-12)
    missing = 2 - points.shape[1]  # a latent of one unit has one axis
    return nn.functional.pad(points, (0, missing)), nn.functional.pad(shares[:2], (0, missing))


def prior_png(model: Any, *, seed: int) -> bytes:
    """Rows of samples from the prior of training, above as many from the fitted one."""
    rows, columns = PRIOR_SHOWN
    before = draw_images(_BeforePrior(model), rows * columns, seed=seed)
    after = draw_images(model, rows * columns, seed=seed)
    return grid_png(torch.cat([before, after]), columns, row_captions=["N(0, I)"] * rows + ["fitted"] * rows)


# -- the prior's worth -----------------------------------------------------------------------------------------------


class _BeforePrior:
    """The model with the prior that it was trained with."""

    def __init__(self, model: HasFittedPrior) -> None:
        self.model = model

    def sample_images(self, num: int, *, seed: int, labels: Tensor | None = None, settings: SamplerSettings = OWN_SETTINGS) -> Tensor:
        return self.model.sample_before_prior(num, seed=seed)


def _fid_before_prior(model: HasFittedPrior, scoring: Scoring, tell: Teller) -> Figure:
    """`fid_own` of samples from the prior of training: same test images, same number, same extractor, same seeds."""
    dataset, config = scoring.dataset, scoring.config
    extractor = own_extractor(dataset, scoring.cache, tell, scoring.size)
    test, train = (split_seen(extractor, dataset, split, scoring.cache, scoring.size) for split in ("test", "train"))
    num = num_drawn(config, len(test.features))
    seeds = range(config.seed, config.seed + SAMPLING_SEEDS)
    what = f"drawing {num:,} samples from the prior of training"
    samples = [look_at(extractor, draw_images(_BeforePrior(model), num, seed=seed, what=what, tell=tell), "the samples") for seed in seeds]
    recorded = Recorded(seed=config.seed, sampler="standard normal prior", code=scoring.code)
    return fid_figure(scoring, Draws(samples, test, real_images(train, num, config.seed), extractor, recorded), "fid_own_before_prior")


def _decoded(model: HasLatentSpace, latents: Tensor) -> Tensor:
    return torch.cat([model.decode(chunk.to(_device(model))).float().cpu() for chunk in latents.split(256)])


def _device(model: Any) -> torch.device:
    return getattr(model, "device", torch.device("cpu"))
