"""Scores a model that maps text to text on the test pairs: how well it foresees their targets, and how alike to them is what it says itself."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer

from components.data.dataset import Dataset
from components.evaluation.config import EvaluationConfig
from components.evaluation.documents import (
    BOOTSTRAPS,
    WHOLE_TARGETS,
    TextScore,
    indicative,
    nothing_to_score,
    over_documents,
    resampled_ratios,
    spread_of,
    text_identity,
    unigram_of_rows,
)
from components.evaluation.evidence import Evidence
from components.evaluation.membership import by_loss_of_texts, rows_to_tell
from components.evaluation.ngrams import bleu, rouge, words_of
from components.evaluation.protocol import Figure, Recorded
from components.evaluation.scoring import shuffled
from components.evaluation.telling import SILENT, Teller, counted
from components.models.capabilities import DataSpec, MapsText
from components.models.token_rows import END, encodings, plain_reader, token_rows

DECODED = 200
"""Test pairs whose sources the model answers, at most."""
ROWS_PER_BATCH = 32
SHOWN = 8
SHOWN_CHARS = 400
"""Of a source."""


class Pairs(NamedTuple):
    sources: list[str]
    targets: list[str]

    def at(self, rows: Sequence[int]) -> "Pairs":
        return Pairs([self.sources[row] for row in rows], [self.targets[row] for row in rows])


def score_mapping(model: MapsText, dataset: Dataset, data_spec: DataSpec, *, config: EvaluationConfig, tell: Teller) -> Evidence:
    """Figures `target_perplexity` and `bits_per_byte` of the test targets; `bleu`, `rouge_1`, `rouge_2`, `rouge_l` and `exact_match` of what the model says
    to some of their sources; text `answers`.

    Raises:
        UserError: the dataset has no test pairs.
    """
    test, train = pairs_of(dataset, "test"), pairs_of(dataset, "train")
    if not test.sources:
        raise nothing_to_score(dataset.name, "pairs")
    scores = score_pairs(model, data_spec, test, tell)
    figures = _likelihood_figures(model, scores, test, train, dataset, data_spec)
    told = told_by_scores(dataset, scores, lambda rows: score_pairs(model, data_spec, train.at(rows), tell))
    places = shuffled(len(test.sources), config.seed)[:DECODED].tolist()
    asked = test.at(places)
    said = answers(model, data_spec, asked.sources, tell)
    figures += _answer_figures(asked, said, train, model, dataset, config)
    return Evidence(figures, texts={"answers": _side_by_side(asked, said)}, notes=indicative(len(test.sources), "pairs")).plus(told)


def sample_answers(model: MapsText, data_spec: DataSpec) -> str:
    """What the model says to the data's examples, for the eye; no pair is needed."""
    sources = data_spec.example_texts
    return "\n\n----\n\n".join(f"{source}\n→ {said}" for source, said in zip(sources, answers(model, data_spec, sources), strict=True))


def pairs_of(dataset: Dataset, split: Any) -> Pairs:
    """The original pairs of ``split``."""
    table = dataset.table(split, columns=["source_text", "target_text"], augmented=False)
    return Pairs(table["source_text"].to_pylist(), table["target_text"].to_pylist())


# -- likelihood ------------------------------------------------------------------------------------------------------


def _likelihood_figures(
    model: MapsText, scores: Sequence[TextScore], test: Pairs, train: Pairs, dataset: Dataset, data_spec: DataSpec
) -> tuple[Figure, ...]:  # fmt: skip
    nats, tokens, num_bytes = (list(column) for column in zip(*scores, strict=True))
    unigram = unigram_of_rows(plain_reader(data_spec.tokenizer), train.targets, test.targets, END)
    recorded = Recorded(window=f"sources of at most {model.source_length} tokens")
    over = over_documents(len(scores), "pairs")
    floor_name = "token frequencies of the training targets"
    perplexity = Figure(
        name="target_perplexity", value=math.exp(sum(nats) / sum(tokens)), goal="min", unit="per token",
        identity=text_identity(dataset, "target_perplexity", len(scores), WHOLE_TARGETS, data_spec), recorded=recorded,
        floor=math.exp(unigram / sum(tokens)), floor_name=floor_name,
        spread=spread_of(np.exp(resampled_ratios(nats, tokens)), len(scores)), spread_over=over,
    )  # fmt: skip
    bits = Figure(
        name="bits_per_byte", value=sum(nats) / math.log(2) / sum(num_bytes), goal="min", unit="bits/byte",
        identity=text_identity(dataset, "bits_per_byte", len(scores), WHOLE_TARGETS), recorded=recorded,
        floor=unigram / math.log(2) / sum(num_bytes), floor_name=floor_name,
        spread=spread_of(resampled_ratios(nats, num_bytes) / math.log(2), len(scores)), spread_over=over,
    )  # fmt: skip
    return perplexity, bits


def score_pairs(model: MapsText, data_spec: DataSpec, pairs: Pairs, tell: Teller = SILENT) -> list[TextScore]:
    """The negative log likelihood of each target, given its source."""
    lengths = [len(encoding.ids) for encoding in encodings(plain_reader(data_spec.tokenizer), pairs.targets, marks=False)]
    # Targets of like length go together, so that short ones are not padded to the longest.
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    nats = [0.0] * len(lengths)
    for start in counted(range(0, len(order), ROWS_PER_BATCH), f"scoring {len(order)} targets", tell):
        chunk = order[start : start + ROWS_PER_BATCH]
        source = token_rows(data_spec.tokenizer, [pairs.sources[row] for row in chunk], model.source_length).tokens
        target = token_rows(data_spec.tokenizer, [pairs.targets[row] for row in chunk], lengths[chunk[-1]] + 2).tokens
        found = model.target_nll(source, target).double().sum(dim=1).tolist()
        for row, value in zip(chunk, found, strict=True):
            nats[row] = value
    return [TextScore(value, length + 1, len(text.encode())) for value, length, text in zip(nats, lengths, pairs.targets, strict=True)]


def told_by_scores(dataset: Dataset, scores: Sequence[TextScore], score: Callable[[Sequence[int]], list[TextScore]]) -> Evidence:
    """Membership inference by the bits per byte of targets; ``scores`` are those of all test pairs, ``score`` gives those of rows of the training split."""
    chosen = rows_to_tell(dataset)
    others = [scores[row] for row in chosen["test"]]
    figures, notes = by_loss_of_texts(dataset, score(chosen["train"]), others, "bits per byte of each target, given its source", "pairs")
    return Evidence(tuple(figures), notes=tuple(notes))


# -- answers ---------------------------------------------------------------------------------------------------------


def answers(model: MapsText, data_spec: DataSpec, sources: Sequence[str], tell: Teller = SILENT) -> list[str]:
    """The likeliest answer to each source, as long as the model's targets at most."""
    tokenizer = Tokenizer.from_str(data_spec.tokenizer)
    rows = token_rows(data_spec.tokenizer, sources, model.source_length).tokens
    said: list[str] = []
    for chunk in counted(rows.split(ROWS_PER_BATCH), f"answering {len(sources)} sources", tell):
        said += [tokenizer.decode(tokens) for tokens in model.map_text(chunk, max_new_tokens=model.target_length)]
    return said


def _answer_figures(asked: Pairs, said: Sequence[str], train: Pairs, model: MapsText, dataset: Dataset, config: EvaluationConfig) -> tuple[Figure, ...]:
    """Each beside the better one of two answers that take no model."""
    ours = _likeness(said, asked.targets)
    floors = {name: _likeness(simple, asked.targets) for name, simple in _simple_answers(asked, train, config.seed).items()}
    how, window = "the likeliest answer, words in lower case", f"sources of at most {model.source_length} tokens, answers of at most {model.target_length}"
    over = over_documents(len(said), "pairs")

    def figure(name: str, value: float, spread: float | None) -> Figure:
        floor_name, floor = max(((simple, found[name][0]) for simple, found in floors.items()), key=lambda pair: pair[1])
        identity = text_identity(dataset, name, len(said), f"seed {config.seed}, {how}")
        return Figure(
            name=name, value=value, goal="max", unit="share" if name == "exact_match" else "", identity=identity,
            recorded=Recorded(seed=config.seed, window=window),
            floor=floor, floor_name=floor_name, spread=spread, spread_over=over,
        )  # fmt: skip

    return tuple(figure(name, *measured) for name, measured in ours.items())


def _simple_answers(asked: Pairs, train: Pairs, seed: int) -> dict[str, list[str]]:
    """The beginnings of the sources, as long as targets are on average, and training targets at random."""
    usual = round(sum(len(words_of(text)) for text in train.targets) / max(1, len(train.targets)))
    drawn = torch.randint(len(train.targets), (len(asked.sources),), generator=torch.Generator().manual_seed(seed)).tolist()
    return {
        "the beginning of the source": [" ".join(words_of(text)[:usual]) for text in asked.sources],
        "the answer to a training source at random": [train.targets[row] for row in drawn],
    }


def _likeness(said: Sequence[str], wanted: Sequence[str]) -> dict[str, tuple[float, float | None]]:
    """Each measure with its spread when the pairs are drawn anew."""
    pairs, references = list(zip(said, wanted, strict=True)), [[text] for text in wanted]
    draws = np.random.default_rng(0).integers(len(pairs), size=(BOOTSTRAPS, len(pairs)))
    weights = np.stack([np.bincount(draw, minlength=len(pairs)) for draw in draws])
    found = {"bleu": (float(bleu(said, references)[0]), spread_of(bleu(said, references, weights), len(pairs)))}
    each = np.array([[*rouge(*pair), words_of(pair[0]) == words_of(pair[1])] for pair in pairs], dtype=np.float64)
    for place, name in enumerate(("rouge_1", "rouge_2", "rouge_l", "exact_match")):
        found[name] = (float(each[:, place].mean()), spread_of(each[:, place][draws].mean(axis=1), len(pairs)))
    return found


def _side_by_side(asked: Pairs, said: Sequence[str]) -> str:
    """Some sources, what belongs to them, and what the model says."""
    rows = zip(asked.sources[:SHOWN], asked.targets, said, strict=False)
    return "\n\n----\n\n".join(f"{_beginning(source)}\nreference: {target}\nmodel:     {answer}" for source, target, answer in rows)


def _beginning(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS].rstrip()} …"
