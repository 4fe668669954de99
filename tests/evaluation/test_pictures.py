"""Grids show every pixel where it belongs."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from components.evaluation.pictures import GAP, LEAST_SIDE, grid_png, pairs_png
from components.evaluation.sampling import draw_images, draw_samples
from components.models.capabilities import DataSpec
from components.models.vae.config import VaeConfig
from components.models.vae.model import Vae


def read(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)


@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_are_enlarged_without_blurring(channels: int) -> None:
    images = torch.rand(5, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    grid = read(grid_png(images, columns=3))
    side = LEAST_SIDE + GAP
    assert grid.shape[:2] == (2 * side + GAP, 3 * side + GAP)
    for index in range(5):
        top, left = GAP + index // 3 * side, GAP + index % 3 * side
        cell = grid[top : top + LEAST_SIDE, left : left + LEAST_SIDE]
        expected = (images[index] * 255).round().byte().permute(1, 2, 0).numpy().repeat(6, 0).repeat(6, 1)
        assert np.array_equal(cell, expected.squeeze(2) if channels == 1 else expected)


def test_large_images_keep_their_size() -> None:
    assert read(grid_png(torch.zeros(2, 3, 64, 64), columns=2)).shape == (64 + 2 * GAP, 2 * (64 + GAP) + GAP, 3)


def test_captions_stand_left_of_their_rows() -> None:
    images = torch.zeros(4, 1, 8, 8)
    plain, captioned = read(grid_png(images, columns=2)), read(grid_png(images, columns=2, row_captions=("three", "four")))
    margin = captioned.shape[1] - plain.shape[1]
    assert margin > 0
    assert np.array_equal(captioned[:, margin:], plain)
    assert (captioned[: captioned.shape[0] // 2, :margin] < 128).any()
    assert (captioned[captioned.shape[0] // 2 :, :margin] < 128).any()


def test_pairs_put_each_reconstruction_below_its_original() -> None:
    originals, again = torch.zeros(6, 1, 16, 16), torch.ones(6, 1, 16, 16)
    grid = read(pairs_png(originals, again, columns=3))
    middle = grid[:, -20]
    rows = [middle[GAP + row * (LEAST_SIDE + GAP) + 10] for row in range(4)]
    assert rows == [0, 255, 0, 255]


def test_the_samples_picture_has_a_row_per_class_once_the_model_heeds_labels() -> None:
    spec = DataSpec("image", channels=1, image_size=8, class_names=("cat", "dog", "owl"))
    model = Vae(VaeConfig(width=8, latent_dim=2), spec)
    before = read(draw_samples(model, spec, seed=0, num=12).pictures["samples"])
    model.finish([{"image": torch.rand(30, 1, 8, 8), "label": torch.arange(30) % 3}])
    after = read(draw_samples(model, spec, seed=0, num=12).pictures["samples"])
    assert after.shape[0] == 3 * (LEAST_SIDE + GAP) + GAP
    assert after.shape[1] > 4 * (LEAST_SIDE + GAP) + GAP
    assert before.shape[0] == 4 * (LEAST_SIDE + GAP) + GAP


def test_drawing_in_bulk_repeats_and_never_repeats_a_chunk() -> None:
    spec = DataSpec("image", channels=1, image_size=8)
    model = Vae(VaeConfig(width=8, latent_dim=2), spec)
    torch.nn.init.normal_(model.backbone.decoder.body[-1].weight)  # type: ignore[arg-type]
    images = draw_images(model, 600, seed=0)
    assert images.shape == (600, 1, 8, 8)
    assert torch.equal(images, draw_images(model, 600, seed=0))
    assert not torch.equal(images[:256], images[256:512])
