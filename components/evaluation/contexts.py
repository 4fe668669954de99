"""Scores vectors of words by what they tell of a word's neighbours in the test documents, beside how frequent words are anyway.

A pair is a known word and a known word at most `WINDOW` places from it in the same document, with the words that the model does not know taken out.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

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
)
from components.evaluation.evidence import Evidence
from components.evaluation.protocol import Figure
from components.evaluation.telling import Teller, counted
from components.models.capabilities import DataSpec, PredictsContext
from components.models.token_rows import encodings

WINDOW = 5
"""Words on either side, whatever a model was trained with."""
BEST = 10
CENTRES_AT_ONCE = 1024
HOW = f"pairs of known words at most {WINDOW} places apart, each document by itself"


class ContextScore(NamedTuple):
    """What a model made of the pairs of one document; the unigram is what word frequencies alone make of them."""

    nats: float
    hits: int
    unigram_nats: float
    unigram_hits: int
    pairs: int


def score_contexts(model: PredictsContext, dataset: Dataset, data_spec: DataSpec, *, tell: Teller) -> Evidence:
    """Figures `context_perplexity` and `context_recall_10`, each beside what word frequencies alone reach on the same pairs.

    Raises:
        UserError: the test split has no pair of known words.
    """
    texts, tokenizer = documents_to_score(dataset), Tokenizer.from_str(data_spec.tokenizer)
    marks = list(tokenizer.get_added_tokens_decoder())
    unigram = _unigram(tokenizer, texts_of(dataset, "train"), marks)
    documents = [_known_words(encoding.ids, marks) for encoding in encodings(tokenizer, texts, marks=False)]
    paired = [words for words in documents if len(words) > 1]
    if not paired:
        raise UserError(f"The test documents of {dataset.name!r} have no two known words near one another: lower min_count, or add documents.")
    scores = [score_document(model, words, unigram) for words in counted(paired, f"predicting the neighbours of words in {len(paired)} documents", tell)]
    return Evidence(figures=_figures(scores, dataset, data_spec), notes=indicative(len(scores)))


def score_document(model: PredictsContext, words: Tensor, unigram: Tensor) -> ContextScore:
    """The score of the document of ``words`` [T], at least two; ``unigram`` [V] are log probabilities by frequency.

    What a word tells of all others is as long as the vocabulary, so the document's words are asked for some at a time.
    """
    device, num_best = getattr(model, "device", torch.device("cpu")), min(BEST, len(unigram))
    truths, logs, hits = [], [], 0
    for centres in torch.arange(len(words)).split(CENTRES_AT_ONCE):
        found = model.context_log_probabilities(words[centres].to(device)).double().cpu()
        rows, contexts = _pairs(centres, len(words))
        truth = words[contexts]
        truths.append(truth)
        logs.append(found[rows, truth])
        hits += int((found.topk(num_best).indices[rows] == truth[:, None]).sum())
    truth = torch.cat(truths)
    return ContextScore(
        nats=-float(torch.cat(logs).sum()),
        hits=hits,
        unigram_nats=-float(unigram[truth].sum()),
        unigram_hits=int(torch.isin(truth, unigram.topk(num_best).indices).sum()),
        pairs=len(truth),
    )


def _pairs(centres: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The pairs [P] of the places ``centres`` in a document of ``length`` words: which of the centres, and the place of its neighbour."""
    offsets = torch.cat([torch.arange(-WINDOW, 0), torch.arange(1, WINDOW + 1)])
    neighbours = centres[:, None] + offsets
    inside = (neighbours >= 0) & (neighbours < length)
    return inside.nonzero()[:, 0], neighbours[inside]


def _known_words(tokens: Sequence[int], marks: Sequence[int]) -> Tensor:
    return torch.tensor([token for token in tokens if token not in marks], dtype=torch.int64)


def _unigram(tokenizer: Tokenizer, train: Sequence[str], marks: Sequence[int]) -> Tensor:
    """Log probability [V] of each word by its frequency in the training text, one added to each; marks have none."""
    frequencies = torch.from_numpy(token_frequencies(tokenizer, train)).double() + 1
    frequencies[list(marks)] = 0
    return (frequencies / frequencies.sum()).log()


def _figures(scores: Sequence[ContextScore], dataset: Dataset, data_spec: DataSpec) -> tuple[Figure, Figure]:
    nats, hits, unigram_nats, unigram_hits, pairs = (list(column) for column in zip(*scores, strict=True))
    num, over = sum(pairs), over_documents(len(scores))
    perplexity = Figure(
        name="context_perplexity", value=math.exp(sum(nats) / num), goal="min", unit="per neighbour",
        identity=text_identity(dataset, "context_perplexity", len(scores), HOW, data_spec),
        spread=spread_of(np.exp(resampled_ratios(nats, pairs)), len(scores)), spread_over=over,
        floor=math.exp(sum(unigram_nats) / num), floor_name="word frequencies of the training text",
    )  # fmt: skip
    recall = Figure(
        name=f"context_recall_{BEST}", value=sum(hits) / num, goal="max", unit="share",
        identity=text_identity(dataset, f"context_recall_{BEST}", len(scores), HOW, data_spec),
        spread=spread_of(resampled_ratios(hits, pairs), len(scores)), spread_over=over,
        floor=sum(unigram_hits) / num, floor_name=f"the {BEST} commonest words",
        note=f"of {num:,} pairs those whose second word is among the {BEST} likeliest near the first",
    )  # fmt: skip
    return perplexity, recall
