"""Figures of images agree with what is known: zero for the same, worse with noise, and never without their protocol."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image
from torch import Tensor

from components.data.dataset import Dataset
from components.errors import UserError
from components.evaluation.alarms import MEMORISATION
from components.evaluation.config import EvaluationConfig
from components.evaluation.evaluate import evaluate, require_enough
from components.evaluation.evidence import Evidence
from components.evaluation.frechet import Moments, frechet_at_infinity, frechet_distance, least_for_infinity, moments
from components.evaluation.images import independent_pixels_bits
from components.evaluation.library_metrics import inception_score, kernel_distance
from components.evaluation.protocol import Figure, mismatch
from components.evaluation.scoring import LEAST_IMAGES
from components.evaluation.telling import SILENT
from components.models.capabilities import OWN_SETTINGS, DataSpec, SamplerSettings
from components.models.vae.config import VaeConfig
from components.models.vae.model import Vae
from tests.evaluation.conftest import Constant, Redraws, altered, read_images

SPEC = DataSpec("image", channels=1, image_size=8, class_names=tuple("0123456789"))


def normal(num: int, dim: int, seed: int, scale: float = 1.0) -> Tensor:
    return torch.randn(num, dim, generator=torch.Generator().manual_seed(seed)) * scale


def score(model: object, dataset: Dataset, cache: Path, spec: DataSpec = SPEC, **config: object) -> Evidence:
    return evaluate(model, dataset, spec, config=EvaluationConfig(**config), cache=cache, tell=SILENT)


def tiny_vae(**settings: object) -> Vae:
    return Vae(VaeConfig(**{"width": 8, "latent_dim": 4, "levels": 17, "importance_samples": 2, **settings}), SPEC)


def bits_figure(evidence: Evidence) -> Figure:
    return next(figure for figure in evidence.figures if figure.name == "bits_per_dim")


def values(evidence: Evidence) -> dict[str, float]:
    return {figure.name: figure.value for figure in evidence.figures}


# -- the measures themselves -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num", "dim"), [(500, 8), (400, 32), (600, 128), (40, 64)])
def test_frechet_distance_agrees_with_scipys_matrix_root(num: int, dim: int) -> None:
    mixing = normal(dim, dim, seed=2)
    a, b = moments(normal(num, dim, seed=0) @ mixing), moments(normal(num, dim, seed=1) @ mixing.T + 0.3)
    root = scipy.linalg.sqrtm(a.covariance.numpy() @ b.covariance.numpy()).real
    expected = float((a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace()) - 2 * np.trace(root)
    # With fewer rows than features the product is singular, where scipy's root itself is good to about 1e-4.
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6 if num > dim else 1e-3)


def test_frechet_distance_of_a_set_to_itself_is_zero_and_it_is_symmetric() -> None:
    a, b = moments(normal(200, 16, seed=0)), moments(normal(300, 16, seed=1, scale=2))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)


def test_frechet_distance_bears_a_feature_that_never_changes() -> None:
    a, b = normal(200, 4, seed=0), normal(200, 4, seed=1)
    a[:, 2] = b[:, 2] = 1.0
    assert 0 <= frechet_distance(moments(a), moments(b)) < 1


def test_at_infinity_the_bias_of_few_samples_is_gone() -> None:
    truth = Moments(torch.zeros(16, dtype=torch.float64), torch.eye(16, dtype=torch.float64))
    for shift in (0.0, 0.3):
        draws = [normal(320, 16, seed=seed) + shift for seed in range(6)]
        draws = [draw[draw[:, 0].argsort()] for draw in draws]  # as draws that stand by class
        biased = sum(frechet_distance(truth, moments(draw)) for draw in draws) / 6
        unbiased = sum(frechet_at_infinity(draw, truth) for draw in draws) / 6
        expected = 16 * shift**2
        assert biased > expected + 0.2
        assert unbiased == pytest.approx(expected, abs=0.2 * (biased - expected))


def test_at_infinity_needs_parts_of_full_rank() -> None:
    truth, least = moments(normal(500, 8, seed=0)), least_for_infinity(8)
    frechet_at_infinity(normal(least, 8, seed=1), truth)
    with pytest.raises(AssertionError):
        frechet_at_infinity(normal(least - 1, 8, seed=1), truth)


def test_kernel_distance_is_about_zero_for_one_distribution_and_grows_with_the_shift() -> None:
    a, b = normal(400, 8, seed=0), normal(400, 8, seed=1)
    same = kernel_distance(a, b, 200, seed=0)
    assert abs(same.value) < 0.05
    assert 0 < same.subset_spread < 0.1
    assert same.value < kernel_distance(a, b + 0.5, 200, seed=0).value < kernel_distance(a, b + 1, 200, seed=0).value
    assert same == kernel_distance(a, b, 200, seed=0)


def test_inception_score_is_one_for_a_constant_and_the_number_of_classes_at_best() -> None:
    assert inception_score(torch.tensor([[3.0, 0.0, -1.0]]).expand(50, 3)) == pytest.approx(1, abs=1e-6)
    assert inception_score(torch.eye(10).repeat(20, 1) * 100) == pytest.approx(10, rel=1e-6)


def test_the_baseline_of_bits_per_dim_is_the_entropy_of_independent_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    train, test = (torch.randint(0, 4, (20_000, 1, 2, 2), generator=generator) for _ in range(2))
    assert independent_pixels_bits((85 * train).to(torch.uint8), test / 3, levels=4) == pytest.approx(2, abs=0.01)


# -- on real digits ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_real_images_score_like_the_floor_and_noise_makes_it_worse_step_by_step(digits: Dataset, cache: Path) -> None:
    scores = [values(score(Redraws(digits, "train", noise), digits, cache)) for noise in (0.0, 0.1, 0.3)]
    floor = next(figure.floor for figure in score(Redraws(digits), digits, cache).figures if figure.name == "fid_own")
    assert floor is not None
    assert scores[0]["fid_own"] < 3 * floor
    for name in ("fid_own", "kid_own"):
        assert scores[0][name] < scores[1][name] < scores[2][name]
    assert scores[0]["inception_score_own"] > scores[2]["inception_score_own"] > 1


@pytest.mark.slow
def test_the_test_split_itself_scores_nearly_zero(digits: Dataset, cache: Path) -> None:
    class Copies(Redraws):
        def sample_images(self, num: int, *, seed: int, labels: Tensor | None = None, settings: SamplerSettings = OWN_SETTINGS) -> Tensor:
            start = 256 * (seed // 1_000_003)
            return self.images[start : start + num]

    scores = values(score(Copies(digits, "test"), digits, cache))
    assert scores["fid_own"] == pytest.approx(0, abs=1e-6)
    assert scores["kid_own"] < 0.05


def test_a_collapsed_generator_is_found_out(digits: Dataset, cache: Path) -> None:
    scores = values(score(Constant(Redraws(digits).images[:1]), digits, cache))
    assert scores["inception_score_own"] == pytest.approx(1, abs=1e-3)
    assert scores["fid_own"] > 20


@pytest.mark.slow
def test_every_figure_carries_its_protocol(digits: Dataset, cache: Path) -> None:
    evidence = score(tiny_vae(), digits, cache)
    of_samples = {f"{name}_own" for name in ("fid", "fid_infinity", "kid", "inception_score", "precision", "recall", "density", "coverage")}
    of_samples |= {"class_histogram_distance_own", "modes_own", "neighbour_ratio", "closest_record_ratio", "membership_auc", "membership_tpr_at_1_fpr"}
    if not any(note.startswith("data_copying is left out") for note in evidence.notes):  # an untrained model draws one kind of image
        of_samples |= {"data_copying"}
    of_likelihood = {"bits_per_dim", "membership_auc_by_loss", "membership_tpr_at_1_fpr_by_loss"}
    assert set(values(evidence)) == of_samples | of_likelihood | {"reconstruction_psnr", "active_units", "fid_own_before_prior"}
    for figure in evidence.figures:
        identity = figure.identity
        assert identity.metric == figure.name
        assert identity.split == "test"
        assert identity.reference_sha256 == digits.manifest.sha256
        assert identity.num_samples == (500 if figure.name.endswith("_by_loss") else digits.manifest.rows("test"))
        assert bool(identity.extractor_sha256) == ("_own" in figure.name)
        assert identity.preprocessing
        assert len(figure.recorded.code) == 64
    of_vae = {"samples", "nearest", "reconstructions", "interpolations", "traversals", "latent_map", "prior"}
    assert {name for name, png in evidence.pictures.items() if Image.open(io.BytesIO(png)).format == "PNG"} == of_vae
    assert any("names 9" in note for note in evidence.notes)


def test_a_generator_that_returns_training_images_is_called_a_copier(digits: Dataset, cache: Path) -> None:
    evidence = score(Redraws(digits, split="train"), digits, cache, num_samples=400)
    assert values(evidence)["neighbour_ratio"] < 0.1
    assert values(evidence)["data_copying"] < MEMORISATION["data_copying"]
    assert any("near copies of training images" in note for note in evidence.notes)
    assert not any("mode collapse" in note for note in evidence.notes)


def test_a_constant_generator_is_called_collapsed(digits: Dataset, cache: Path) -> None:
    evidence = score(Constant(Redraws(digits, "test").images[:1]), digits, cache, num_samples=100)
    assert values(evidence)["recall_own"] < 0.05
    assert values(evidence)["modes_own"] == 1
    assert values(evidence)["class_histogram_distance_own"] > 0.8
    assert all(math.isfinite(number) for figure in evidence.figures for number in (figure.value, figure.spread or 0, figure.floor or 0))
    assert any("mode collapse" in note for note in evidence.notes)


def test_a_generator_that_leaves_a_class_out_is_found_out(digits: Dataset, cache: Path) -> None:
    whole, less = Redraws(digits, "validation"), Redraws(digits, "validation")
    labels = read_images(digits, "validation")[1]
    assert labels is not None
    less.images = less.images[labels != 3]
    before, after = (values(score(model, digits, cache)) for model in (whole, less))
    assert before["modes_own"] == 10
    assert after["modes_own"] == 9
    assert after["class_histogram_distance_own"] > before["class_histogram_distance_own"] + 0.03
    for name in ("recall_own", "coverage_own", "inception_score_own"):
        assert after[name] < before[name]
    for name in ("fid_own", "fid_infinity_own", "kid_own"):
        assert after[name] > before[name]


def test_a_generator_of_numbers_that_are_none_is_refused_with_a_sentence(digits: Dataset, cache: Path) -> None:
    with pytest.raises(UserError, match="own-classifier-32 gives features that are no finite numbers for the samples: train with a lower learning_rate"):
        score(Constant(torch.full((1, 1, 8, 8), math.nan)), digits, cache, num_samples=100)


def test_unseen_real_images_raise_no_alarm(digits: Dataset, cache: Path) -> None:
    evidence = score(Redraws(digits, split="validation"), digits, cache)
    assert not any("ALARM" in note for note in evidence.notes)
    assert values(evidence)["neighbour_ratio"] == pytest.approx(1, abs=0.15)


def test_scoring_twice_gives_the_same_figures(digits: Dataset, cache: Path) -> None:
    model = Redraws(digits, noise=0.2)
    assert score(model, digits, cache, num_samples=100).figures == score(model, digits, cache, num_samples=100).figures


@pytest.mark.slow
def test_another_number_of_samples_or_of_levels_does_not_compare(digits: Dataset, cache: Path) -> None:
    few, many = (score(Redraws(digits), digits, cache, num_samples=num).figures[0] for num in (100, 200))
    assert mismatch(few, many) == "num_samples"
    coarse, fine = (bits_figure(score(tiny_vae(levels=levels), digits, cache)) for levels in (17, 256))
    assert mismatch(coarse, fine) == "preprocessing"


@pytest.mark.slow
def test_without_labels_the_inception_score_is_left_out_with_the_reason(unlabelled: Dataset, cache: Path) -> None:
    evidence = score(Redraws(unlabelled), unlabelled, cache, DataSpec("image", channels=1, image_size=8))
    of_features = {f"{name}_own" for name in ("fid", "fid_infinity", "kid", "precision", "recall", "density", "coverage", "modes")}
    assert set(values(evidence)) == of_features | {"neighbour_ratio", "data_copying", "closest_record_ratio", "membership_auc", "membership_tpr_at_1_fpr"}
    assert values(evidence)["modes_own"] == 36  # regions of the training images, in place of classes
    assert any("inception_score_own is left out" in note for note in evidence.notes)
    assert evidence.figures[0].identity.extractor == "own-vicreg-32"


def test_few_samples_are_marked_as_indicative(digits: Dataset, cache: Path) -> None:
    assert "indicative: 100 images" in score(Redraws(digits), digits, cache, num_samples=100).figures[0].note
    assert not score(Redraws(digits), digits, cache).figures[0].note


def test_a_figure_that_needs_more_samples_is_left_out_with_the_least_number(digits: Dataset, cache: Path) -> None:
    evidence = score(Redraws(digits), digits, cache, num_samples=LEAST_IMAGES)
    assert "fid_infinity_own" not in values(evidence)
    assert any("fid_infinity_own is left out: it needs 136 samples and test images" in note for note in evidence.notes)


def test_the_kernel_distance_says_how_sure_it_is_over_subsets_and_seeds(digits: Dataset, cache: Path) -> None:
    kid = next(figure for figure in score(Redraws(digits), digits, cache).figures if figure.name == "kid_own")
    assert "95 % interval over subsets" in kid.note
    assert "over sampling seeds" in kid.note
    assert kid.spread is not None


def test_more_samples_than_training_images_leave_out_the_floor_and_say_so(digits: Dataset, cache: Path) -> None:
    evidence = score(Redraws(digits), digits, cache, num_samples=1000)
    assert evidence.figures[0].floor is None
    assert any("floors are left out" in note for note in evidence.notes)


def test_too_few_samples_or_images_are_refused_with_the_least_number(digits: Dataset, cache: Path) -> None:
    with pytest.raises(UserError, match=f"num_samples is 10 and fid_own needs at least {LEAST_IMAGES}"):
        score(Redraws(digits), digits, cache, num_samples=10)
    shards = [{**shard.model_dump(), "rows": 12 if shard.split == "test" else shard.rows} for shard in digits.manifest.shards]
    with pytest.raises(UserError, match=rf"test split of 'digits' has 12 images and fid_own needs at least {LEAST_IMAGES}"):
        require_enough(altered(digits, shards=shards))


def test_the_model_comes_back_in_the_mode_it_was_in(digits: Dataset, cache: Path) -> None:
    model = Redraws(digits).train()
    score(model, digits, cache)
    assert model.training
