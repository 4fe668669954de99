"""Images of the user's own, given by params alone: shapes, classes and counts that differ from the embedded data."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from components.data.dataset import Dataset
from components.errors import UserError
from components.evaluation.config import EvaluationConfig
from components.evaluation.evaluate import evaluate, require_enough
from components.evaluation.evidence import Evidence
from components.evaluation.telling import SILENT
from components.models.capabilities import DataSpec
from components.models.vae.config import VaeConfig
from components.models.vae.model import Vae
from components.training import datamodules
from tests.data.workbench import files, folder_project, run

SMALL = {"batch_size": 16, "width": 8, "max_width": 16, "latent_dim": 4, "importance_samples": 2, "prior_components": 1}


def write(folder: Path, num: int, size: tuple[int, int], seed: int = 0) -> None:
    """``num`` JPEG images of a grainy coloured ground with a bright bar whose place differs."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for index in range(num):
        grain = rng.integers(0, 30, (size[1], size[0], 3))  # no two are alike, not even in grey
        pixels = (grain + rng.integers(0, 120, 3)).astype(np.uint8)
        left = int(rng.integers(0, size[0] - 4))
        pixels[:, left : left + 4] = 230
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
        (folder / f"{index:04d}.jpg").write_bytes(buffer.getvalue())


def prepared(tmp_path: Path, fill: Callable[[Path], None], **block: Any) -> Dataset:
    """A folder dataset through collect, clean and augment."""
    project = folder_project(tmp_path, "image", **{"split": {"method": "hash", "train": 0.5, "validation": 0.1, "test": 0.4}, **block})
    fill(files(project))
    run(project)
    return Dataset.open(project, "mine")


def two_classes(size: tuple[int, int], num: int = 80) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        write(folder / "a", num, size)
        write(folder / "b", num, size, seed=1)

    return fill


def train(dataset: Dataset, tmp_path: Path, **config: Any) -> tuple[Vae, DataSpec]:
    """A few steps, and the prior."""
    settings = VaeConfig(**{**SMALL, **config})
    spec = datamodules.describe(dataset, settings, tmp_path / "cache")
    batches = datamodules.prepare(dataset, settings, spec, 0)
    torch.manual_seed(0)
    model = Vae(settings, spec)
    model.log = lambda *arguments, **named: None  # type: ignore[method-assign]
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(3):
        loss = model.training_step(batches.train(step), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    model.finish(batches.originals())
    return model, spec


def score(model: Vae, dataset: Dataset, spec: DataSpec, tmp_path: Path) -> Evidence:
    require_enough(dataset)
    return evaluate(model, dataset, spec, config=EvaluationConfig(), cache=tmp_path / "cache", tell=SILENT)


@pytest.mark.slow
def test_a_dataset_of_oblong_images_trains_and_is_scored_on_its_middle_squares(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, two_classes((24, 12)))
    assert dataset.class_names == ("a", "b")
    model, spec = train(dataset, tmp_path)
    assert (spec.channels, spec.image_size) == (3, 12)
    evidence = score(model, dataset, spec, tmp_path)
    assert {figure.name for figure in evidence.figures} >= {"fid_own", "bits_per_dim", "reconstruction_psnr"}
    assert all("3x12x12" in figure.identity.preprocessing for figure in evidence.figures if figure.name == "fid_own")


@pytest.mark.slow
@pytest.mark.parametrize(("stored", "asked"), [((48, 32), None), ((32, 32), 16), ((48, 32), 16)])
def test_any_stored_size_trains_and_is_scored_at_the_size_that_is_asked_for(tmp_path: Path, stored: tuple[int, int], asked: int | None) -> None:
    dataset = prepared(tmp_path, two_classes(stored))
    model, spec = train(dataset, tmp_path, image_size=asked)
    assert spec.image_size == (asked or 32)
    evidence = score(model, dataset, spec, tmp_path)
    fid = next(figure for figure in evidence.figures if figure.name == "fid_own")
    assert f"3x{spec.image_size}x{spec.image_size}" in fid.identity.preprocessing
    assert fid.floor is not None


@pytest.mark.slow
def test_one_class_alone_is_scored_by_the_encoder_without_labels_and_says_so(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, lambda folder: write(folder / "only", 160, (8, 8)))
    assert dataset.class_names == ("only",)
    model, spec = train(dataset, tmp_path)
    assert model.sample_images(2, seed=0, labels=torch.zeros(2, dtype=torch.long)).shape == (2, 3, 8, 8)
    evidence = score(model, dataset, spec, tmp_path)
    assert next(figure for figure in evidence.figures if figure.name == "fid_own").identity.extractor == "own-vicreg-32"
    assert any("fewer than two classes" in note for note in evidence.notes)
    assert {"samples", "latent_map"} <= set(evidence.pictures)


def test_fewer_images_than_a_batch_are_refused_with_the_batch_size_to_set(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, two_classes((8, 8), num=20))
    rows = dataset.manifest.rows("train")
    with pytest.raises(UserError, match=rf"has {rows} images to train on, fewer than a batch of 64: add images, or set batch_size to {rows // 2} or less"):
        train(dataset, tmp_path, batch_size=64)


def test_images_too_small_for_the_networks_are_refused_with_the_setting(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, two_classes((12, 6)))
    with pytest.raises(UserError, match="are 6 pixels wide, models need at least 8: set image_size"):
        train(dataset, tmp_path)
    model, spec = train(dataset, tmp_path, image_size=8)
    assert model.sample_images(1, seed=0).shape == (1, 3, spec.image_size, 8)


def test_too_few_images_to_score_on_are_refused_before_training(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, two_classes((8, 8), num=20))
    with pytest.raises(UserError, match=r"The (train|test) split of 'mine' has \d+ images and fid_own needs at least 34"):
        require_enough(dataset)


def test_too_few_captioned_images_are_refused_before_training_too(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image-text", split={"method": "hash", "train": 0.5, "validation": 0.1, "test": 0.4})
    write(files(project), 40, (8, 8))
    for path in list(files(project).iterdir()):
        path.with_suffix(".txt").write_text(f"bar number {path.stem}")
    run(project)
    with pytest.raises(UserError, match=r"The (train|test) split of 'mine' has \d+ images and fid_own needs at least 34"):
        require_enough(Dataset.open(project, "mine"))
