"""Figures of captions: at their best for a model that knows them, at chance for one that says the same of everything."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from components.data.dataset import Dataset
from components.evaluation.captions import parts_right, same_words
from components.evaluation.config import EvaluationConfig
from components.evaluation.evaluate import evaluate
from components.evaluation.evidence import Evidence
from components.evaluation.telling import SILENT
from components.models.capabilities import DataSpec
from components.models.family import find_family
from components.models.token_rows import PADDING, token_rows
from components.project import Project
from components.training import datamodules
from tests.evaluation.conftest import no_spread, read_images


def test_a_caption_is_right_whatever_its_case_and_signs() -> None:
    assert same_words("Latin small letter A, serif.", ["x", "latin small letter a serif"])
    assert not same_words("latin small letter a", ["latin small letter a, serif"])


def test_parts_are_what_stands_between_commas() -> None:
    assert parts_right("latin letter b, serif bold", ["latin letter a, serif bold"]) == 0.5
    assert parts_right("serif bold", ["latin letter a, serif bold", "serif bold"]) == 1
    assert parts_right("a dog", ["a cat"]) == 0
    assert parts_right("", [","]) == 0


class Says(nn.Module):
    """Says the true captions, or the same one of every image; each of its tokens has the probability 1/2."""

    caption_length = 16

    def __init__(self, dataset: Dataset, spec: DataSpec, *, right: bool) -> None:
        super().__init__()
        self.images = read_images(dataset, "test")[0]
        rows = token_rows(spec.tokenizer, dataset.table("test", columns=["caption"])["caption"].to_pylist(), self.caption_length).tokens
        self.captions = [[token for token in row if token > 2] for row in rows.tolist()]
        self.right = right

    def caption_images(self, images: Tensor, *, seed: int, temperature: float = 0.0, max_new_tokens: int | None = None) -> list[list[int]]:
        assert temperature == 0
        found = torch.cdist(images.flatten(1), self.images.flatten(1)).argmin(1)
        return [self.captions[index if self.right else 0] for index in found.tolist()]

    def caption_nll(self, images: Tensor, tokens: Tensor) -> Tensor:
        return math.log(2) * (tokens[:, 1:] != PADDING).float()


@pytest.fixture(scope="module")
def captions(dataset_project: Project) -> Dataset:
    return Dataset.open(dataset_project, "captions")


@pytest.fixture(scope="module")
def spec(captions: Dataset, tmp_path_factory: pytest.TempPathFactory) -> DataSpec:
    return datamodules.describe(captions, find_family("captioner").config(), tmp_path_factory.mktemp("cache"))


def scored(captions: Dataset, spec: DataSpec, *, right: bool) -> Evidence:
    return evaluate(Says(captions, spec, right=right), captions, spec, config=EvaluationConfig(), cache=Path(), tell=SILENT)


def test_a_model_that_knows_every_caption_has_all_figures_at_their_best(captions: Dataset, spec: DataSpec) -> None:
    evidence = scored(captions, spec, right=True)
    found = {figure.name: figure for figure in evidence.figures}
    assert no_spread(evidence) == set()
    assert set(found) == {"caption_perplexity", "caption_bits_per_byte", "exact_captions", "caption_parts", "cider", "bleu_4"}
    assert found["caption_perplexity"].value == pytest.approx(2)
    assert found["caption_perplexity"].spread == pytest.approx(0, abs=1e-9)
    assert all(found[name].value == pytest.approx(1) for name in ("exact_captions", "caption_parts", "bleu_4"))
    assert 0.05 < (found["exact_captions"].floor or 0) < 0.2, "ten captions, drawn at random"
    assert all((figure.floor or 0) < figure.value for figure in found.values() if figure.goal == "max")
    assert all(figure.spread is not None and figure.identity.num_samples == captions.manifest.rows("test") for figure in found.values())
    assert set(evidence.pictures) == {"captions"}
    assert all(line.startswith("* ") for line in evidence.texts["captions"].splitlines())


def test_a_model_that_says_the_same_of_everything_falls_back_to_chance_and_shows_it(captions: Dataset, spec: DataSpec) -> None:
    evidence = scored(captions, spec, right=False)
    found = {figure.name: figure.value for figure in evidence.figures}
    assert found["exact_captions"] < 0.3
    assert found["cider"] < 5
    assert "(it is " in evidence.texts["captions"]


def test_a_caption_that_is_cut_is_told_and_counts_no_bytes(captions: Dataset, spec: DataSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Says, "caption_length", 3)
    found = {figure.name: figure for figure in scored(captions, spec, right=True).figures}
    assert "caption_bits_per_byte" not in found
    assert "cut at 3 tokens" in found["caption_perplexity"].identity.preprocessing
