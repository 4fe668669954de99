"""How well images and captions find each other, and classes are told by their names.

Recall at k both ways among a pool of test pairs, and zero-shot classification: Radford et al. 2021, sections 3.1 and 3.2. A model that looks at image
and text together ranks anew what its vectors find first: Li et al. 2021, section 4.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from components.code import code_digest
from components.data.dataset import Dataset
from components.evaluation.config import EvaluationConfig
from components.evaluation.documents import BOOTSTRAPS, over_documents, spread_of
from components.evaluation.evidence import Evidence
from components.evaluation.features import as_images, read_pixels
from components.evaluation.pictures import grid_png, shortened
from components.evaluation.protocol import Figure, Identity, Recorded
from components.evaluation.scoring import shuffled, standard_error
from components.evaluation.telling import Teller, counted
from components.models.capabilities import DataSpec, Judged, JudgesPairs, MatchesImagesAndText, NamesClasses
from components.models.token_rows import token_rows

POOL = 1_000
"""Test pairs among which a partner is sought, at most: recall falls with their number."""
JUDGED_POOL = 128
"""The same where every pair must be looked at, for a lack of vectors: their number is the square."""
RANKED_ANEW = 16
"""What is nearest by vectors and then ranked by looking at each pair, for each query."""
NEAREST = (1, 5, 10)
ZERO_SHOT = "classes are known by training captions alone, never by an image"
SHOWN = 8
SHOWN_NEAREST = 6
_CHUNK = 256
_PAIRS_CHUNK = 4096


class Ranking(NamedTuple):
    """How well each image of a pool fits each caption, to rank the captions of an image by, and the images of a caption."""

    captions: Tensor
    """[N, N], a row of each image."""
    images: Tensor
    """[N, N], a row of each caption."""
    how: str
    vectors: Tensor | None = None
    """[N, N], what vectors alone say of images and captions, where something else ranks in the end."""


def score_retrieval(model: Any, dataset: Dataset, data_spec: DataSpec, *, config: EvaluationConfig, tell: Teller) -> Evidence:
    """Figures `recall_at_1` (both ways), recall at 1, 5 and 10 and the median rank each way, `zero_shot_accuracy` where there are labels.

    Besides the picture and the text `retrieval`. ``model`` is one that `MatchesImagesAndText`, `JudgesPairs`, or both; then `recall_at_1_by_vectors`
    says what its vectors alone find.
    """
    images, labels, captions = read_pairs(dataset, data_spec, config.seed, POOL if isinstance(model, MatchesImagesAndText) else JUDGED_POOL)
    ranking = rank(model, data_spec, images, captions, tell)
    partners = same_text(captions)
    recorded = Recorded(seed=config.seed, sampler=ranking.how, code=code_digest("components.evaluation.retrieval"))
    shape = f"{data_spec.channels}x{data_spec.image_size}x{data_spec.image_size}, a pool of {len(captions):,} pairs, equal captions count as one"

    def figure(name: str, value: float, chance: float, chance_name: str, preprocessing: str, spread: float | None) -> Figure:
        identity = Identity(metric=name, num_samples=len(captions), reference_sha256=dataset.manifest.sha256, split="test", preprocessing=preprocessing)
        return Figure(
            name=name, value=value, goal="max", identity=identity, recorded=recorded, unit="share", floor=chance, floor_name=chance_name,
            spread=spread, spread_over="test pairs (standard error)",
        )  # fmt: skip

    directions = {"image_to_text": (ranking.captions, partners), "text_to_image": (ranking.images, partners.T)}
    found = {(way, k): recall_at(*pair, k) for way, pair in directions.items() for k in NEAREST}
    figures = [
        figure(f"{way}_recall_at_{k}", float(hits.mean()), chance_recall(partners, k), "a random order", shape, standard_error(hits))
        for (way, k), hits in found.items()
    ]
    both = (found["image_to_text", 1] + found["text_to_image", 1]) / 2
    figures.insert(
        0, figure("recall_at_1", float(both.mean()), chance_recall(partners, 1), "a random order", f"{shape}, mean of both ways", standard_error(both))
    )
    figures += [_median_rank(way, *pair, dataset, recorded, shape) for way, pair in directions.items()]
    if ranking.vectors is not None:
        alone = (recall_at(ranking.vectors, partners, 1) + recall_at(ranking.vectors.T, partners.T, 1)) / 2
        both_ways = f"{shape}, mean of both ways"
        figures.append(figure("recall_at_1_by_vectors", float(alone.mean()), chance_recall(partners, 1), "a random order", both_ways, standard_error(alone)))
    if labels is not None and isinstance(model, NamesClasses):
        named = torch.cat([model.class_probabilities(chunk.to(device_of(model))).argmax(dim=1).cpu() for chunk in images.split(_CHUNK)])
        hits, usual = (named == labels).double(), float(torch.bincount(labels).max() / len(labels))
        figures.append(figure("zero_shot_accuracy", float(hits.mean()), usual, "the most frequent class", ZERO_SHOT, standard_error(hits)))
    shown = {"retrieval": _retrieved_png(images, captions, ranking.images)}
    return Evidence(tuple(figures), shown, {"retrieval": _captions_found(captions, ranking.captions, partners)})


def rank(model: Any, data_spec: DataSpec, images: Tensor, captions: Sequence[str], tell: Teller) -> Ranking:
    """By vectors; where the model judges pairs, what comes first by them by looking at each pair, and all where it has no vectors."""
    if not isinstance(model, MatchesImagesAndText):
        all_pairs = torch.cartesian_prod(torch.arange(len(images)), torch.arange(len(captions)))
        judged = judge(model, data_spec, images, captions, all_pairs, tell).fit.view(len(images), len(captions))
        return Ranking(judged, judged.T, "looks at every pair")
    device = device_of(model)
    seen = [model.embed_images(chunk.to(device)).cpu() for chunk in counted(images.split(_CHUNK), f"embedding {len(images):,} test images", tell)]
    similarity = torch.cat(seen) @ embed_texts(model, data_spec, captions).T
    if not isinstance(model, JudgesPairs):
        return Ranking(similarity, similarity.T, "vectors")
    firsts = _first(similarity) | _first(similarity.T).T
    pairs = firsts.nonzero()
    judged = torch.zeros_like(similarity, dtype=torch.float64)
    judged[pairs[:, 0], pairs[:, 1]] = judge(model, data_spec, images, captions, pairs, tell).fit
    return Ranking(
        _ranked_anew(similarity, judged), _ranked_anew(similarity.T, judged.T), f"vectors, the first {RANKED_ANEW} by looking at each pair", similarity
    )


def judge(model: JudgesPairs, data_spec: DataSpec, images: Tensor, captions: Sequence[str], pairs: Tensor, tell: Teller) -> Judged:
    """What ``model`` makes of ``pairs`` [M, 2] of ``images`` and ``captions``, on the CPU; quickest where pairs of an image follow each other."""
    tokens, device, found = token_rows(data_spec.tokenizer, captions, model.caption_length).tokens, device_of(model), []
    for chunk in counted(pairs.split(_PAIRS_CHUNK), f"looking at {len(pairs):,} pairs", tell):
        needed, local = zip(*(places.unique(return_inverse=True) for places in chunk.T), strict=True)
        found.append(model.judge_pairs(images[needed[0]].to(device), tokens[needed[1]].to(device), torch.stack(local, dim=1).to(device)))
    return Judged(*(torch.cat(part).cpu().double() for part in zip(*found, strict=True)))


def _first(similarity: Tensor) -> Tensor:
    """Which of each row of ``similarity`` [N, P] are its `RANKED_ANEW` largest, bool [N, P]."""
    nearest = similarity.topk(min(RANKED_ANEW, similarity.shape[1]), dim=1).indices
    return torch.zeros_like(similarity, dtype=torch.bool).scatter_(1, nearest, True)


def _ranked_anew(similarity: Tensor, judged: Tensor) -> Tensor:
    """``similarity`` [N, P] with what comes first in a row put in the order of ``judged``, before all else."""
    return torch.where(_first(similarity), similarity.max() + 1 + judged - judged.min(), similarity)


def device_of(model: Any) -> torch.device:
    device = getattr(model, "device", torch.device("cpu"))
    assert isinstance(device, torch.device)
    return device


def read_pairs(dataset: Dataset, data_spec: DataSpec, seed: int, most: int = POOL) -> tuple[Tensor, Tensor | None, list[str]]:
    """At most ``most`` images [N, C, S, S], labels [N] and captions of the test split, the same for every model of a seed."""
    pixels, labels = read_pixels(dataset, "test", data_spec.image_size)
    captions = dataset.table("test", columns=["caption"])["caption"].to_pylist()
    chosen = shuffled(len(captions), seed)[:most]
    return as_images(pixels[chosen]), None if labels is None else labels[chosen], [captions[index] for index in chosen.tolist()]


def embed_texts(model: MatchesImagesAndText, data_spec: DataSpec, texts: Sequence[str]) -> Tensor:
    """Vectors [N, D] of ``texts`` on the CPU."""
    tokens = token_rows(data_spec.tokenizer, texts, model.caption_length).tokens
    return torch.cat([model.embed_captions(chunk.to(device_of(model))).cpu() for chunk in tokens.split(_CHUNK)])


def same_text(texts: Sequence[str]) -> Tensor:
    """Which of ``texts`` read the same, bool [N, N]."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    known = torch.tensor([numbers[text] for text in texts])
    return known[:, None] == known[None]


def recall_at(similarity: Tensor, partners: Tensor, k: int) -> Tensor:
    """For each row of ``similarity`` [Q, P] whether one of its ``partners`` [Q, P] is among the ``k`` most similar, 0 or 1 [Q]."""
    nearest = similarity.topk(min(k, similarity.shape[1]), dim=1).indices
    return partners.gather(1, nearest).any(dim=1).double()


def ranks_of(similarity: Tensor, partners: Tensor) -> Tensor:
    """For each row of ``similarity`` [Q, P] the place of the best of its ``partners`` [Q, P], 1 the first, [Q]; of equals it stands in the middle."""
    best = similarity.masked_fill(~partners, -torch.inf).amax(dim=1, keepdim=True)
    before, equal = ((found & ~partners).sum(dim=1) for found in (similarity > best, similarity == best))
    return 1 + before + equal.double() / 2


def chance_median_rank(partners: Tensor) -> int:
    """The median of `ranks_of` a random order: the first place by which half of the queries have met a partner."""
    pool, fitting = partners.shape[1], partners.sum(dim=1).double()
    missed = torch.ones(len(partners), dtype=torch.float64)
    for drawn in range(pool):
        missed = missed * ((pool - drawn - fitting).clamp(min=0) / (pool - drawn))
        if missed.mean() <= 0.5:
            return drawn + 1
    return pool


def _median_rank(way: str, similarity: Tensor, partners: Tensor, dataset: Dataset, recorded: Recorded, shape: str) -> Figure:
    ranks = ranks_of(similarity, partners).numpy()
    draws = np.random.default_rng(0).integers(len(ranks), size=(BOOTSTRAPS, len(ranks)))
    name = f"{way}_median_rank"
    identity = Identity(metric=name, num_samples=len(ranks), reference_sha256=dataset.manifest.sha256, split="test", preprocessing=shape)
    return Figure(
        name=name, value=float(np.median(ranks)), goal="min", identity=identity, recorded=recorded, unit=f"of {len(ranks):,}",
        floor=chance_median_rank(partners), floor_name="a random order", spread=spread_of(np.median(ranks[draws], axis=1), len(ranks)),
        spread_over=over_documents(len(ranks), "pairs"), note=f"mean {ranks.mean():.1f}",
    )  # fmt: skip


def chance_recall(partners: Tensor, k: int) -> float:
    """`recall_at` of a random order, on average."""
    pool, fitting = partners.shape[1], partners.sum(dim=1).double()
    missed = torch.ones(len(partners), dtype=torch.float64)
    for drawn in range(min(k, pool)):
        missed = missed * ((pool - drawn - fitting).clamp(min=0) / (pool - drawn))
    return float(1 - missed.mean())


def _retrieved_png(images: Tensor, captions: Sequence[str], ranked: Tensor) -> bytes:
    """Rows of a caption's own image and of those that it finds, the first by ``ranked`` [captions, images] first."""
    rows = min(SHOWN, len(captions))
    nearest = ranked[:rows].topk(min(SHOWN_NEAREST, len(captions)), dim=1).indices
    shown = torch.cat([torch.cat([images[row : row + 1], images[nearest[row]]]) for row in range(rows)])
    columns = ("own", *(str(place) for place in range(1, nearest.shape[1] + 1)))
    return grid_png(shown, nearest.shape[1] + 1, row_captions=[shortened(caption) for caption in captions[:rows]], column_captions=columns)


def _captions_found(captions: Sequence[str], similarity: Tensor, partners: Tensor) -> str:
    """What some images find, as text; a star marks a caption like the image's own."""
    lines = []
    for row in range(min(SHOWN, len(captions))):
        lines.append(f"the image of {captions[row]!r} finds")
        best = similarity[row].topk(min(3, len(captions)))
        lines += [
            f"  {'*' if partners[row, place] else ' '} {value:.3f} {captions[place]}"
            for value, place in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
    return "\n".join(lines) + "\n"
