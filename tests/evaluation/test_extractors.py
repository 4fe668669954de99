"""An extractor that the user names looks at the same draws as the dataset's own, and one that cannot is refused before anything is trained."""

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel

from components.data.dataset import Dataset
from components.errors import UserError
from components.evaluation.config import EvaluationConfig, ExtractorConfig
from components.evaluation.dinov2 import ImageSettings, load_dinov2
from components.evaluation.evaluate import evaluate, require_scorable
from components.evaluation.evidence import Evidence
from components.evaluation.extractor_files import pinned
from components.evaluation.extractors import CHUNK, look_at, named_extractor, split_seen
from components.evaluation.protocol import mismatch
from components.evaluation.telling import SILENT
from components.models.capabilities import DataSpec
from components.models.vae.config import VaeConfig
from components.training.identity import params_sha256
from tests.evaluation.conftest import Redraws

SPEC = DataSpec("image", channels=1, image_size=8, class_names=tuple("0123456789"))


class TinyInception(nn.Module):
    """Called as the real file is: bytes in, features or probabilities out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Linear(12, 24)
        self.output = nn.Linear(24, 5)

    def forward(self, images: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        assert images.dtype == torch.uint8
        assert images.shape[1] == 3
        features = torch.tanh(self.mix(nn.functional.adaptive_avg_pool2d(images.float() / 128, 2).flatten(1)))
        if return_features:
            return features
        logits = nn.functional.linear(features, self.output.weight)
        if not no_output_bias:
            logits = logits + self.output.bias
        return logits.softmax(1)


class FailsOnTheSecondChunk(TinyInception):
    def forward(self, images: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        if no_output_bias and images.shape[0] == 1:
            raise ValueError("out of memory")
        return images.float().flatten(1)


class FeaturesAlone(nn.Module):
    def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
        return images.float().flatten(1)


class WithoutBatch(nn.Module):
    def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
        return images.float().mean(0).flatten()


class NoNumbers(nn.Module):
    def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
        return images.float().flatten(1) / 0


class AnotherCall(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().flatten(1)


def written(path: Path, module: nn.Module) -> ExtractorConfig:
    """``module`` as TorchScript in ``path``, and the setting that names it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module.eval()).save(str(path))
    return ExtractorConfig(kind="inception", path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def dinov2_folder(path: Path, **image_settings: object) -> ExtractorConfig:
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14, mlp_ratio=2)
    Dinov2Model(config).save_pretrained(path)
    settings = {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}, "resample": 3, **image_settings}
    (path / "preprocessor_config.json").write_text(json.dumps(settings))
    return ExtractorConfig(kind="dinov2", path=str(path))


def score(digits: Dataset, cache: Path, extractor: ExtractorConfig) -> Evidence:
    config = EvaluationConfig(num_samples=140, extractor=extractor)
    return evaluate(Redraws(digits, noise=0.1), digits, SPEC, config=config, cache=cache, tell=SILENT)


@pytest.mark.slow
def test_inception_looks_at_the_same_draws_beside_the_own_extractor(digits: Dataset, cache: Path, tmp_path: Path) -> None:
    alone, both = score(digits, cache, ExtractorConfig()), score(digits, cache, written(tmp_path / "inception.pt", TinyInception()))
    assert [figure for figure in both.figures if not figure.name.endswith("_inception")] == list(alone.figures)
    beside = {figure.name: figure for figure in both.figures if figure.name.endswith("_inception")}
    names = ("fid", "fid_infinity", "kid", "precision", "recall", "density", "coverage", "inception_score")
    assert set(beside) == {f"{name}_inception" for name in names}
    assert 1 < beside["inception_score_inception"].value < 5
    own = next(figure for figure in alone.figures if figure.name == "recall_own")
    named = beside["recall_inception"].model_copy(update={"identity": beside["recall_inception"].identity.model_copy(update={"metric": "recall_own"})})
    assert mismatch(own, named) == "extractor"
    assert named.identity.extractor_sha256 == hashlib.sha256((tmp_path / "inception.pt").read_bytes()).hexdigest()
    assert beside["fid_inception"].floor is not None
    assert any("_inception are of the same draws in the eyes of inception-2015-12-05" in note for note in both.notes)


def test_inception_gets_bytes_of_three_channels_and_is_asked_for_both(tmp_path: Path) -> None:
    network = TinyInception()
    extractor = named_extractor(written(tmp_path / "inception.pt", network), tmp_path)
    assert extractor is not None
    images = torch.rand(5, 1, 8, 8)
    seen, again = look_at(extractor, images, "images"), look_at(extractor, (255 * images).round().byte(), "images")
    pixels = (255 * images).round().byte().repeat(1, 3, 1, 1)
    with torch.no_grad():
        assert torch.allclose(seen.features, network(pixels, return_features=True), atol=1e-6)
        assert seen.logits is not None
        assert torch.allclose(seen.logits.softmax(1), network(pixels, no_output_bias=True), atol=1e-6)
    assert torch.equal(seen.features, again.features)


def test_what_fails_in_the_middle_is_told_and_not_taken_for_a_file_without_classes(tmp_path: Path) -> None:
    failing, alone = (named_extractor(written(tmp_path / f"{module.__name__}.pt", module()), tmp_path) for module in (FailsOnTheSecondChunk, FeaturesAlone))
    assert failing is not None
    assert alone is not None
    images = torch.rand(CHUNK + 1, 1, 2, 2)
    with pytest.raises(UserError, match="cannot be called with no_output_bias=True"):
        look_at(failing, images, "images")
    assert look_at(failing, images[:CHUNK], "images").logits is not None
    assert look_at(alone, images, "images").logits is None


@pytest.mark.slow
def test_dinov2_gives_its_class_token_and_no_classes(digits: Dataset, cache: Path, tmp_path: Path) -> None:
    evidence = score(digits, cache, dinov2_folder(tmp_path / "dino"))
    names = {figure.name for figure in evidence.figures}
    assert {"fid_dinov2", "fid_infinity_dinov2", "kid_dinov2", "coverage_dinov2", "fid_own"} <= names
    assert "inception_score_dinov2" not in names
    assert "inception_score_dinov2 is left out: the extractor knows no classes." in evidence.notes
    extractor = load_dinov2(dinov2_folder(tmp_path / "dino"), tmp_path)
    images = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        expected = Dinov2Model.from_pretrained(tmp_path / "dino")(extractor.settings.applied(images)).pooler_output
    assert torch.allclose(look_at(extractor, images, "images").features, expected, atol=1e-5)


def test_images_are_scaled_cut_and_normalised_as_pillow_would() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    settings = ImageSettings(shortest_edge=32, crop=28, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    scaled = np.stack([np.asarray(Image.fromarray(pixels[:, :, c].astype(np.float32)).resize((43, 32), Image.Resampling.BICUBIC)) for c in range(3)], axis=2)
    expected = (scaled[2:30, 7:35].clip(0, 255) / 255 - np.array(settings.mean)) / np.array(settings.std)
    found = settings.applied(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)[0].permute(1, 2, 0).numpy()
    assert np.abs(found - expected).max() < 1e-4


def test_features_of_the_splits_are_kept_for_each_extractor(digits: Dataset, tmp_path: Path) -> None:
    first, other = (named_extractor(written(tmp_path / f"{name}.pt", TinyInception()), tmp_path) for name in ("one", "two"))
    assert first is not None
    assert other is not None
    seen = split_seen(first, digits, "test", tmp_path, 8)
    assert len(seen.features) == digits.manifest.rows("test")
    (kept,) = (tmp_path / "features").iterdir()
    assert first.sha256[:16] in kept.name
    blind = replace(first, network=None)  # type: ignore[type-var]
    assert torch.equal(split_seen(blind, digits, "test", tmp_path, 8).features, seen.features)


# -- mistakes ----------------------------------------------------------------------------------------------------


def no_torchscript(folder: Path) -> ExtractorConfig:
    (folder / "file.pt").write_bytes(b"something else")
    return ExtractorConfig(kind="inception", path=str(folder / "file.pt"), sha256=hashlib.sha256(b"something else").hexdigest())


def another_file(folder: Path) -> ExtractorConfig:
    return written(folder / "file.pt", TinyInception()).model_copy(update={"sha256": "a" * 64})


def no_dinov2(folder: Path) -> ExtractorConfig:
    ViTModel(ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=28, patch_size=14)).save_pretrained(folder)
    return ExtractorConfig(kind="dinov2", path=str(folder))


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        (lambda folder: ExtractorConfig(kind="inception", path="none.pt", sha256="a" * 64), "There is no extractor .*none.pt: put the TorchScript file"),
        (another_file, "file.pt has sha256 [0-9a-f]{64}, and evaluation.extractor.sha256 says aaaa"),
        (no_torchscript, "file.pt is no TorchScript file: put inception-2015-12-05.pt there"),
        (lambda folder: written(folder / "file.pt", WithoutBatch()), r"gives features of shape \[192\] for 3 images instead of a row for each"),
        (lambda folder: written(folder / "file.pt", NoNumbers()), "gives features that are no finite numbers for three real images"),
        (lambda folder: written(folder / "file.pt", AnotherCall()), "cannot be called with return_features=True"),
        (lambda folder: ExtractorConfig(kind="dinov2", path="none"), r"none has no config.json or no \*.safetensors: put a DINOv2"),
        (no_dinov2, "holds no DINOv2 in the format of transformers .its model_type is vit"),
        (lambda folder: dinov2_folder(folder / "dino", crop_size={"height": 30}), "cuts 30 pixels, which are no whole patches of 14"),
        (lambda folder: dinov2_folder(folder / "dino", image_mean="grey"), "is no image settings of DINOv2"),
    ],
)
def test_an_extractor_that_cannot_look_at_the_images_is_refused_before_training(
    digits: Dataset, tmp_path: Path, named: Callable[[Path], ExtractorConfig], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        require_scorable(Redraws(digits), digits, SPEC, EvaluationConfig(extractor=named(tmp_path)))


def test_a_model_that_draws_no_images_needs_no_extractor(digits: Dataset) -> None:
    config = EvaluationConfig(extractor=ExtractorConfig(kind="inception", path="none.pt", sha256="a" * 64))
    require_scorable(nn.Linear(1, 1), digits, SPEC, config)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"kind": "inception", "sha256": "a" * 64}, "inception needs its path"),
        ({"kind": "inception", "path": "file.pt"}, "only loaded when its sha256 is known"),
        ({"kind": "inception", "path": "file.pt", "sha256": "short"}, "pattern"),
        ({"path": "file.pt"}, "the own extractor has no path"),
    ],
)
def test_a_setting_that_lacks_something_says_what(setting: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        ExtractorConfig.model_validate(setting)


# -- identity ----------------------------------------------------------------------------------------------------


def test_a_run_is_named_by_the_extractors_bytes_and_not_by_where_they_lie(tmp_path: Path) -> None:
    def sha256(extractor: ExtractorConfig) -> str:
        return params_sha256(VaeConfig(), 0, EvaluationConfig(extractor=extractor))

    first = ExtractorConfig(kind="inception", path="a.pt", sha256="a" * 64)
    assert sha256(first) == sha256(first.model_copy(update={"path": "b.pt"}))
    assert len({sha256(ExtractorConfig()), sha256(first), sha256(first.model_copy(update={"sha256": "b" * 64}))}) == 3
    assert set(EvaluationConfig().identity()) == {"num_samples", "sampling_steps", "sampler", "guidance", "seed", "buffer_mib"}


def test_a_folder_is_pinned_by_its_weights_and_its_settings(tmp_path: Path) -> None:
    config = EvaluationConfig(extractor=dinov2_folder(tmp_path / "dino").model_copy(update={"path": "dino"}))
    first = pinned(config, tmp_path)
    assert len(first.extractor.sha256) == 64
    assert pinned(first, tmp_path) == first
    assert pinned(EvaluationConfig(), tmp_path) == EvaluationConfig()
    dinov2_folder(tmp_path / "dino", image_mean=[0.5, 0.5, 0.5])
    assert pinned(config, tmp_path) != first
    with pytest.raises(UserError, match="has sha256"):
        pinned(first, tmp_path)
