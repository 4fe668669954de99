"""The dataset's own extractor: good enough to measure with, the same every time, trained once."""

from pathlib import Path

import pytest
import torch

from components.data.dataset import Dataset
from components.evaluation.extractors import split_seen
from components.evaluation.features import FEATURES, own_extractor
from components.evaluation.telling import SILENT, Silent
from tests.evaluation.conftest import altered, read_images


class Heard(Silent):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def progress(self, message: str, done: int, total: int) -> None:
        self.messages += [] if message in self.messages else [message]


@pytest.mark.slow
def test_the_classifier_knows_digits_it_has_not_seen(digits: Dataset, cache: Path) -> None:
    extractor = own_extractor(digits, cache, SILENT)
    assert extractor.name == f"own-classifier-{FEATURES}"
    assert extractor.test_accuracy is not None
    assert extractor.test_accuracy > 0.96


@pytest.mark.slow
def test_training_it_again_gives_the_same_weights_on_any_number_of_threads(digits: Dataset, cache: Path, tmp_path: Path) -> None:
    first = own_extractor(digits, cache, SILENT)
    torch.manual_seed(123)
    torch.set_num_threads(2)
    assert own_extractor(digits, tmp_path, SILENT).sha256 == first.sha256


def test_it_is_trained_once_and_leaves_the_random_state_alone(digits: Dataset, cache: Path) -> None:
    own_extractor(digits, cache, SILENT)
    heard = Heard()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    own_extractor(digits, cache, heard)
    assert torch.equal(torch.rand(3), expected)
    assert heard.messages == []


@pytest.mark.slow
def test_another_data_version_has_an_extractor_of_its_own(digits: Dataset, cache: Path) -> None:
    own_extractor(digits, cache, SILENT)
    heard = Heard()
    own_extractor(altered(digits, licence="another"), cache, heard)
    assert heard.messages == ["training the feature extractor of digits (classifier)"]
    assert len(list((cache / "extractors").glob("*.safetensors"))) >= 2
    assert not list(cache.rglob("*.partial"))


@pytest.mark.slow
def test_without_labels_the_features_still_tell_digits_apart(unlabelled: Dataset, digits: Dataset, cache: Path) -> None:
    extractor = own_extractor(unlabelled, cache, SILENT)
    assert extractor.name == f"own-vicreg-{FEATURES}"
    assert extractor.test_accuracy is None
    with pytest.raises(AssertionError):
        extractor.logits(torch.zeros(1, FEATURES))
    train, train_labels = read_images(digits, "train")
    test, test_labels = read_images(digits, "test")
    assert train_labels is not None
    assert test_labels is not None
    nearest = torch.cdist(extractor.features(test), extractor.features(train)).argmin(1)
    assert (train_labels[nearest] == test_labels).float().mean() > 0.85


def test_reference_features_are_kept(digits: Dataset, cache: Path) -> None:
    extractor = own_extractor(digits, cache, SILENT)
    features = split_seen(extractor, digits, "test", cache).features
    assert features.shape == (digits.manifest.rows("test"), FEATURES)
    assert torch.equal(features, split_seen(extractor, digits, "test", cache).features)
    assert torch.allclose(features, extractor.features(read_images(digits, "test")[0]), atol=1e-5)
