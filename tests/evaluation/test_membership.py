"""Membership inference finds a generator that gives its training images away, and finds nothing where there is nothing to be found."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from components.data.dataset import Dataset, Split
from components.data.generated import SYNTHETIC
from components.evaluation.config import EvaluationConfig
from components.evaluation.documents import TextScore
from components.evaluation.membership import (
    AUC,
    BY_LOSS,
    RATE,
    Attack,
    NearestSample,
    area_under_curve,
    by_loss_of_images,
    by_loss_of_texts,
    membership_notes,
    people,
    rate_of_true_positives,
    real_training_images,
)
from components.evaluation.protocol import Figure, Recorded
from components.evaluation.scoring import Scoring
from components.models.capabilities import DataSpec
from tests.evaluation.conftest import Constant, Redraws, altered

SPEC = DataSpec("image", channels=1, image_size=8)


def scores(num: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(num, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def scoring_of(dataset: Dataset, cache: Path) -> Scoring:
    return Scoring(dataset, EvaluationConfig(), cache, "", SPEC)


def attacked(model: Redraws | Constant, dataset: Dataset, cache: Path) -> dict[str, Figure]:
    attack = NearestSample(scoring_of(dataset, cache))
    for seed in range(3):
        attack.look_at(model.sample_images(700, seed=seed))
    return {figure.name: figure for figure in attack.figures(Recorded())}


def test_the_area_is_the_chance_that_a_member_scores_higher() -> None:
    assert area_under_curve(Attack(scores(50, 0, 100), scores(50, 1)))[0] == 1
    assert area_under_curve(Attack(torch.zeros(20), torch.zeros(30)))[0] == 0.5
    shifted, _ = area_under_curve(Attack(scores(4000, 0, 1.0), scores(4000, 1)))
    assert shifted == pytest.approx(0.5 * (1 + math.erf(0.5)), abs=0.02)  # Phi(1 / sqrt 2)


def test_its_error_is_what_it_varies_by_from_draw_to_draw() -> None:
    drawn = [area_under_curve(Attack(scores(100, seed, 0.5), scores(150, 1000 + seed))) for seed in range(200)]
    values, errors = torch.tensor(drawn).T
    assert float(errors.mean()) == pytest.approx(float(values.std()), rel=0.15)


def test_the_rate_counts_members_above_all_but_one_in_a_hundred_of_the_others() -> None:
    others = torch.arange(200.0)
    assert rate_of_true_positives(Attack(torch.tensor([197.0, 197.5, 198.5, 300.0]), others)) == 0.75  # above 197, the third highest
    assert rate_of_true_positives(Attack(torch.tensor([198.0, 199.5]), torch.arange(199.0) + 1)) == 0.5  # one false positive of 199 is allowed


def test_a_generator_of_training_images_is_found_and_one_of_other_images_is_not(digits: Dataset, cache: Path) -> None:
    copies, fresh = attacked(Redraws(digits, "train", 0.02), digits, cache), attacked(Redraws(digits, "validation", 0.02), digits, cache)
    assert copies[AUC].value > 0.9
    assert copies[RATE].value > 0.8
    assert abs(fresh[AUC].value - 0.5) < 3 * (fresh[AUC].spread or 0)
    assert fresh[RATE].value < 0.05
    assert copies[AUC].goal == "min"
    assert (copies[AUC].floor, copies[RATE].floor) == (0.5, 7 / 736)


def test_the_area_falls_with_noise_on_the_copies(digits: Dataset, cache: Path) -> None:
    found = [attacked(Redraws(digits, "train", noise), digits, cache)[AUC].value for noise in (0.02, 0.2, 0.4)]
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.75


def test_a_collapsed_generator_gives_nobody_away(digits: Dataset, cache: Path) -> None:
    found = attacked(Constant(people(scoring_of(digits, cache)).others[0] / 255), digits, cache)
    assert abs(found[AUC].value - 0.5) < 3 * (found[AUC].spread or 0)


def test_two_generators_on_one_data_version_are_measured_under_one_protocol(digits: Dataset, cache: Path) -> None:
    one, other = attacked(Redraws(digits, "train", 0.1), digits, cache), attacked(Redraws(digits, "validation", 0.1), digits, cache)
    assert {name: figure.identity for name, figure in one.items()} == {name: figure.identity for name, figure in other.items()}


def test_few_rows_are_indicative_and_fewer_have_no_rate(digits: Dataset, cache: Path) -> None:
    scoring = scoring_of(digits, cache)
    some, _ = by_loss_of_images(scoring, Attack(scores(150, 0), scores(150, 1)), "bits")
    assert "at 0.67% false positives" in some[1].note
    assert all("indicative: 150 rows of each kind, 300 are needed" in figure.note for figure in some)
    few, notes = by_loss_of_images(scoring, Attack(scores(60, 0), scores(60, 1)), "bits")
    assert [figure.name for figure in few] == [AUC + BY_LOSS]
    assert notes == [f"{RATE}{BY_LOSS} is left out: it needs 100 test rows, and there are 60."]
    texts, notes = by_loss_of_texts(SimpleNamespace(), *([TextScore(1.0, 1, 1)] * 3 for _ in range(2)), "bits")  # type: ignore[arg-type]
    assert texts == []
    assert notes == [f"{AUC}{BY_LOSS} is left out: it needs 8 test documents, and there are 3."]


class PartlyDrawn(Dataset):
    """The first hundred training rows were drawn by a model."""

    def table(self, split: Split, columns: list[str] | None = None, augmented: bool = True):  # type: ignore[no-untyped-def]
        import pyarrow as pa

        found = super().table(split, columns, augmented)
        if columns != ["source"]:
            return found
        return pa.table({"source": [f"{SYNTHETIC}gan-digits/1, seed 0, row 0"] * 100 + found["source"].to_pylist()[100:]})


def test_rows_that_a_model_drew_are_no_members(digits: Dataset) -> None:
    partly = PartlyDrawn(digits.project, altered(digits).manifest)
    images, labels = real_training_images(partly, 8)
    whole, _ = real_training_images(digits, 8)
    assert len(images) == len(whole) - 100
    assert labels is not None
    assert len(labels) == len(images)
    assert torch.equal(images, whole[100:])


class AllDrawn(Dataset):
    """Every training row was drawn by a model."""

    def table(self, split: Split, columns: list[str] | None = None, augmented: bool = True):  # type: ignore[no-untyped-def]
        import pyarrow as pa

        found = super().table(split, columns, augmented)
        return pa.table({"source": [f"{SYNTHETIC}gan-digits/1, seed 0, row 0"] * len(found)}) if columns == ["source"] and split == "train" else found


def test_where_a_model_drew_every_training_row_there_are_no_members_and_that_is_said(digits: Dataset, cache: Path) -> None:
    dataset = AllDrawn(digits.project, altered(digits).manifest)
    attack = NearestSample(scoring_of(dataset, cache))
    attack.look_at(torch.rand(100, 1, 8, 8))
    assert attack.figures(Recorded()) == []
    wanted = f"{AUC} is left out: it needs 8 training rows that no model drew and as many test rows, and there are 0."
    assert membership_notes(len(attack.people.members), "") == [wanted]
