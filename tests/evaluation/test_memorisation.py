"""A model that copies its training images is seen."""

from pathlib import Path

import pyarrow as pa
import pytest
import scipy.stats
import torch
from torch import Tensor

from components.data.dataset import Dataset, Split
from components.evaluation.alarms import MEMORISATION
from components.evaluation.config import EvaluationConfig
from components.evaluation.copying import Copying
from components.evaluation.features import read_pixels
from components.evaluation.memorisation import IN_A_CELL, Cells, data_copying, nearest_training, neighbour_ratio, rank_z_score
from components.evaluation.scoring import Scoring, shuffled
from components.models.capabilities import DataSpec


def pixels(num: int, seed: int) -> Tensor:
    return torch.randint(0, 256, (num, 1, 4, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def images(num: int, seed: int) -> Tensor:
    return pixels(num, seed) / 255


def test_the_nearest_training_image_is_found_wherever_it_stands() -> None:
    sought = images(5000, 0)[[7, 31, 4999]] + 0.001
    found = nearest_training(sought, pixels(5000, 0))
    assert found.place.tolist() == [7, 31, 4999]
    assert torch.allclose(found.distance, torch.full((3,), 0.004), atol=1e-3)


def ratio(samples: Tensor) -> float:
    return neighbour_ratio(nearest_training(samples, pixels(400, 0)), nearest_training(images(400, 2), pixels(400, 0)))


def test_fresh_images_have_a_ratio_of_about_one() -> None:
    assert abs(ratio(images(400, 1)) - 1) < 0.05


def test_training_images_with_a_little_noise_have_a_ratio_near_zero() -> None:
    train = images(400, 0)
    assert ratio(train + 0.01 * torch.randn(train.shape)) < 0.1


def test_the_ratio_falls_with_the_share_of_copies() -> None:
    train, fresh = images(400, 0), images(400, 1)
    ratios = [ratio(torch.cat([train[:copies], fresh[copies:]])) for copies in (0, 100, 300)]
    assert ratios[0] > ratios[1] > ratios[2]


class ByClass(Dataset):
    """The same rows, stored class by class."""

    def table(self, split: Split, columns: list[str] | None = None, augmented: bool = True) -> pa.Table:
        return super().table(split, columns=columns, augmented=augmented).sort_by("label")


def test_test_images_of_a_split_stored_by_class_are_of_all_classes(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.evaluation.copying.MOST_SCORED", 60)
    dataset = ByClass(digits.project, digits.manifest)
    spec = DataSpec("image", channels=1, image_size=8, class_names=digits.class_names)
    copying = Copying(Scoring(dataset, EvaluationConfig(), tmp_path, "", spec))
    _, labels = read_pixels(dataset, "train", augmented=True)
    assert labels is not None
    nearest = labels[shuffled(len(labels), 0)][copying.test.place]
    assert len(nearest) == 60
    assert len(set(nearest.tolist())) > 7


# -- the test for copies -----------------------------------------------------------------------------------------


def copied(samples: Tensor, num_test: int = 400) -> float | None:
    train, test = pixels(400, 0), images(num_test, 2)
    cells = Cells(train, len(test))
    return data_copying(nearest_training(samples, train).distance, nearest_training(test, train).distance, cells.place(samples), cells.place(test))


def test_the_rank_score_is_that_of_mann_and_whitney() -> None:
    a, b = torch.tensor([0.1, 0.4, 0.4, 0.9, 0.2]), torch.tensor([0.3, 0.4, 0.8, 1.0, 0.7, 0.6])
    u = scipy.stats.mannwhitneyu(a.numpy(), b.numpy()).statistic
    assert rank_z_score(a, b) == pytest.approx((u - 15) / (5 * 6 * 12 / 12) ** 0.5)


def test_fresh_images_are_no_copies_and_training_images_are() -> None:
    fresh, copies, noisy = copied(images(400, 1)), copied(images(400, 0)), copied(images(400, 0) + 0.05 * torch.randn(400, 1, 4, 4))
    assert fresh is not None
    assert copies is not None
    assert noisy is not None
    assert abs(fresh) < 2
    assert copies < MEMORISATION["data_copying"]
    assert noisy < MEMORISATION["data_copying"]


def test_copies_of_one_kind_are_found_among_fresh_ones_of_others() -> None:
    train, test = torch.cat([images(200, 0) * 0.2, images(200, 1)]), torch.cat([images(200, 2) * 0.2, images(200, 3)])
    bytes_ = (255 * train).round().to(torch.uint8)
    cells = Cells(bytes_, 120)
    known = nearest_training(test, bytes_).distance
    fresh = torch.cat([images(200, 4) * 0.2, images(200, 5)])
    half = torch.cat([train[:200], images(200, 5)])
    scores = [data_copying(nearest_training(one, bytes_).distance, known, cells.place(one), cells.place(test)) for one in (fresh, half)]
    assert scores[0] is not None
    assert scores[1] is not None
    assert scores[1] < scores[0] - 3


def test_without_enough_images_in_any_region_there_is_no_score() -> None:
    assert copied(images(IN_A_CELL - 1, 1)) is None
    assert copied(images(400, 1), num_test=IN_A_CELL - 1) is None
