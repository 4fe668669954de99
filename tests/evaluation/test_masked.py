"""Figures of filled gaps: the same masks for every model, every mask counted once, baselines that are what they are called."""

import math
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from components.data.dataset import Dataset
from components.errors import UserError
from components.evaluation.evidence import Evidence
from components.evaluation.masked import MASK_RATE, fixed_masks, score_masked
from components.evaluation.protocol import Figure
from components.evaluation.sampling import draw_samples
from components.evaluation.telling import SILENT
from components.models.bert.config import BertConfig
from components.models.capabilities import DataSpec
from components.models.layers.masking import MASK
from components.training.datamodules.text import marks_of, train_tokenizer
from tests.evaluation.conftest import no_spread
from tests.evaluation.test_text import TEST, TRAIN, Texts

TOKENIZER = train_tokenizer(TRAIN, 320, marks_of(BertConfig.special_tokens))
SPEC = DataSpec("text", vocab_size=320, tokenizer=TOKENIZER.to_str(), example_texts=("An iterator returns one", "一个新的对象"))


class Uniform:
    """Gives every token the same probability, and remembers what it was asked."""

    mask_token = MASK

    def __init__(self, context_length: int = 16) -> None:
        self.context_length = context_length
        self.seen: list[Tensor] = []

    def fill_masks(self, tokens: Tensor) -> Tensor:
        assert tokens.size(1) <= self.context_length
        self.seen.append(tokens)
        return torch.full((int((tokens == MASK).sum()), SPEC.vocab_size), -math.log(SPEC.vocab_size))


class Frequencies(Uniform):
    """Gives every token the share that it has in the training text, one added to each."""

    def fill_masks(self, tokens: Tensor) -> Tensor:
        counts = torch.ones(SPEC.vocab_size)
        for text in TRAIN:
            counts += torch.bincount(torch.tensor(TOKENIZER.encode(text, add_special_tokens=False).ids), minlength=SPEC.vocab_size)
        return (counts / counts.sum()).log().expand(int((tokens == MASK).sum()), -1)


def scored(model: Any, test: list[str] = TEST) -> Evidence:
    return score_masked(model, cast(Dataset, Texts(test)), SPEC, tell=SILENT)


def figure(evidence: Evidence, name: str) -> Figure:
    return next(found for found in evidence.figures if found.name == name)


@pytest.mark.parametrize("context", [4, 16, 1000])
def test_a_uniform_model_scores_its_entropy_whatever_its_context(context: int) -> None:
    assert figure(scored(Uniform(context)), "masked_perplexity").value == pytest.approx(SPEC.vocab_size)


@pytest.mark.parametrize("context", [8, 1000])
def test_the_masks_are_the_same_for_every_model_and_each_is_asked_once(context: int) -> None:
    model = Uniform(context)
    scored(model)
    expected = sum(int(fixed_masks(len(TOKENIZER.encode(text, add_special_tokens=False).ids), number).sum()) for number, text in enumerate(TEST))
    assert sum(int((tokens == MASK).sum()) for tokens in model.seen) == expected


def test_a_document_has_at_least_one_mask_and_about_the_share_that_is_promised() -> None:
    assert all(fixed_masks(1, number).sum() == 1 for number in range(20))
    assert fixed_masks(0, 0).sum() == 0
    assert fixed_masks(20_000, 0).mean() == pytest.approx(MASK_RATE, abs=0.01)
    assert (fixed_masks(50, 3) == fixed_masks(50, 3)).all()
    assert (fixed_masks(50, 3) != fixed_masks(50, 4)).any()


def test_the_baseline_is_what_the_frequencies_of_the_training_text_reach() -> None:
    evidence = scored(Frequencies())
    for name in ("masked_perplexity", "masked_accuracy"):
        found = figure(evidence, name)
        assert found.floor == pytest.approx(found.value, rel=1e-5)


def test_figures_carry_their_protocol() -> None:
    for found in scored(Uniform()).figures:
        identity = found.identity
        assert (identity.metric, identity.split, identity.reference_sha256, identity.num_samples) == (found.name, "test", Texts.manifest.sha256, 3)
        assert "15% of the tokens masked, seed 0, pieces of 16 tokens" in identity.preprocessing
        assert identity.extractor_sha256
    assert no_spread(scored(Uniform())) == set()


def test_a_document_that_speaks_of_masks_has_no_gap_there() -> None:
    model = Uniform(1000)
    scored(model, ["Write [MASK] where a [MASK] is."])
    tokens = model.seen[0]
    assert int((tokens == MASK).sum()) == int(fixed_masks(tokens.numel() - 2, 0).sum())


def test_samples_show_what_stood_in_the_gap_beside_the_guess() -> None:
    assert " | " in scored(Frequencies()).texts["samples"]
    drawn = draw_samples(Uniform(100), SPEC, seed=0, num=4).texts["samples"]
    first, second = drawn.splitlines()
    assert first.startswith("An iterator [MASK] one: ")
    assert second.startswith("一个新[MASK]对象: ")
    assert not draw_samples(Uniform(), replace(SPEC, example_texts=()), seed=0, num=4).texts


def test_an_empty_test_split_is_refused_with_the_fix() -> None:
    with pytest.raises(UserError, match="has no test documents to score on"):
        scored(Uniform(), [])
