"""Figures of models that look at image and text together, against what can be worked out by hand."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from components.data.dataset import Dataset
from components.evaluation.config import EvaluationConfig
from components.evaluation.evaluate import evaluate
from components.evaluation.pairs import MASK_RATE, hidden_words, likest_captions, other_captions
from components.evaluation.retrieval import JUDGED_POOL
from components.evaluation.telling import SILENT
from components.models.capabilities import DataSpec, Judged
from components.models.family import find_family
from components.models.token_rows import BEGIN, END, PADDING, token_rows
from components.project import Project
from components.training import datamodules
from tests.evaluation.conftest import no_spread, read_images

QUESTIONS = {"what is it?": "label", "what kind of thing is it?": "^a handwritten (.*) [a-z]+$", "which one?": "digit (.*)$"}


def test_the_likest_caption_shares_the_most_words_and_reads_otherwise() -> None:
    captions = ["small a, bold", "small b, bold", "small a, bold", "capital x, plain", "small b, plain"]
    assert likest_captions(captions).tolist()[:2] == [1, 0]
    assert likest_captions(captions)[4] in (1, 3), "two of four words of either"
    assert likest_captions(["a", "a"]).tolist() == [-1, -1]


def test_another_caption_is_the_next_that_reads_otherwise() -> None:
    assert other_captions(["a", "a", "b"]).tolist() == [2, 2, 0]
    assert other_captions(["a", "a"]).tolist() == [-1, -1]


def test_some_words_of_every_caption_are_hidden_and_no_mark() -> None:
    tokens = torch.full((400, 12), 7)
    tokens[:, 0], tokens[:, 10], tokens[:, 11] = BEGIN, END, PADDING
    hidden = hidden_words(tokens).hidden
    assert not hidden[:, [0, 10, 11]].any()
    assert hidden.any(dim=1).all()
    assert 9 * MASK_RATE < hidden.sum(dim=1).double().mean() < 9 * MASK_RATE + 0.4
    assert torch.equal(hidden, hidden_words(tokens).hidden)


@pytest.fixture(scope="module")
def captions(dataset_project: Project) -> Dataset:
    return Dataset.open(dataset_project, "captions")


@pytest.fixture(scope="module")
def spec(captions: Dataset, tmp_path_factory: pytest.TempPathFactory) -> DataSpec:
    config = find_family("fusion").config.model_validate({"questions": QUESTIONS, "caption_length": 24})
    return datamodules.describe(captions, config, tmp_path_factory.mktemp("cache"))


class Knows(nn.Module):
    """Knows every test image by heart; or, where not ``right``, takes each for the one with the next label."""

    def __init__(self, dataset: Dataset, spec: DataSpec, *, right: bool) -> None:
        super().__init__()
        self.images, labels = read_images(dataset, "test")
        assert labels is not None
        self.spec, self.caption_length, self.mask_token = spec, 24, spec.vocab_size
        texts = dataset.table("test", columns=["caption"])["caption"].to_pylist()
        self.rows = token_rows(spec.tokenizer, texts, self.caption_length).tokens
        self.taken = labels if right else (labels + 1) % 10
        self.said = torch.stack([self.rows[(labels == label).nonzero()[0, 0]] for label in self.taken])

    def seen(self, images: Tensor) -> Tensor:
        return torch.cdist(images.flatten(1), self.images.flatten(1)).argmin(1)

    def judge_pairs(self, images: Tensor, tokens: Tensor, pairs: Tensor) -> Judged:
        fits = (self.said[self.seen(images)][pairs[:, 0]] == tokens[pairs[:, 1]]).all(1).float()
        return Judged(fits, fits)

    def answer_question(self, images: Tensor, question: int) -> Tensor:
        known = self.spec.questions[question].answers
        answers = torch.tensor([known.index(self.spec.class_names[label]) if question == 0 else 0 for label in self.taken[self.seen(images)]])
        return nn.functional.one_hot(answers, len(known)).float()

    def fill_captions(self, images: Tensor, tokens: Tensor) -> Tensor:
        truth = self.said[self.seen(images)][:, : tokens.shape[1]]
        return nn.functional.one_hot(truth[tokens == self.mask_token], self.spec.vocab_size).float().log()


def figures_of(captions: Dataset, spec: DataSpec, *, right: bool) -> dict[str, float]:
    evidence = evaluate(Knows(captions, spec, right=right), captions, spec, config=EvaluationConfig(), cache=Path(), tell=SILENT)
    assert {"retrieval", "questions"} <= set(evidence.pictures)
    assert no_spread(evidence) == set()
    assert {"retrieval", "questions", "masked_words"} <= set(evidence.texts)
    return {figure.name: figure.value for figure in evidence.figures}


def test_questions_are_those_that_the_captions_answer_in_two_ways(spec: DataSpec) -> None:
    assert [question.text for question in spec.questions] == ["what is it?", "which one?"], "everything is a digit, so that is no question"
    assert [len(question.answers) for question in spec.questions] == [10, 10]
    assert DataSpec.from_dict(spec.to_dict()) == spec


def test_a_model_that_knows_every_pair_has_all_figures_at_one(captions: Dataset, spec: DataSpec) -> None:
    found = figures_of(captions, spec, right=True)
    assert found["recall_at_1"] == found["matching_accuracy"] == found["matching_accuracy_easy"] == found["masked_word_accuracy"] == 1
    assert 0.5 < found["answer_accuracy"] < 0.6, "half of the answers are right, of the others a tenth"


def test_a_model_that_mixes_them_up_falls_below_guessing(captions: Dataset, spec: DataSpec) -> None:
    found = figures_of(captions, spec, right=False)
    assert found["recall_at_1"] < 0.3
    assert found["matching_accuracy"] <= 0.5
    assert found["answer_accuracy"] < 0.1
    assert found["masked_word_accuracy"] < 1


def test_a_pool_without_vectors_is_bounded(captions: Dataset, spec: DataSpec) -> None:
    evidence = evaluate(Knows(captions, spec, right=True), captions, spec, config=EvaluationConfig(), cache=Path(), tell=SILENT)
    recall = next(figure for figure in evidence.figures if figure.name == "recall_at_1")
    pool = min(JUDGED_POOL, captions.manifest.rows("test"))
    assert recall.identity.num_samples == pool
    assert f"a pool of {pool:,} pairs" in recall.identity.preprocessing
    assert recall.recorded.sampler == "looks at every pair"
