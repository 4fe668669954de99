"""Figures of word vectors: every pair once, exact where the model is known, the baseline what it is called."""

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from components.data.dataset import Dataset
from components.errors import UserError
from components.evaluation.contexts import BEST, CENTRES_AT_ONCE, WINDOW, _pairs, score_contexts, score_document
from components.evaluation.evidence import Evidence
from components.evaluation.protocol import Figure
from components.evaluation.telling import SILENT
from components.models.capabilities import DataSpec
from components.models.word2vec.config import Word2VecConfig
from components.training.datamodules.text import train_words
from tests.evaluation.conftest import no_spread
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


def test_headline_figures_say_how_far_they_spread() -> None:
    assert no_spread(scored(Uniform())) == set()


def test_the_baseline_is_what_word_frequencies_reach() -> None:
    evidence = scored(Frequencies())
    for name in ("context_perplexity", "context_recall_10"):
        found = figure(evidence, name)
        assert found.floor == pytest.approx(found.value, rel=1e-5)


def test_a_pair_is_two_places_at_most_a_window_apart_and_counts_both_ways() -> None:
    found = set(zip(*(side.tolist() for side in _pairs(torch.arange(9), 9)), strict=True))
    assert found == {(a, b) for a in range(9) for b in range(9) if 0 < abs(a - b) <= WINDOW}


class Table:
    """Tells of each word what stands in a table, and remembers of how many it was asked at once."""

    def __init__(self) -> None:
        self.logs = torch.randn(SPEC.vocab_size, SPEC.vocab_size, generator=torch.Generator().manual_seed(5)).log_softmax(dim=-1)
        self.most = 0

    def context_log_probabilities(self, words: Tensor) -> Tensor:
        self.most = max(self.most, len(words))
        return self.logs[words]


def test_a_long_document_is_scored_some_words_at_a_time_as_if_it_were_at_once() -> None:
    words = torch.randint(2, SPEC.vocab_size, (2 * CENTRES_AT_ONCE + 7,), generator=torch.Generator().manual_seed(1))
    unigram = torch.randn(SPEC.vocab_size, generator=torch.Generator().manual_seed(2)).double().log_softmax(dim=-1)
    model, distance = Table(), torch.arange(len(words))[:, None] - torch.arange(len(words))
    centres, contexts = ((distance != 0) & (distance.abs() <= WINDOW)).nonzero(as_tuple=True)
    logs, truth = model.logs[words].double(), words[contexts]
    score = score_document(model, words, unigram)
    assert (score.nats, score.unigram_nats, score.pairs) == (-float(logs[centres, truth].sum()), -float(unigram[truth].sum()), len(truth))
    assert score.hits == int((logs.topk(BEST).indices[centres] == truth[:, None]).sum())
    assert score.unigram_hits == int(torch.isin(truth, unigram.topk(BEST).indices).sum())
    assert model.most == CENTRES_AT_ONCE


def test_figures_carry_their_protocol() -> None:
    for found in scored(Uniform()).figures:
        assert (found.identity.metric, found.identity.split, found.identity.reference_sha256) == (found.name, "test", Texts.manifest.sha256)
        assert found.identity.extractor_sha256
        assert found.spread is not None


@pytest.mark.parametrize(("test", "sentence"), [([], "has no test documents"), (["zig zag"], "have no two known words near one another: lower min_count")])
def test_what_cannot_be_scored_is_refused_with_the_fix(test: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        scored(Uniform(), test)
