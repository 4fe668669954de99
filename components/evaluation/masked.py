"""Scores a model that fills masks on the test documents, every model of the same tokenizer on the very same masks.

Which tokens are hidden hangs on the document's place and a fixed seed alone, not on the model or its context. A document is cut into pieces of
the model's context; every hidden token is then predicted from all that is visible on both sides of it in its piece.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from components.data.dataset import Dataset
from components.evaluation.documents import (
    documents_to_score,
    indicative,
    over_documents,
    resampled_ratios,
    spread_of,
    text_identity,
    texts_of,
    token_frequencies,
    unigram_nats,
    with_gap,
)
from components.evaluation.evidence import Evidence
from components.evaluation.protocol import Figure, Recorded
from components.evaluation.telling import SILENT, Teller, counted
from components.models.capabilities import DataSpec, FillsMasks
from components.models.layers.masking import PAD, best_fills, gap_tokens
from components.models.token_rows import encodings, plain_reader

MASK_RATE = 0.15
"""Share of the tokens that are hidden: that of Devlin et al. 2019, whatever a model was trained with."""
SEED = 0
PIECES_PER_BATCH = 32
SHOWN = 6
BEST = 5


class MaskedScore(NamedTuple):
    """What a model made of the hidden tokens of one document."""

    nats: float
    hits: int
    masked: int


class _Piece(NamedTuple):
    document: int
    visible: list[int]
    """Tokens with masks, the marks at both ends included."""
    hidden: list[int]
    """What stands behind the masks, in order."""


def score_masked(model: FillsMasks, dataset: Dataset, data_spec: DataSpec, *, tell: Teller) -> Evidence:
    """Figures `masked_perplexity` and `masked_accuracy`, each beside what token frequencies alone reach on the same masks; text `samples`.

    Raises:
        UserError: the dataset has no test documents.
    """
    test, train = documents_to_score(dataset), texts_of(dataset, "train")
    tokenizer = plain_reader(data_spec.tokenizer)  # a document that speaks of [MASK] has no gap there
    pieces = list(_pieces(tokenizer, test, model))
    scores, guesses = score_pieces(model, pieces, len(test), tell)
    floors = _unigram(token_frequencies(tokenizer, train), pieces)
    return Evidence(
        figures=_figures(scores, floors, model.context_length, dataset, data_spec),
        texts={"samples": _shown(tokenizer, model.mask_token, pieces, guesses)},
        notes=indicative(len(test)),
    )


def sample_fills(model: FillsMasks, data_spec: DataSpec) -> str:
    """The likeliest words for a gap in each of the data's examples, for the eye; no document is needed."""
    tokenizer = Tokenizer.from_str(data_spec.tokenizer)
    lines = []
    for gap in map(with_gap, data_spec.example_texts):
        if len(gap_tokens(tokenizer, gap)) <= model.context_length:
            [found] = best_fills(model, tokenizer, gap, BEST)
            lines.append(f"{gap}: " + ", ".join(f"{word} {probability:.2f}" for word, probability in found))
    return "\n".join(lines)


# -- the masks -------------------------------------------------------------------------------------------------------


def fixed_masks(num_tokens: int, document: int) -> NDArray[np.bool_]:
    """Which tokens of document number ``document`` are hidden: a share of `MASK_RATE`, at least one."""
    draws = np.random.default_rng([SEED, document]).random(num_tokens)
    hidden: NDArray[np.bool_] = (draws < MASK_RATE) | (draws == draws.min(initial=1.0))
    return hidden


def _pieces(tokenizer: Tokenizer, texts: Sequence[str], model: FillsMasks) -> Iterator[_Piece]:
    marks = tokenizer.encode("").ids
    room = model.context_length - len(marks)
    for number, encoding in enumerate(encodings(tokenizer, texts, marks=False)):
        ids = encoding.ids
        masks = fixed_masks(len(ids), number)
        for start in range(0, len(ids), room):
            tokens, hidden = ids[start : start + room], masks[start : start + room]
            if hidden.any():
                visible = [model.mask_token if gap else token for token, gap in zip(tokens, hidden, strict=True)]
                yield _Piece(number, [marks[0], *visible, *marks[1:]], [token for token, gap in zip(tokens, hidden, strict=True) if gap])


# -- figures ---------------------------------------------------------------------------------------------------------


def score_pieces(model: FillsMasks, pieces: Sequence[_Piece], num_documents: int, tell: Teller = SILENT) -> tuple[list[MaskedScore], list[list[int]]]:
    """The score of each document, and the likeliest token for each gap of each piece."""
    totals = [MaskedScore(0.0, 0, 0)] * num_documents
    guesses: list[list[int]] = []
    for start in counted(range(0, len(pieces), PIECES_PER_BATCH), f"filling the gaps of {num_documents} documents", tell):
        chunk = pieces[start : start + PIECES_PER_BATCH]
        found = model.fill_masks(_padded(chunk, getattr(model, "device", torch.device("cpu")))).double().cpu()
        for piece, logs in zip(chunk, found.split([len(piece.hidden) for piece in chunk]), strict=True):
            truth, best = torch.tensor(piece.hidden), logs.argmax(dim=-1)
            nats, hits, masked = totals[piece.document]
            nats -= float(logs.gather(1, truth[:, None]).sum())
            totals[piece.document] = MaskedScore(nats, hits + int((best == truth).sum()), masked + len(truth))
            guesses.append(best.tolist())
    return totals, guesses


def _padded(pieces: Sequence[_Piece], device: torch.device) -> Tensor:
    longest = max(len(piece.visible) for piece in pieces)
    return torch.tensor([piece.visible + [PAD] * (longest - len(piece.visible)) for piece in pieces], device=device)


def _unigram(frequencies: NDArray[np.int64], pieces: Sequence[_Piece]) -> tuple[float, float]:
    """Perplexity and accuracy on the same masks of a model that knows nothing but how frequent each token is."""
    hidden = np.array([token for piece in pieces for token in piece.hidden])
    return math.exp(unigram_nats(frequencies)[hidden].mean()), float((hidden == frequencies.argmax()).mean())


def _figures(scores: Sequence[MaskedScore], floors: tuple[float, float], context_length: int, dataset: Dataset, data_spec: DataSpec) -> tuple[Figure, Figure]:
    nats, hits, masked = (list(column) for column in zip(*scores, strict=True))
    how = f"{MASK_RATE:.0%} of the tokens masked, seed {SEED}, pieces of {context_length} tokens, each document by itself"
    recorded, over = Recorded(seed=SEED), over_documents(len(scores))
    perplexity = Figure(
        name="masked_perplexity", value=math.exp(sum(nats) / sum(masked)), goal="min", unit="per masked token",
        identity=text_identity(dataset, "masked_perplexity", len(scores), how, data_spec), recorded=recorded,
        spread=spread_of(np.exp(resampled_ratios(nats, masked)), len(scores)), spread_over=over,
        floor=floors[0], floor_name="token frequencies of the training text",
    )  # fmt: skip
    accuracy = Figure(
        name="masked_accuracy", value=sum(hits) / sum(masked), goal="max", unit="share",
        identity=text_identity(dataset, "masked_accuracy", len(scores), how, data_spec), recorded=recorded,
        spread=spread_of(resampled_ratios(hits, masked), len(scores)), spread_over=over,
        floor=floors[1], floor_name="always the commonest token of the training text",
        note=f"of {sum(masked):,} masked tokens those whose likeliest fill is the token that stood there",
    )  # fmt: skip
    return perplexity, accuracy


def _shown(tokenizer: Tokenizer, mask: int, pieces: Sequence[_Piece], guesses: Sequence[Sequence[int]]) -> str:
    """Pieces spread over the test split, each gap as [what stood there] or, where the model guessed otherwise, [what stood there | its guess]."""
    chosen = range(0, len(pieces), max(1, len(pieces) // SHOWN))[:SHOWN]
    return "\n\n----\n\n".join(_filled(tokenizer, mask, pieces[place], guesses[place]) for place in chosen)


def _filled(tokenizer: Tokenizer, mask: int, piece: _Piece, guesses: Sequence[int]) -> str:
    text, run = "", list[int]()
    gaps = zip(piece.hidden, guesses, strict=True)
    for token in piece.visible:
        if token != mask:
            run.append(token)
            continue
        truth, guess = next(gaps)
        wrong = "" if guess == truth else f" | {tokenizer.decode([guess])}"
        text, run = f"{text}{tokenizer.decode(run)}[{tokenizer.decode([truth])}{wrong}]", []
    return text + tokenizer.decode(run)
