"""Folding lays pixels into channels and back without losing one."""

import pytest
import torch

from components.models.layers.folding import fold_factor, folded, unfolded


@pytest.mark.parametrize(("side", "working_side", "factor"), [(8, 8, 1), (9, 8, 2), (16, 8, 2), (28, 8, 4), (32, 8, 4), (64, 8, 8), (32, 32, 1), (8, 32, 1)])
def test_the_factor_brings_images_to_the_working_side(side: int, working_side: int, factor: int) -> None:
    assert fold_factor(side, working_side) == factor


@pytest.mark.parametrize(("side", "factor", "multiple", "maps"), [(8, 1, 1, 8), (32, 4, 1, 8), (28, 4, 2, 8), (9, 2, 1, 5), (12, 2, 4, 8)])
def test_what_is_folded_comes_back_as_it_was(side: int, factor: int, multiple: int, maps: int) -> None:
    images = torch.rand(2, 3, side, side)
    there = folded(images, factor, multiple)
    assert there.shape == (2, 3 * factor**2, maps, maps)
    assert torch.equal(unfolded(there, factor, side), images)
