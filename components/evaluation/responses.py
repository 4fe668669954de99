"""Scores a language model that answers prompts: the likelihood of the test responses, of which every token counts and none of the prompts, and what it says."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from components.code import code_digest
from components.data.dataset import Dataset
from components.evaluation.config import EvaluationConfig
from components.evaluation.continuations import DRAWS, NUM_PROMPTS, Reference, as_written, drawn, writing_figures
from components.evaluation.documents import (
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
from components.evaluation.mapping import Pairs, pairs_of, told_by_scores
from components.evaluation.protocol import Figure, Recorded
from components.evaluation.telling import Teller
from components.evaluation.text import Given, score_tokens, stride_of, xz_bits_per_byte
from components.models.capabilities import ContinuesText, DataSpec
from components.models.prompting import END_OF_TEXT, prompt_tokens

SHOWN = 6
NEW_TOKENS = 96
SHOWN_CHARS = 400
"""Of a prompt."""


def score_responses(model: Any, dataset: Dataset, data_spec: DataSpec, *, config: EvaluationConfig, tell: Teller) -> Evidence:
    """Figures `bits_per_byte` (floor: xz) and `perplexity` of the responses, and those of what it answers (`writing_figures`); text `samples`.

    Raises:
        UserError: the dataset has no test pairs.
    """
    test = pairs_of(dataset, "test")
    if not test.targets:
        raise nothing_to_score(dataset.name, "pairs")
    tokenizer = Tokenizer.from_str(data_spec.tokenizer)
    train = pairs_of(dataset, "train")
    scores = score_answers(model, tokenizer, test, tell)
    evidence = Evidence(_likelihood_figures(model, scores, tokenizer, train, test, dataset, data_spec), notes=indicative(len(scores), "pairs"))
    evidence = evidence.plus(told_by_scores(dataset, scores, lambda rows: score_answers(model, tokenizer, train.at(rows), tell)))
    if isinstance(model, ContinuesText):
        tell.say(f"answering prompts of test pairs, {DRAWS} times each")
        evidence = evidence.plus(_writing(model, tokenizer, dataset, data_spec, config.seed))
        tell.say(f"answering {SHOWN} prompts of test pairs")
        evidence = evidence.plus(Evidence(texts={"samples": _answered(model, tokenizer, test.sources[:SHOWN], test.targets[:SHOWN])}))
    return evidence


def _likelihood_figures(
    model: Any, scores: Sequence[TextScore], tokenizer: Tokenizer, train: Pairs, test: Pairs, dataset: Dataset, data_spec: DataSpec
) -> tuple[Figure, ...]:  # fmt: skip
    nats, tokens, num_bytes = (list(column) for column in zip(*scores, strict=True))
    unigram = unigram_of_rows(tokenizer, train.targets, test.targets, END_OF_TEXT)
    plain, primed = xz_bits_per_byte(train.targets, test.targets)
    window = f"prompts of at most {model.prompt_length} tokens, context {model.context_length}, stride {stride_of(model)}"
    spread = over_documents(len(scores), "pairs")

    def figure(name: str, value: float, unit: str, spec: DataSpec | None = None, preprocessing: str = WHOLE_TARGETS, **more: Any) -> Figure:
        recorded = Recorded(window=window, code=code_digest("components.evaluation.responses"))
        return Figure(
            name=name, value=value, goal="min", unit=unit, identity=text_identity(dataset, name, len(scores), preprocessing, spec), recorded=recorded, **more
        )

    return (
        figure(
            "bits_per_byte", sum(nats) / math.log(2) / sum(num_bytes), "bits/byte", floor=plain, floor_name="xz -9e of the test responses",
            spread=spread_of(resampled_ratios(nats, num_bytes) / math.log(2), len(nats)), spread_over=spread,
        ),
        figure(
            "perplexity", math.exp(sum(nats) / sum(tokens)), "per token", data_spec, floor=math.exp(unigram / sum(tokens)),
            floor_name="token frequencies of the training responses", spread=spread_of(np.exp(resampled_ratios(nats, tokens)), len(nats)), spread_over=spread,
        ),
        figure("bits_per_byte_xz_primed", primed, "bits/byte", preprocessing="xz -9e: bytes that the test responses add behind the training responses"),
    )  # fmt: skip


def score_answers(model: Any, tokenizer: Tokenizer, pairs: Pairs, tell: Teller) -> list[TextScore]:
    """The negative log likelihood of each response behind its prompt; its end mark counts."""
    rows = []
    for source, target in zip(pairs.sources, pairs.targets, strict=True):
        prompt = prompt_tokens(model, tokenizer, source)
        rows.append(Given([*prompt, *tokenizer.encode(target, add_special_tokens=False).ids, prompt[-1]], len(prompt)))
    nats = score_tokens(model, rows, stride_of(model), tell, f"scoring {len(rows):,} responses")
    return [TextScore(value, len(row.tokens) - row.given, len(text.encode())) for value, row, text in zip(nats, rows, pairs.targets, strict=True)]


def _writing(model: Any, tokenizer: Tokenizer, dataset: Dataset, data_spec: DataSpec, seed: int) -> Evidence:
    """Of answers to test prompts spread over the split, beside the responses that stand there."""
    sources, targets = pairs_of(dataset, "test")
    num = min(NUM_PROMPTS, len(targets))
    chosen = [number * len(targets) // num for number in range(num)]
    draws = drawn(model, tokenizer, [prompt_tokens(model, tokenizer, sources[row]) for row in chosen], NEW_TOKENS, seed)
    real = as_written(tokenizer, [targets[row] for row in chosen], NEW_TOKENS)
    reference = Reference(pairs_of(dataset, "train").targets, targets, real, "the test responses to those prompts", NEW_TOKENS)
    return writing_figures(draws, reference, dataset, data_spec, seed)


def _answered(model: Any, tokenizer: Tokenizer, sources: Sequence[str], targets: Sequence[str]) -> str:
    """Prompts, what the model says by its likeliest tokens, and what stands in the dataset."""
    said = model.continue_tokens([prompt_tokens(model, tokenizer, source) for source in sources], max_new_tokens=NEW_TOKENS, seed=0, temperature=0.0)
    shown = zip(sources, said, targets, strict=True)
    return "\n\n----\n\n".join(f"[{source[:SHOWN_CHARS]}]\nsays: {tokenizer.decode(new)}\nis:   {target}" for source, new, target in shown)
