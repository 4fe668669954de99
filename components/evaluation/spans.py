"""Scores a model that fills gaps of any length on the test documents, every model of the same tokenizer and context on the very same gaps.

A document is cut into pieces of the model's context; where gaps are in a piece hangs on its place and a fixed seed alone. A target holds the hidden
text and the marks of its gaps, which say where a span ends and the next one begins: it is scored as a whole, and its text by itself.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer

from components.data.dataset import Dataset
from components.errors import UserError
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
from components.models.capabilities import DataSpec, MapsText
from components.models.layers.span_counts import RATE, SPAN_LENGTH
from components.models.layers.spans import corrupt, filled, gap_row, padded, spans_of
from components.models.token_rows import END, PADDING, encodings, plain_reader

LEAST = 8
"""Tokens of a piece; shorter ones are left out."""
PIECES_PER_BATCH = 32
FILLED = 128
"""Pieces whose gaps the model fills itself, at most."""
SHOWN = 6


class Piece(NamedTuple):
    document: int
    source: list[int]
    target: list[int]
    """Rows of tokens with their marks."""


class SpanScore(NamedTuple):
    """What a model made of the targets of one document."""

    nats: float
    tokens: int
    text_nats: float
    text_tokens: int
    """Of the hidden text alone, without the marks of gaps and ends."""


def score_spans(model: MapsText, dataset: Dataset, data_spec: DataSpec, *, tell: Teller) -> Evidence:
    """Figures `target_perplexity`, `text_perplexity` and `exact_spans`, each beside what frequencies alone reach on the same gaps; text `samples`.

    Raises:
        UserError: the dataset has no test documents, or only such as `require_pieces` refuses.
    """
    require_pieces(dataset, data_spec)
    test, train = documents_to_score(dataset), texts_of(dataset, "train")
    tokenizer = plain_reader(data_spec.tokenizer)
    pieces, known = (list(pieces_of_texts(tokenizer, texts, model)) for texts in (test, train))
    scores = [score for score in score_pieces(model, pieces, len(test), tell) if score.tokens]
    chosen = pieces[:: math.ceil(len(pieces) / FILLED)]
    guesses = _fill(model, chosen, tell)
    how = f"{RATE:.0%} of the tokens in spans of {SPAN_LENGTH:g} on average, pieces of {model.source_length} tokens, each document by itself"
    figures = (
        *_perplexities(scores, (_unigram(pieces, known), _unigram_text(pieces, tokenizer, train, model)), how, dataset, data_spec),
        _exact(chosen, guesses, _commonest(known, model), model, how, dataset, data_spec),
    )
    return Evidence(figures, texts={"samples": _shown(tokenizer, model, chosen, guesses)}, notes=indicative(len(test)))


def sample_spans(model: MapsText, data_spec: DataSpec) -> str:
    """The data's examples with a gap in each filled, for the eye; no document is needed."""
    tokenizer = Tokenizer.from_str(data_spec.tokenizer)
    texts = [with_gap(text) for text in data_spec.example_texts]
    rows = padded([gap_row(tokenizer, text, model.sentinels) for text in texts])
    found = model.map_text(rows[:, : model.source_length], max_new_tokens=model.target_length)
    return "\n".join(f"{text}: {filled(tokenizer, text, spans_of(answer, model.sentinels))}" for text, answer in zip(texts, found, strict=True))


def require_pieces(dataset: Dataset, data_spec: DataSpec) -> None:
    """Refuse, before anything is trained, documents that are all too short to hide something in.

    Raises:
        UserError: naming their split.
    """
    tokenizer = Tokenizer.from_str(data_spec.tokenizer)
    for split, texts in (("train", texts_of(dataset, "train")), ("test", documents_to_score(dataset))):
        if not any(len(tokenizer.encode(text, add_special_tokens=False).ids) >= LEAST for text in texts):
            raise UserError(f"No {split} document of {dataset.name!r} has {LEAST} tokens or more, to hide some of them in: add longer ones, or join some.")


# -- the gaps --------------------------------------------------------------------------------------------------------


def pieces_of_texts(tokenizer: Tokenizer, texts: Sequence[str], model: MapsText) -> Iterator[Piece]:
    room = model.source_length - 2
    for number, encoding in enumerate(encodings(tokenizer, texts, marks=False)):
        ids = encoding.ids
        for start in range(0, len(ids), room):
            tokens = ids[start : start + room]
            if len(tokens) >= LEAST:
                generator = torch.Generator().manual_seed(number * 1_000_003 + start)
                source, target = corrupt(torch.tensor([tokens]), RATE, SPAN_LENGTH, model.sentinels[0], generator)
                yield Piece(number, source[0].tolist(), target[0].tolist())


# -- figures ---------------------------------------------------------------------------------------------------------


def score_pieces(model: MapsText, pieces: Sequence[Piece], num_documents: int, tell: Teller = SILENT) -> list[SpanScore]:
    """The score of each document."""
    totals = [SpanScore(0.0, 0, 0.0, 0)] * num_documents
    for start in counted(range(0, len(pieces), PIECES_PER_BATCH), f"scoring the gaps of {num_documents} documents", tell):
        chunk = pieces[start : start + PIECES_PER_BATCH]
        source, target = padded([piece.source for piece in chunk]), padded([piece.target for piece in chunk])
        nll, said = model.target_nll(source, target).double().cpu(), target[:, 1:]
        text = (said > END) & (said < model.sentinels[0])
        for row, piece in enumerate(chunk):
            before, hidden = totals[piece.document], nll[row][text[row]]
            totals[piece.document] = SpanScore(
                before.nats + float(nll[row].sum()),
                before.tokens + int((said[row] != PADDING).sum()),
                before.text_nats + float(hidden.sum()),
                before.text_tokens + len(hidden),
            )
    return totals


def _unigram(pieces: Sequence[Piece], known: Sequence[Piece]) -> float:
    """Perplexity of the targets by how frequent each token and mark is in those of the training text."""
    tokens, seen = (np.array([token for piece in some for token in piece.target[1:]]) for some in (pieces, known))
    return math.exp(unigram_nats(np.bincount(seen, minlength=int(tokens.max()) + 1))[tokens].mean())


def _unigram_text(pieces: Sequence[Piece], tokenizer: Tokenizer, train: Sequence[str], model: MapsText) -> float:
    """Perplexity of the hidden text by how frequent each token is in the training text."""
    hidden = [token for piece in pieces for span in spans_of(piece.target[1:-1], model.sentinels) for token in span]
    return math.exp(unigram_nats(token_frequencies(tokenizer, train))[hidden].mean())


def _perplexities(scores: Sequence[SpanScore], floors: tuple[float, float], how: str, dataset: Dataset, data_spec: DataSpec) -> tuple[Figure, ...]:
    nats, tokens, text_nats, text_tokens = (list(column) for column in zip(*scores, strict=True))

    def figure(name: str, above: list[float], below: list[int], floor: float, floor_name: str, unit: str) -> Figure:
        return Figure(
            name=name, value=math.exp(sum(above) / sum(below)), goal="min", unit=unit, floor=floor, floor_name=floor_name,
            identity=text_identity(dataset, name, len(scores), how, data_spec),
            spread=spread_of(np.exp(resampled_ratios(above, below)), len(scores)), spread_over=over_documents(len(scores)),
        )  # fmt: skip

    return (
        figure("target_perplexity", nats, tokens, floors[0], "frequencies in the targets of the training text", "per token, marks of gaps included"),
        figure("text_perplexity", text_nats, text_tokens, floors[1], "token frequencies of the training text", "per hidden token"),
    )


def _fill(model: MapsText, pieces: Sequence[Piece], tell: Teller) -> list[list[list[int]]]:
    """What the model puts into the gaps of each piece."""
    found: list[list[int]] = []
    for start in counted(range(0, len(pieces), PIECES_PER_BATCH), f"filling the gaps of {len(pieces)} pieces", tell):
        chunk = pieces[start : start + PIECES_PER_BATCH]
        longest = max(len(piece.target) for piece in chunk)
        found += model.map_text(padded([piece.source for piece in chunk]), max_new_tokens=2 * longest)
    return [spans_of(answer, model.sentinels) for answer in found]


def _commonest(known: Sequence[Piece], model: MapsText) -> list[int]:
    """The span that is hidden most often where the training text is treated alike."""
    spans = Counter(tuple(span) for piece in known for span in spans_of(piece.target[1:-1], model.sentinels))
    return list(spans.most_common(1)[0][0])


def _exact(
    pieces: Sequence[Piece], guesses: Sequence[Sequence[list[int]]], commonest: list[int], model: MapsText, how: str, dataset: Dataset, data_spec: DataSpec
) -> Figure:
    truths = [spans_of(piece.target[1:-1], model.sentinels) for piece in pieces]
    right = [sum(guess == truth for guess, truth in zip(filling, wanted, strict=False)) for filling, wanted in zip(guesses, truths, strict=True)]
    usual = sum(truth == commonest for wanted in truths for truth in wanted)
    gaps = [len(wanted) for wanted in truths]
    return Figure(
        name="exact_spans", value=sum(right) / sum(gaps), goal="max", unit="share",
        identity=text_identity(dataset, "exact_spans", len(pieces), f"the likeliest token each time, {how}", data_spec), recorded=Recorded(seed=0),
        floor=usual / sum(gaps), floor_name="always the commonest span of the training text",
        spread=spread_of(resampled_ratios(right, gaps), len(pieces)), spread_over=over_documents(len(pieces), "pieces"),
        note=f"of {sum(gaps):,} gaps those that are filled with the very tokens that stood there",
    )  # fmt: skip


def _shown(tokenizer: Tokenizer, model: MapsText, pieces: Sequence[Piece], guesses: Sequence[Sequence[list[int]]]) -> str:
    """Pieces spread over the test split, each gap as [what stood there] or, where the model guessed otherwise, [what stood there | its guess]."""
    chosen = range(0, len(pieces), max(1, len(pieces) // SHOWN))[:SHOWN]
    return "\n\n----\n\n".join(_told(tokenizer, model, pieces[place], guesses[place]) for place in chosen)


def _told(tokenizer: Tokenizer, model: MapsText, piece: Piece, guesses: Sequence[list[int]]) -> str:
    truths, first = spans_of(piece.target[1:-1], model.sentinels), model.sentinels[0]
    text, run = "", list[int]()
    for token in piece.source[1:-1]:
        if token < first:
            run.append(token)
            continue
        truth = truths[token - first]
        guess = guesses[token - first] if token - first < len(guesses) else []
        wrong = "" if guess == truth else f" | {tokenizer.decode(guess)}"
        text, run = f"{text}{tokenizer.decode(run)}[{tokenizer.decode(truth)}{wrong}]", []
    return text + tokenizer.decode(run)
