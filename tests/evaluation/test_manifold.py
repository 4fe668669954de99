"""Neighbourhoods in feature space tell fidelity from variety."""

import subprocess
import sys
from dataclasses import astuple

import pytest
import torch
from torch import Tensor

from components.evaluation.manifold import compare_manifolds, neighbourhoods


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


@pytest.mark.parametrize("tile", [7, 64, 150])
def test_the_size_of_the_tiles_changes_nothing(tile: int) -> None:
    assert compare_manifolds(cloud(100, 0), cloud(150, 1), tile=tile) == compare_manifolds(cloud(100, 0), cloud(150, 1))


def test_features_far_from_zero_lose_nothing_to_the_matrix_product() -> None:
    real, fake = cloud(200, 0), cloud(200, 1)
    assert astuple(compare_manifolds(real + 1000, fake + 1000)) == pytest.approx(astuple(compare_manifolds(real, fake)), abs=0.01)


def test_neighbourhoods_measured_once_serve_every_draw() -> None:
    known = neighbourhoods(cloud(200, 0))
    assert [compare_manifolds(known, cloud(200, seed)) for seed in (1, 2)] == [compare_manifolds(cloud(200, 0), cloud(200, seed)) for seed in (1, 2)]


def test_an_image_that_stands_there_twice_has_its_double_as_nearest_other() -> None:
    assert neighbourhoods(cloud(10, 0).repeat(7, 1)).radii_5.max() < 1e-5


@pytest.mark.slow
def test_memory_grows_with_the_images_and_not_with_their_square() -> None:
    """All distances of 12,000 images would take 550 MiB; measured in a process of its own, for torch's memory is unseen by tracemalloc."""
    script = """
import resource, torch
from components.evaluation.manifold import compare_manifolds
torch.set_num_threads(1)
a, b = torch.randn(12000, 16), torch.randn(12000, 16)
compare_manifolds(a[:3000], b[:3000])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
compare_manifolds(a, b)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 150


def test_the_counts_agree_with_a_plain_count() -> None:
    real, fake = cloud(30, 0), cloud(20, 1, centre=1)
    radius = torch.stack([(real - one).norm(dim=1).sort().values[5] for one in real])
    near = torch.stack([(fake - one).norm(dim=1) for one in real]) <= radius[:, None]
    found = compare_manifolds(real, fake)
    assert found.coverage == pytest.approx(near.any(1).float().mean().item())
    assert found.density == pytest.approx(near.float().sum(0).mean().item() / 5)
