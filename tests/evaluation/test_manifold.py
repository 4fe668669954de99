"""Neighbourhoods in feature space tell fidelity from variety."""

import pytest
import torch
from torch import Tensor

from components.evaluation import manifold
from components.evaluation.manifold import compare_manifolds


def cloud(num: int, seed: int, centre: float = 0.0) -> Tensor:
    return torch.randn(num, 4, generator=torch.Generator().manual_seed(seed)) + centre


def test_two_draws_of_one_distribution_cover_each_other() -> None:
    found = compare_manifolds(cloud(400, 0), cloud(400, 1))
    assert found.precision > 0.8
    assert found.recall > 0.8
    assert found.coverage > 0.9
    assert found.density == pytest.approx(1, abs=0.1)


def test_samples_far_from_everything_real_have_none_of_the_four() -> None:
    found = compare_manifolds(cloud(200, 0), cloud(200, 1, centre=50))
    assert (found.precision, found.recall, found.density, found.coverage) == (0, 0, 0, 0)


def test_a_constant_generator_is_precise_and_covers_nothing() -> None:
    real = cloud(300, 0)
    found = compare_manifolds(real, real.mean(0).expand(300, -1))
    assert found.precision == 1
    assert found.recall == 0
    assert found.coverage < 0.1


def test_recall_and_coverage_fall_when_a_class_is_taken_away_and_precision_does_not() -> None:
    real = torch.cat([cloud(200, 0), cloud(200, 1, centre=20)])
    whole = compare_manifolds(real, torch.cat([cloud(200, 2), cloud(200, 3, centre=20)]))
    half = compare_manifolds(real, torch.cat([cloud(200, 2), cloud(200, 3)]))
    assert half.recall < whole.recall - 0.3
    assert half.coverage < whole.coverage - 0.3
    assert half.precision == pytest.approx(whole.precision, abs=0.1)


def test_working_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compare_manifolds(cloud(100, 0), cloud(150, 1))
    monkeypatch.setattr(manifold, "_CHUNK", 7)
    assert compare_manifolds(cloud(100, 0), cloud(150, 1)) == whole


def test_the_counts_agree_with_a_plain_count() -> None:
    real, fake = cloud(30, 0), cloud(20, 1, centre=1)
    radius = torch.stack([(real - one).norm(dim=1).sort().values[5] for one in real])
    near = torch.stack([(fake - one).norm(dim=1) for one in real]) <= radius[:, None]
    found = compare_manifolds(real, fake)
    assert found.coverage == pytest.approx(near.any(1).float().mean().item())
    assert found.density == pytest.approx(near.float().sum(0).mean().item() / 5)
