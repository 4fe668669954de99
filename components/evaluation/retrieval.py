"""How well images and captions find each other, and classes are told by their names.

Recall at k both ways among a pool of test pairs, and zero-shot classification: Radford et al. 2021, sections 3.1 and 3.2.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from components.code import code_digest
from components.data.dataset import Dataset
from components.evaluation.config import EvaluationConfig
from components.evaluation.evidence import Evidence
from components.evaluation.features import read_images
from components.evaluation.pictures import grid_png
from components.evaluation.protocol import Figure, Identity, Recorded
from components.evaluation.scoring import shuffled
from components.evaluation.telling import Teller, counted
from components.models.capabilities import DataSpec, MatchesImagesAndText, NamesClasses
from components.models.token_rows import token_rows

POOL = 1_000
"""Test pairs among which a partner is sought, at most: recall falls with their number."""
NEAREST = (1, 5, 10)
ZERO_SHOT = "classes are known by training captions alone, never by an image"
SHOWN = 8
SHOWN_NEAREST = 6
LONGEST_CAPTION = 48
"""Letters of a caption in a picture."""
_CHUNK = 256


def score_retrieval(model: MatchesImagesAndText, dataset: Dataset, data_spec: DataSpec, *, config: EvaluationConfig, tell: Teller) -> Evidence:
    """Figures `recall_at_1` (both ways) and recall at 1, 5 and 10 each way, `zero_shot_accuracy` where there are labels; picture and text `retrieval`."""
    images, labels, captions = read_pairs(dataset, data_spec, config.seed)
    image_vectors = torch.cat([model.embed_images(chunk).cpu() for chunk in counted(images.split(_CHUNK), f"embedding {len(images):,} test images", tell)])
    similarity = image_vectors @ embed_texts(model, data_spec, captions).T
    partners = same_text(captions)
    recorded = Recorded(seed=config.seed, code=code_digest("components.evaluation.retrieval"))
    shape = f"{data_spec.channels}x{data_spec.image_size}x{data_spec.image_size}, a pool of {len(captions):,} pairs, equal captions count as one"

    def figure(name: str, value: float, chance: float, chance_name: str, preprocessing: str, spread: float | None) -> Figure:
        identity = Identity(metric=name, num_samples=len(captions), reference_sha256=dataset.manifest.sha256, split="test", preprocessing=preprocessing)
        return Figure(
            name=name, value=value, goal="max", identity=identity, recorded=recorded, unit="share", floor=chance, floor_name=chance_name,
            spread=spread, spread_over="test pairs (standard error)",
        )  # fmt: skip

    directions = {"image_to_text": (similarity, partners), "text_to_image": (similarity.T, partners.T)}
    found = {(way, k): recall_at(*pair, k) for way, pair in directions.items() for k in NEAREST}
    figures = [
        figure(f"{way}_recall_at_{k}", float(hits.mean()), chance_recall(partners, k), "a random order", shape, _standard_error(hits))
        for (way, k), hits in found.items()
    ]
    both = (found["image_to_text", 1] + found["text_to_image", 1]) / 2
    figures.insert(
        0, figure("recall_at_1", float(both.mean()), chance_recall(partners, 1), "a random order", f"{shape}, mean of both ways", _standard_error(both))
    )
    if labels is not None and isinstance(model, NamesClasses):
        named = torch.cat([model.class_probabilities(chunk).argmax(dim=1).cpu() for chunk in images.split(_CHUNK)])
        hits, usual = (named == labels).double(), float(torch.bincount(labels).max() / len(labels))
        figures.append(figure("zero_shot_accuracy", float(hits.mean()), usual, "the most frequent class", ZERO_SHOT, _standard_error(hits)))
    shown = {"retrieval": _retrieved_png(images, captions, similarity)}
    return Evidence(tuple(figures), shown, {"retrieval": _captions_found(captions, similarity, partners)})


def read_pairs(dataset: Dataset, data_spec: DataSpec, seed: int) -> tuple[Tensor, Tensor | None, list[str]]:
    """At most `POOL` images [N, C, S, S], labels [N] and captions of the test split, the same for every model of a seed."""
    images, labels = read_images(dataset, "test", data_spec.image_size)
    captions = dataset.table("test", columns=["caption"])["caption"].to_pylist()
    chosen = shuffled(len(captions), seed)[:POOL]
    return images[chosen], None if labels is None else labels[chosen], [captions[index] for index in chosen.tolist()]


def embed_texts(model: MatchesImagesAndText, data_spec: DataSpec, texts: Sequence[str]) -> Tensor:
    """Vectors [N, D] of ``texts`` on the CPU."""
    tokens = token_rows(data_spec.tokenizer, texts, model.caption_length).tokens
    return torch.cat([model.embed_captions(chunk).cpu() for chunk in tokens.split(_CHUNK)])


def same_text(texts: Sequence[str]) -> Tensor:
    """Which of ``texts`` read the same, bool [N, N]."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    known = torch.tensor([numbers[text] for text in texts])
    return known[:, None] == known[None]


def recall_at(similarity: Tensor, partners: Tensor, k: int) -> Tensor:
    """For each row of ``similarity`` [Q, P] whether one of its ``partners`` [Q, P] is among the ``k`` most similar, 0 or 1 [Q]."""
    nearest = similarity.topk(min(k, similarity.shape[1]), dim=1).indices
    return partners.gather(1, nearest).any(dim=1).double()


def chance_recall(partners: Tensor, k: int) -> float:
    """`recall_at` of a random order, on average."""
    pool, fitting = partners.shape[1], partners.sum(dim=1).double()
    missed = torch.ones(len(partners), dtype=torch.float64)
    for drawn in range(min(k, pool)):
        missed = missed * ((pool - drawn - fitting).clamp(min=0) / (pool - drawn))
    return float(1 - missed.mean())


def _standard_error(values: Tensor) -> float:
    return float(values.std() / math.sqrt(len(values)))


def _retrieved_png(images: Tensor, captions: Sequence[str], similarity: Tensor) -> bytes:
    """Rows of a caption's own image and of those that it finds, the most similar first."""
    rows = min(SHOWN, len(captions))
    nearest = similarity.T[:rows].topk(min(SHOWN_NEAREST, len(captions)), dim=1).indices
    shown = torch.cat([torch.cat([images[row : row + 1], images[nearest[row]]]) for row in range(rows)])
    columns = ("own", *(str(place) for place in range(1, nearest.shape[1] + 1)))
    return grid_png(shown, nearest.shape[1] + 1, row_captions=[_shortened(caption) for caption in captions[:rows]], column_captions=columns)


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


def _shortened(caption: str) -> str:
    return caption if len(caption) <= LONGEST_CAPTION else caption[: LONGEST_CAPTION - 1] + "…"
