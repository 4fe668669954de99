"""Figures of word vectors: every pair once, exact where the model is known, the baseline what it is called."""

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from components.data.dataset import Dataset
from components.errors import UserError
from components.evaluation.contexts import WINDOW, _pairs, score_contexts
from components.evaluation.evidence import Evidence
from components.evaluation.protocol import Figure
from components.evaluation.telling import SILENT
from components.models.capabilities import DataSpec
from components.models.word2vec.config import Word2VecConfig
from components.training.datamodules.text import train_words
from tests.evaluation.test_text import TEST, TRAIN, Texts

TOKENIZER = train_words(TRAIN, 1000, Word2VecConfig.special_tokens, 2)
SPEC = DataSpec("text", vocab_size=TOKENIZER.get_vocab_size(), tokenizer=TOKENIZER.to_str())


class Uniform:
    """Every known word is as likely anywhere."""

    def context_log_probabilities(self, words: Tensor) -> Tensor:
        found = torch.zeros(len(words), SPEC.vocab_size)
        found[:, :2] = -torch.inf
        return found.log_softmax(dim=-1)


class Frequencies:
    """Word frequencies of the training text, one added to each."""

    def context_log_probabilities(self, words: Tensor) -> Tensor:
        counts = torch.ones(SPEC.vocab_size)
        for text in TRAIN:
            counts += torch.bincount(torch.tensor(TOKENIZER.encode(text).ids), minlength=SPEC.vocab_size)
        counts[:2] = 0
        return (counts / counts.sum()).log().expand(len(words), -1)


def scored(model: Any, test: list[str] = TEST) -> Evidence:
    return score_contexts(model, cast(Dataset, Texts(test)), SPEC, tell=SILENT)


def figure(evidence: Evidence, name: str) -> Figure:
    return next(found for found in evidence.figures if found.name == name)


def test_a_uniform_model_has_the_perplexity_of_its_known_words() -> None:
    assert figure(scored(Uniform()), "context_perplexity").value == pytest.approx(SPEC.vocab_size - 2)


def test_the_baseline_is_what_word_frequencies_reach() -> None:
    evidence = scored(Frequencies())
    for name in ("context_perplexity", "context_recall_10"):
        found = figure(evidence, name)
        assert found.floor == pytest.approx(found.value, rel=1e-5)


def test_a_pair_is_two_places_at_most_a_window_apart_and_counts_both_ways() -> None:
    found = set(zip(*(side.tolist() for side in _pairs(9)), strict=True))
    assert found == {(a, b) for a in range(9) for b in range(9) if 0 < abs(a - b) <= WINDOW}


def test_figures_carry_their_protocol() -> None:
    for found in scored(Uniform()).figures:
        assert (found.identity.metric, found.identity.split, found.identity.reference_sha256) == (found.name, "test", "5" * 64)
        assert found.identity.extractor_sha256
        assert found.spread is not None


@pytest.mark.parametrize(("test", "sentence"), [([], "has no test documents"), (["zig zag"], "have no two known words near one another: lower min_count")])
def test_what_cannot_be_scored_is_refused_with_the_fix(test: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        scored(Uniform(), test)
