"""Retrieval figures against what can be worked out by hand."""

import math

import pytest
import torch

from components.evaluation.retrieval import chance_recall, recall_at, same_text


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
