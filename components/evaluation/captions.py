"""How well a model says what the test images show: the likelihood of the captions that people wrote, and what its own have in common with them."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from components.code import code_digest
from components.data.dataset import Dataset
from components.evaluation.config import EvaluationConfig
from components.evaluation.documents import BOOTSTRAPS, over_documents, resampled_ratios, spread_of, text_identity, token_frequencies, unigram_of_rows
from components.evaluation.evidence import Evidence
from components.evaluation.features import as_images, read_pixels
from components.evaluation.ngrams import bleu, cider, words_of
from components.evaluation.pictures import captions_png
from components.evaluation.protocol import Figure, Recorded
from components.evaluation.scoring import shuffled
from components.evaluation.telling import Teller, counted
from components.models.capabilities import CaptionsImages, DataSpec
from components.models.token_rows import END, token_rows

MOST_IMAGES = 2_000
SHOWN = 24
RANDOM_CAPTION = "the caption of a random training image"
UNIGRAM = "token frequencies of the training captions"
_CHUNK = 128


class Captioned(NamedTuple):
    """Test images, each once, with all captions that people wrote of it."""

    images: Tensor
    """[N, C, S, S] in [0, 1]."""
    references: list[list[str]]


def score_captions(model: CaptionsImages, dataset: Dataset, data_spec: DataSpec, *, config: EvaluationConfig, tell: Teller) -> Evidence:
    """Figures `caption_perplexity`, `caption_bits_per_byte`, `bleu_4`, `cider`, `exact_captions` and `caption_parts`; picture and text `captions`."""
    test = read_captioned(dataset, data_spec, config.seed)
    train = [str(text) for text in dataset.table("train", columns=["caption"], augmented=False)["caption"].to_pylist()]
    likely = _likelihood_figures(model, test, train, dataset, data_spec, tell)
    said = _said(model, test.images, data_spec, tell)
    return Evidence(likely).plus(_likeness(said, test, train, dataset, config.seed))


def read_captioned(dataset: Dataset, data_spec: DataSpec, seed: int) -> Captioned:
    """At most `MOST_IMAGES` images of the test split, the same for every model of a seed."""
    table = dataset.table("test", columns=["image", "caption"])
    rows: dict[bytes, list[int]] = {}
    for row, picture in enumerate(table["image"].to_pylist()):
        rows.setdefault(picture["bytes"], []).append(row)
    captions, groups = table["caption"].to_pylist(), list(rows.values())
    chosen = [groups[index] for index in shuffled(len(groups), seed)[:MOST_IMAGES].tolist()]
    pixels = read_pixels(dataset, "test", data_spec.image_size)[0]
    return Captioned(as_images(pixels[[group[0] for group in chosen]]), [[captions[row] for row in group] for group in chosen])


def same_words(said: str, references: Sequence[str]) -> bool:
    """Whether ``said`` reads like one of ``references``, case and punctuation aside."""
    return words_of(said) in {words_of(text) for text in references}


def parts_right(said: str, references: Sequence[str]) -> float:
    """The share of the parts between the commas of a reference that ``said`` has too, of the reference that fits best."""
    told = {words_of(part) for part in said.split(",")}
    wanted = [[words_of(part) for part in text.split(",") if words_of(part)] for text in references]
    return max((sum(part in told for part in parts) / len(parts) for parts in wanted if parts), default=0.0)


# -- likelihood ------------------------------------------------------------------------------------------------------


def _likelihood_figures(
    model: CaptionsImages, test: Captioned, train: Sequence[str], dataset: Dataset, data_spec: DataSpec, tell: Teller
) -> tuple[Figure, ...]:
    texts = [text for texts in test.references for text in texts]
    owners = torch.tensor([index for index, texts in enumerate(test.references) for _ in texts])
    rows = token_rows(data_spec.tokenizer, texts, model.caption_length)
    chunks = counted(torch.arange(len(texts)).split(_CHUNK), f"scoring {len(texts):,} test captions", tell)
    nats = torch.cat([model.caption_nll(test.images[owners[chunk]], rows.tokens[chunk]).double().sum(dim=1).cpu() for chunk in chunks])
    tokens, num_bytes = (rows.tokens[:, 1:] != 0).sum(dim=1), [len(text.encode()) for text in texts]
    unigram = unigram_of_rows(Tokenizer.from_str(data_spec.tokenizer), train, texts, END)
    cut = f", {rows.num_cut} cut at {model.caption_length} tokens" if rows.num_cut else ""
    how = f"each token behind those before it, the end of the caption included{cut}"
    perplexity = Figure(
        name="caption_perplexity", value=math.exp(float(nats.sum()) / int(tokens.sum())), goal="min", unit="per token",
        identity=text_identity(dataset, "caption_perplexity", len(texts), how, data_spec), floor=math.exp(unigram / _num_tokens(data_spec, texts)),
        floor_name=UNIGRAM, spread=spread_of(np.exp(resampled_ratios(nats.tolist(), tokens.tolist())), len(texts)),
        spread_over=over_documents(len(texts), "captions"),
    )  # fmt: skip
    if rows.num_cut:
        return (perplexity,)
    bits = [float(value) / math.log(2) for value in nats]
    per_byte = Figure(
        name="caption_bits_per_byte", value=sum(bits) / sum(num_bytes), goal="min", unit="bits/byte",
        identity=text_identity(dataset, "caption_bits_per_byte", len(texts), how), floor=unigram / math.log(2) / sum(num_bytes), floor_name=UNIGRAM,
        spread=spread_of(resampled_ratios(bits, num_bytes), len(texts)), spread_over=over_documents(len(texts), "captions"),
    )  # fmt: skip
    return perplexity, per_byte


def _num_tokens(data_spec: DataSpec, texts: Sequence[str]) -> int:
    return int(token_frequencies(Tokenizer.from_str(data_spec.tokenizer), texts).sum()) + len(texts)


# -- what is said ----------------------------------------------------------------------------------------------------


def _said(model: CaptionsImages, images: Tensor, data_spec: DataSpec, tell: Teller) -> list[str]:
    """The likeliest caption of each image, token by token."""
    tokenizer = Tokenizer.from_str(data_spec.tokenizer)
    chunks = counted(images.split(_CHUNK), f"captioning {len(images):,} test images", tell)
    return [tokenizer.decode(tokens) for chunk in chunks for tokens in model.caption_images(chunk, seed=0)]


def _likeness(said: Sequence[str], test: Captioned, train: Sequence[str], dataset: Dataset, seed: int) -> Evidence:
    drawn = np.random.default_rng(seed).integers(len(train), size=len(said))
    guessed, references = [train[index] for index in drawn], test.references
    right = np.array([same_words(one, texts) for one, texts in zip(said, references, strict=True)])
    recorded = Recorded(seed=seed, sampler="the likeliest token each time", code=code_digest("components.evaluation.captions"))

    def figure(name: str, how: str, unit: str, **values: Any) -> Figure:
        identity = text_identity(dataset, name, len(said), how)
        return Figure(name=name, goal="max", unit=unit, identity=identity, recorded=recorded, floor_name=RANDOM_CAPTION, **values)

    def mean(values: Sequence[float] | NDArray, floor: Sequence[float] | NDArray) -> dict[str, Any]:
        spread = float(np.std(values) / math.sqrt(len(values)))
        return {"value": float(np.mean(values)), "floor": float(np.mean(floor)), "spread": spread, "spread_over": "test images (standard error)"}

    def over_images(captions: Sequence[str], score: Any) -> list[float]:
        return [float(score(one, texts)) for one, texts in zip(captions, references, strict=True)]

    weights = np.random.default_rng(0).multinomial(len(said), [1 / len(said)] * len(said), size=BOOTSTRAPS)
    figures = (
        figure("exact_captions", "words of the whole caption, case aside", "share", **mean(right, over_images(guessed, same_words))),
        figure("caption_parts", "parts between commas, case aside", "share", **mean(over_images(said, parts_right), over_images(guessed, parts_right))),
        figure("cider", "1 to 4 words, frequencies of the test references, times 10", "", **mean(cider(said, references), cider(guessed, references))),
        figure(
            "bleu_4", "of the corpus, unsmoothed", "", value=float(bleu(said, references)[0]), floor=float(bleu(guessed, references)[0]),
            spread=spread_of(bleu(said, references, weights), len(said)), spread_over=over_documents(len(said), "images"),
        ),
    )  # fmt: skip
    shown = [(one, texts[0], bool(hit)) for one, texts, hit in zip(said, references, right, strict=True)][:SHOWN]
    return Evidence(figures, {"captions": captions_png(test.images[:SHOWN], shown)}, {"captions": _as_text(shown)})


def _as_text(shown: Sequence[tuple[str, str, bool]]) -> str:
    """Each caption that was said, a star before it where it is right, else with the true one below it."""
    lines = [f"* {said}" if right else f"  {said}\n  (it is {true})" for said, true, right in shown]
    return "\n".join(lines) + "\n"
