"""Retrieval figures against what can be worked out by hand."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from components.data.dataset import Dataset
from components.evaluation import captions as captioning
from components.evaluation import retrieval
from components.evaluation.config import EvaluationConfig
from components.evaluation.evaluate import evaluate
from components.evaluation.evidence import Evidence
from components.evaluation.features import as_images
from components.evaluation.retrieval import chance_median_rank, chance_recall, ranks_of, read_pairs, recall_at, same_text
from components.evaluation.scoring import shuffled
from components.evaluation.telling import SILENT
from components.models.capabilities import DataSpec
from components.models.family import find_family
from components.models.token_rows import token_rows
from components.project import Project
from components.training import datamodules
from tests.evaluation.conftest import no_spread, read_images


def test_recall_counts_the_queries_whose_partner_is_among_the_first() -> None:
    similarity = torch.tensor([[0.9, 0.1, 0.2], [0.8, 0.5, 0.1], [0.3, 0.2, 0.1]])
    own = torch.eye(3, dtype=torch.bool)
    assert recall_at(similarity, own, 1).tolist() == [1, 0, 0]
    assert recall_at(similarity, own, 2).tolist() == [1, 1, 0]
    assert recall_at(similarity, own, 10).tolist() == [1, 1, 1]


def test_texts_that_read_the_same_count_as_one() -> None:
    assert same_text(["a", "b", "a"]).tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    similarity = torch.tensor([[0.1, 0.2, 0.9]])
    assert recall_at(similarity, same_text(["a", "b", "a"])[:1], 1).item() == 1


@pytest.mark.parametrize(("pool", "k"), [(10, 1), (10, 5), (1000, 10), (3, 5)])
def test_chance_is_the_share_of_the_pool_that_is_looked_at(pool: int, k: int) -> None:
    assert chance_recall(torch.eye(pool, dtype=torch.bool), k) == pytest.approx(min(1, k / pool))


def test_chance_knows_of_several_partners() -> None:
    # 2 of 4 fit: the first two both miss with 2/4 · 1/3.
    assert chance_recall(same_text(["a", "a", "b", "b"]), 2) == pytest.approx(1 - 2 / 4 * 1 / 3)


def test_chance_is_what_random_orders_reach() -> None:
    partners = same_text([str(number % 7) for number in range(50)])
    generator = torch.Generator().manual_seed(0)
    found = [recall_at(torch.rand(50, 50, generator=generator), partners, 3).mean().item() for _ in range(200)]
    assert math.isclose(sum(found) / len(found), chance_recall(partners, 3), abs_tol=0.02)


def test_the_median_rank_of_random_orders_is_that_of_chance_and_of_perfect_ones_the_first() -> None:
    partners = same_text([str(number % 7) for number in range(50)])
    generator = torch.Generator().manual_seed(0)
    found = [ranks_of(torch.rand(50, 50, generator=generator), partners).median().item() for _ in range(200)]
    assert math.isclose(sum(found) / len(found), chance_median_rank(partners), abs_tol=0.6)
    assert ranks_of(partners.float(), partners).tolist() == [1.0] * 50
    assert chance_median_rank(torch.eye(1000, dtype=torch.bool)) == 500


def test_vectors_that_are_all_the_same_have_no_good_rank() -> None:
    alike = torch.zeros(11, 11)
    assert ranks_of(alike, torch.eye(11, dtype=torch.bool)).tolist() == [6.0] * 11


class Knows(nn.Module):
    """Finds every partner: a caption has the vector of the first image that it stands under."""

    def __init__(self, dataset: Dataset, spec: DataSpec, *, right: bool) -> None:
        super().__init__()
        self.images, labels = read_images(dataset, "test")
        assert labels is not None
        self.labels = labels if right else labels.roll(1)
        captions = dataset.table("test", columns=["caption"])["caption"].to_pylist()
        self.caption_length, self.num_classes = 16, len(dataset.class_names)
        self.rows = token_rows(spec.tokenizer, captions, self.caption_length).tokens
        self.true = labels

    def embed_images(self, images: Tensor) -> Tensor:
        found = torch.cdist(images.flatten(1), self.images.flatten(1)).argmin(1)
        return nn.functional.one_hot(self.labels[found], self.num_classes).float()

    def embed_captions(self, tokens: Tensor) -> Tensor:
        found = (tokens[:, None] == self.rows[None]).all(2).int().argmax(1)
        return nn.functional.one_hot(self.true[found], self.num_classes).float()

    def class_probabilities(self, images: Tensor) -> Tensor:
        return self.embed_images(images)


@pytest.fixture(scope="module")
def captions(dataset_project: Project) -> Dataset:
    return Dataset.open(dataset_project, "captions")


@pytest.fixture(scope="module")
def spec(captions: Dataset, tmp_path_factory: pytest.TempPathFactory) -> DataSpec:
    return datamodules.describe(captions, find_family("clip").config(), tmp_path_factory.mktemp("cache"))


def scored(captions: Dataset, spec: DataSpec, *, right: bool) -> Evidence:
    return evaluate(Knows(captions, spec, right=right), captions, spec, config=EvaluationConfig(), cache=Path(), tell=SILENT)


def test_a_model_that_knows_every_partner_has_all_figures_at_one(captions: Dataset, spec: DataSpec) -> None:
    found = {figure.name: figure for figure in scored(captions, spec, right=True).figures}
    assert set(found) == {
        "recall_at_1",
        "zero_shot_accuracy",
        *(f"{way}_{what}" for way in ("image_to_text", "text_to_image") for what in ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank")),
    }
    assert no_spread(scored(captions, spec, right=True)) == set()
    assert all(figure.value == 1 for figure in found.values())
    pool = captions.manifest.rows("test")
    assert found["recall_at_1"].identity.num_samples == pool
    assert 0.05 < (found["recall_at_1"].floor or 0) < 0.2, "ten captions, each of about a tenth of the pool"
    assert (found["image_to_text_recall_at_10"].floor or 0) > (found["image_to_text_recall_at_1"].floor or 0)


def test_a_model_that_mixes_them_up_falls_back_to_chance_and_shows_it(captions: Dataset, spec: DataSpec) -> None:
    evidence = scored(captions, spec, right=False)
    found = {figure.name: figure for figure in evidence.figures}
    assert found["recall_at_1"].value < 0.4
    assert found["zero_shot_accuracy"].value < 0.4
    assert found["image_to_text_median_rank"].value > 5
    assert found["text_to_image_median_rank"].goal == "min"
    assert set(evidence.pictures) == {"retrieval"}
    assert "finds" in evidence.texts["retrieval"]


def test_of_a_large_test_split_only_what_is_looked_at_becomes_floats(captions: Dataset, spec: DataSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    scaled: list[int] = []

    def counting(pixels: Tensor) -> Tensor:
        scaled.append(len(pixels))
        return as_images(pixels)

    for module in (retrieval, captioning):
        monkeypatch.setattr(module, "as_images", counting)
    monkeypatch.setattr(captioning, "MOST_IMAGES", 4)
    images, labels, _ = read_pairs(captions, spec, 0, most=3)
    captioned = captioning.read_captioned(captions, spec, 0)
    assert scaled == [len(images), len(captioned.images)] == [3, 4]
    every, known = read_images(captions, "test")
    assert known is not None
    assert labels is not None
    assert torch.equal(images, every[shuffled(len(every), 0)[:3]])
    assert torch.equal(labels, known[shuffled(len(every), 0)[:3]])
