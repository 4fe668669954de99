"""A model that copies its training images is seen."""

import torch
from torch import Tensor

from components.evaluation.memorisation import nearest_training, neighbour_ratio


def pixels(num: int, seed: int) -> Tensor:
    return torch.randint(0, 256, (num, 1, 4, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def images(num: int, seed: int) -> Tensor:
    return pixels(num, seed) / 255


def test_the_nearest_training_image_is_found_wherever_it_stands() -> None:
    sought = images(5000, 0)[[7, 31, 4999]] + 0.001
    found = nearest_training(sought, pixels(5000, 0))
    assert found.place.tolist() == [7, 31, 4999]
    assert torch.allclose(found.distance, torch.full((3,), 0.004), atol=1e-3)


def test_fresh_images_have_a_ratio_of_about_one() -> None:
    assert abs(neighbour_ratio(images(400, 1), images(400, 2), pixels(400, 0)) - 1) < 0.05


def test_training_images_with_a_little_noise_have_a_ratio_near_zero() -> None:
    train = images(400, 0)
    assert neighbour_ratio(train + 0.01 * torch.randn(train.shape), images(400, 2), pixels(400, 0)) < 0.1


def test_the_ratio_falls_with_the_share_of_copies() -> None:
    train, fresh = images(400, 0), images(400, 1)
    ratios = [neighbour_ratio(torch.cat([train[:copies], fresh[copies:]]), images(400, 2), pixels(400, 0)) for copies in (0, 100, 300)]
    assert ratios[0] > ratios[1] > ratios[2]
