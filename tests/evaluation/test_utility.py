"""Training on samples and testing on real images: as good as real rows where samples are as good, worthless where they are mislabelled."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from components.data.dataset import Dataset
from components.evaluation.config import EvaluationConfig
from components.evaluation.protocol import Figure, Recorded
from components.evaluation.sample_figures import requested_utility
from components.evaluation.sampling import labels_like_train
from components.evaluation.scoring import Scoring
from components.evaluation.telling import SILENT
from components.models.capabilities import OWN_SETTINGS, DataSpec, SamplerSettings
from tests.evaluation.conftest import Redraws, read_images


class OfClasses(nn.Module):
    """Draws real training images of the class that is asked for, or of the one ``off`` places further."""

    conditional = True

    def __init__(self, dataset: Dataset, off: int = 0) -> None:
        super().__init__()
        images, labels = read_images(dataset, "train")
        assert labels is not None
        self.by_class = [images[labels == (index + off) % 10] for index in range(10)]

    def sample_images(self, num: int, *, seed: int, labels: Tensor | None = None, settings: SamplerSettings = OWN_SETTINGS) -> Tensor:
        assert labels is not None
        generator = torch.Generator().manual_seed(seed)
        chosen = [self.by_class[label][torch.randint(len(self.by_class[label]), (1,), generator=generator)] for label in labels.tolist()]
        return torch.cat(chosen)


def scoring_of(dataset: Dataset, cache: Path, *, wanted: bool = True) -> Scoring:
    spec = DataSpec("image", channels=1, image_size=8, class_names=dataset.class_names)
    return Scoring(dataset, EvaluationConfig(utility=wanted), cache, "", spec)


def utility(model: OfClasses, dataset: Dataset, cache: Path) -> dict[str, Figure]:
    found = requested_utility(model, scoring_of(dataset, cache))
    assert found is not None
    for seed in range(3):
        labels = labels_like_train(dataset, model, 700)
        assert labels is not None
        found.look_at(model.sample_images(700, seed=seed, labels=labels), labels)
    return {figure.name: figure for figure in found.figures(Recorded(), SILENT)}


@pytest.mark.slow
def test_samples_as_good_as_real_rows_train_as_well_and_mislabelled_ones_do_not(digits: Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.evaluation.utility.CLASSIFIER_SEEDS", 2)
    good, wrong = utility(OfClasses(digits), digits, cache), utility(OfClasses(digits, off=1), digits, cache)
    floor = good["accuracy_tstr"].floor or 0
    assert floor > 0.9
    assert good["accuracy_tstr"].value == pytest.approx(floor, abs=0.05)
    assert wrong["accuracy_tstr"].value < 0.1
    assert wrong["accuracy_augmented"].value < good["accuracy_augmented"].value - 0.1
    assert wrong["accuracy_tstr"].floor == floor
    assert all(figure.spread is not None and figure.spread_over == "2 classifier seeds" for figure in good.values())
    assert "896 samples" in good["accuracy_tstr"].identity.preprocessing
    assert good["accuracy_tstr"].identity == wrong["accuracy_tstr"].identity


def test_it_is_measured_only_where_it_is_asked_for_and_samples_have_classes(digits: Dataset, unlabelled: Dataset, cache: Path) -> None:
    assert requested_utility(OfClasses(digits), scoring_of(digits, cache)) is not None
    assert requested_utility(OfClasses(digits), scoring_of(digits, cache, wanted=False)) is None
    assert requested_utility(Redraws(digits), scoring_of(digits, cache)) is None
    assert requested_utility(OfClasses(digits), scoring_of(unlabelled, cache)) is None


def test_asking_for_it_changes_the_identity_of_an_evaluation_and_leaving_it_does_not() -> None:
    assert "utility" not in EvaluationConfig().identity()
    assert EvaluationConfig(utility=True).identity() != EvaluationConfig().identity()
