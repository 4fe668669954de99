"""Scores a language model on the test documents: perplexity, bits per byte beside compressors, and what it copies.

Bits per byte do not hang on the tokenizer, so models of different vocabularies compare. Each document is scored by itself, by a window
that slides over it: every token is predicted from at least ``context_length - stride`` tokens before it, where the document has as many.
"""

import lzma
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer

from components.data.dataset import Dataset, Split
from components.evaluation.config import EvaluationConfig
from components.evaluation.continuations import (
    DRAWS,
    NUM_PROMPTS,
    TEMPERATURE,
    TOP_P,
    WORDS,
    Reference,
    as_written,
    drawn,
    passages,
    writing_figures,
)
from components.evaluation.documents import (
    TextScore,
    documents_to_score,
    indicative,
    over_documents,
    resampled_ratios,
    spread_of,
    text_identity,
    texts_of,
    token_frequencies,
    unigram_nats,
)
from components.evaluation.evidence import Evidence
from components.evaluation.membership import by_loss_of_texts, rows_to_tell
from components.evaluation.ngrams import words_of
from components.evaluation.overlap import shared_characters
from components.evaluation.protocol import Figure, Recorded
from components.evaluation.telling import SILENT, Teller, counted
from components.models.capabilities import ContinuesText, DataSpec, HeedsControl, ScoresText
from components.models.prompting import control_token, prompt_tokens
from components.models.token_rows import encodings

WINDOWS_PER_BATCH = 32
OVERLAP_WINDOW = 50
BEGINNING_CHARS = 4_000
"""Of a document, by which it is told whether it was trained on: long ones cost no more than that."""
NEW_TOKENS = 128
SHOWN = 6
STARTED = 3
"""Into how many parts an example is cut where no document is at hand; the first one is gone on with."""


def score_text(model: Any, dataset: Dataset, data_spec: DataSpec, *, config: EvaluationConfig, tell: Teller) -> Evidence:
    """Figures `perplexity`, `bits_per_byte` (floor: xz), its baselines, `test_in_train_share` and those of what it writes (`writing_figures`); text `samples`.

    Raises:
        UserError: the dataset has no test documents.
    """
    test, train = documents_to_score(dataset), texts_of(dataset, "train")
    tokenizer = Tokenizer.from_str(data_spec.tokenizer)
    evidence = Evidence(figures=_likelihood_figures(model, tokenizer, train, test, dataset, data_spec, tell), notes=indicative(len(test)))
    evidence = evidence.plus(_membership(model, tokenizer, {"train": train, "test": test}, dataset, data_spec, tell))
    overlap = Figure(
        name="test_in_train_share", value=shared_characters(test, train, OVERLAP_WINDOW), goal="min", unit="share",
        identity=text_identity(dataset, "test_in_train_share", len(test), f"runs of {OVERLAP_WINDOW} characters, white space as one blank"),
        note="characters of the test text that stand word for word in the training text",
    )  # fmt: skip
    evidence = evidence.plus(Evidence(figures=(overlap,)))
    if isinstance(model, ContinuesText):
        tell.say(f"continuing {NUM_PROMPTS} prompts from test documents, {DRAWS} times each")
        evidence = evidence.plus(_generation(model, tokenizer, train, test, dataset, data_spec, config.seed))
    return evidence


def sample_text(model: Any, data_spec: DataSpec, *, seed: int) -> str:
    """Continuations of how the data's examples begin, for the eye; no document is needed."""
    starts = [text[: max(1, len(text) // STARTED)].rsplit(" ", 1)[0] for text in data_spec.example_texts]
    tokenizer = Tokenizer.from_str(data_spec.tokenizer)
    continued = model.continue_tokens(_tokens(model, tokenizer, starts), max_new_tokens=NEW_TOKENS, seed=seed, temperature=TEMPERATURE, top_p=TOP_P)
    return _shown(starts, [tokenizer.decode(new) for new in continued])


# -- likelihood ------------------------------------------------------------------------------------------------------


def _likelihood_figures(
    model: ScoresText,
    tokenizer: Tokenizer,
    train: Sequence[str],
    test: Sequence[str],
    dataset: Dataset,
    data_spec: DataSpec,
    tell: Teller,
) -> tuple[Figure, ...]:
    scores = score_documents(model, tokenizer, test, stride_of(model), tell, _leads(model, dataset, data_spec, "test"))
    nats, tokens, num_bytes = (sum(column) for column in zip(*scores, strict=True))
    unigram = float(token_frequencies(tokenizer, test) @ unigram_nats(token_frequencies(tokenizer, train)))
    plain, primed = xz_bits_per_byte(train, test)
    told = f", each with its {model.control}" if isinstance(model, HeedsControl) and model.control else ""
    how = f"sliding window, each document by itself{told}"
    recorded = Recorded(window=f"context {model.context_length} tokens, stride {stride_of(model)}")

    def bits_per_byte(name: str, value: float, preprocessing: str, **more: Any) -> Figure:
        return Figure(name=name, value=value, goal="min", unit="bits/byte", identity=text_identity(dataset, name, len(test), preprocessing), **more)

    return (
        bits_per_byte(
            "bits_per_byte", nats / math.log(2) / num_bytes, how, recorded=recorded, floor=plain, floor_name="xz -9e of the test text",
            spread=spread_of(resampled_ratios([score.nats for score in scores], [score.bytes for score in scores]) / math.log(2), len(scores)),
            spread_over=over_documents(len(test)),
        ),
        Figure(
            name="perplexity", value=math.exp(nats / tokens), goal="min", unit="per token",
            identity=text_identity(dataset, "perplexity", len(test), how, data_spec), recorded=recorded,
            floor=math.exp(unigram / tokens), floor_name="token frequencies of the training text",
            spread=spread_of(np.exp(resampled_ratios([score.nats for score in scores], [score.tokens for score in scores])), len(scores)),
            spread_over=over_documents(len(test)),
        ),
        bits_per_byte("bits_per_byte_unigram", unigram / math.log(2) / num_bytes, "token frequencies of the training text, add-one"),
        bits_per_byte("bits_per_byte_xz", plain, "xz -9e of the test documents as one file"),
        bits_per_byte("bits_per_byte_xz_primed", primed, "xz -9e: bytes that the test documents add behind the training documents"),
    )  # fmt: skip


def _membership(model: ScoresText, tokenizer: Tokenizer, texts: Mapping[Split, Sequence[str]], dataset: Dataset, data_spec: DataSpec, tell: Teller) -> Evidence:
    """Membership inference by the bits per byte of how a document begins, of as many training documents as test documents."""
    told: dict[str, list[TextScore]] = {}
    for split, chosen in rows_to_tell(dataset).items():
        known = _leads(model, dataset, data_spec, split)
        leads = None if known is None else [known[index] for index in chosen]
        told[split] = score_documents(model, tokenizer, [texts[split][index][:BEGINNING_CHARS] for index in chosen], stride_of(model), tell, leads)
    figures, notes = by_loss_of_texts(dataset, told["train"], told["test"], f"bits per byte of the first {BEGINNING_CHARS:,} characters of each document")
    return Evidence(tuple(figures), notes=tuple(notes))


def stride_of(model: ScoresText) -> int:
    return max(1, model.context_length // 4)


def _leads(model: ScoresText, dataset: Dataset, data_spec: DataSpec, split: Split) -> list[int] | None:
    """Of each document of ``split`` the token that tells the model by what it is controlled, where it heeds one."""
    if not (isinstance(model, HeedsControl) and model.control):
        return None
    known = {name: index for index, name in enumerate(data_spec.class_names)}
    values = dataset.table(split, columns=[model.control], augmented=False)[model.control].to_pylist()
    return [control_token(known.get(value)) for value in values]


def score_documents(
    model: ScoresText, tokenizer: Tokenizer, texts: Sequence[str], stride: int, tell: Teller = SILENT, leads: Sequence[int] | None = None
) -> list[TextScore]:
    """Negative log likelihood of each text, every token counted once; ``leads`` stand behind the marks of the texts, where the model heeds them."""
    encoded = [encoding.ids for encoding in encodings(tokenizer, texts)]
    # What stands before the text is given.
    rows = [Given(ids, 1) for ids in encoded]
    if leads is not None:
        rows = [Given([ids[0], lead, *ids[1:]], 2, lead) for ids, lead in zip(encoded, leads, strict=True)]
    nats = score_tokens(model, rows, stride, tell, f"scoring {len(texts)} documents")
    return [TextScore(total, len(row.tokens) - row.given, len(text.encode())) for total, row, text in zip(nats, rows, texts, strict=True)]


class Given(NamedTuple):
    """A text to score, of which the first tokens are given."""

    tokens: list[int]
    given: int
    lead: int | None = None
    """Stands in place of the first token of each window but the first."""


@torch.no_grad()
def score_tokens(model: ScoresText, rows: Sequence[Given], stride: int, tell: Teller, what: str) -> list[float]:
    """Nats of the tokens of each row that are not given, each counted once; ``what`` names the work."""
    device = getattr(model, "device", torch.device("cpu"))
    # Windows of like length go together: those of short texts are not padded to the full context.
    windows = sorted(_windows(rows, model.context_length, stride), key=lambda window: len(window.tokens))
    nats = [0.0] * len(rows)
    for start in counted(range(0, len(windows), WINDOWS_PER_BATCH), what, tell):
        chunk = windows[start : start + WINDOWS_PER_BATCH]
        longest = max(len(window.tokens) for window in chunk)
        # Padding stands behind the text, where a causal model cannot see it.
        tokens = torch.tensor([window.tokens + [0] * (longest - len(window.tokens)) for window in chunk], device=device)
        nll = model.token_nll(tokens).double().cpu()
        for row, window in zip(nll, chunk, strict=True):
            end = len(window.tokens) - 1
            nats[window.row] += float(row[end - window.scored : end].sum())
    return nats


class _Window(NamedTuple):
    row: int
    tokens: list[int]
    scored: int
    """How many of the last tokens are scored in this window; the others are context."""


def _windows(rows: Sequence[Given], context: int, stride: int) -> Iterator[_Window]:
    for index, (tokens, given, lead) in enumerate(rows):
        done = given
        while done < len(tokens):
            end = min(len(tokens), max(context + 1, done + stride))
            start = max(0, end - context - 1)
            window = tokens[start:end]
            yield _Window(index, [lead, *window[1:]] if start and lead is not None else window, end - done)
            done = end


def xz_bits_per_byte(train: Sequence[str], test: Sequence[str]) -> tuple[float, float]:
    """Of the test text alone, and of what it adds behind the training text."""
    known, new = "\n\n".join(train).encode(), "\n\n".join(test).encode()
    return 8 * _xz_bytes(new) / len(new), 8 * (_xz_bytes(known + new) - _xz_bytes(known)) / len(new)


def _xz_bytes(content: bytes) -> int:
    return len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))


# -- generation ------------------------------------------------------------------------------------------------------


def _generation(model: Any, tokenizer: Tokenizer, train: Sequence[str], test: Sequence[str], dataset: Dataset, data_spec: DataSpec, seed: int) -> Evidence:
    prompts = passages(test)
    draws = drawn(model, tokenizer, _tokens(model, tokenizer, [prompt.text for prompt in prompts]), NEW_TOKENS, seed)
    enough = sum(len(words_of(text)) for text in test) >= WORDS * len(prompts)
    real = as_written(tokenizer, [prompt.behind for prompt in prompts], NEW_TOKENS) if enough else None
    reference = Reference(train, test, real, "what stands there in the test text", NEW_TOKENS)
    texts = {"samples": _shown([prompt.text for prompt in prompts[:SHOWN]], draws[0].texts)}
    return writing_figures(draws, reference, dataset, data_spec, seed).plus(Evidence(texts=texts))


def _tokens(model: Any, tokenizer: Tokenizer, prompts: Sequence[str]) -> list[list[int]]:
    """By what ``model`` is controlled is not told."""
    return [prompt_tokens(model, tokenizer, prompt) for prompt in prompts]


def _shown(prompts: Sequence[str], continued: Sequence[str]) -> str:
    """Each prompt in brackets with its continuation."""
    return "\n\n----\n\n".join(f"[{prompt}]{new}" for prompt, new in zip(prompts, continued, strict=False))
