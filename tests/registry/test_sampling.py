"""`genmill sample` draws pictures from any registered family of images, also starting from a picture."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.errors import UserError
from components.project import Project
from components.registry.asking import Drawn, SampleRequest
from components.registry.package import Package
from components.registry.sampling import sample_registered
from components.tracking import Tracker
from tests.data.workbench import announced
from tests.stores import register, write_digits_package

CELL = 52
"""An image of 8 pixels, enlarged, with its gap."""


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory, package: Package) -> dict[str, Package]:
    made = {family: write_digits_package(tmp_path_factory.mktemp(family) / "model", family=family) for family in ("gan", "diffusion")}
    return {**made, "vae": package}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A colour picture that is not square."""
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)).save(path)
    return path


def draw(tracker: Tracker, package: Package, **request: object) -> Drawn:
    version = register(tracker, package)
    return sample_registered(Project(package.folder.parent), tracker, version.ref, SampleRequest(**request))  # type: ignore[arg-type]


def cells(drawn: Drawn) -> tuple[int, int]:
    assert drawn.png is not None
    with Image.open(io.BytesIO(drawn.png)) as image:
        return image.width // CELL, image.height // CELL


@pytest.mark.parametrize("family", ["gan", "diffusion", "vae"])
def test_every_family_of_images_draws_a_repeatable_grid(tracker: Tracker, packages: dict[str, Package], family: str) -> None:
    first = draw(tracker, packages[family], num=4, seed=3)
    assert cells(first) == (2, 2)
    assert first.png == draw(tracker, packages[family], num=4, seed=3).png
    assert first.png != draw(tracker, packages[family], num=4, seed=4).png


def test_a_picture_of_any_size_and_mode_is_drawn_anew_by_diffusion(tracker: Tracker, packages: dict[str, Package], photo: Path) -> None:
    near = draw(tracker, packages["diffusion"], image=photo, strength=0.05, num=3)
    assert cells(near) == (2, 2)
    assert near.description.startswith("the picture given and 3 pictures drawn anew by diffusion-digits/")
    assert near.png != draw(tracker, packages["diffusion"], image=photo, strength=1.0, num=3).png


def test_a_vae_reconstructs_the_picture_once(tracker: Tracker, packages: dict[str, Package], photo: Path) -> None:
    drawn = draw(tracker, packages["vae"], image=photo, num=9)
    assert cells(drawn) == (1, 2)
    assert "its reconstruction" in drawn.description


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"steps": 1}, {"sampler": "euler"}, {"sampler": "ddpm"}, {"guidance": 4.0, "label": "3"}])
def test_settings_of_the_sampler_count(tracker: Tracker, packages: dict[str, Package], changes: dict[str, object]) -> None:
    plain = draw(tracker, packages["diffusion"], num=2, **({"label": "3"} if "label" in changes else {}))
    assert draw(tracker, packages["diffusion"], num=2, **changes).png != plain.png


@pytest.mark.parametrize(
    ("family", "request_", "sentence"),
    [
        ("gan", {"steps": 5}, "does not draw in steps: leave the parameter steps out"),
        ("vae", {"guidance": 2.0}, "leave the parameter guidance out"),
        ("diffusion", {"sampler": "hein"}, "There is no sampler 'hein'; did you mean 'heun'"),
        ("diffusion", {"image": Path("nowhere.png")}, "There is no picture nowhere.png: give --from a file that exists"),
        ("diffusion", {"image": Path(__file__)}, "is no picture that can be taken .* give --from a PNG or JPEG"),
        ("gan", {"image": Path(__file__)}, "takes no picture: leave --from out"),
        ("diffusion", {"clip": "clip-glyphs"}, "draws no pictures from text: leave --clip out"),
    ],
)
def test_what_a_model_cannot_do_is_refused_in_one_sentence(
    tracker: Tracker, packages: dict[str, Package], family: str, request_: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        draw(tracker, packages[family], **request_)


@pytest.mark.parametrize("side", [8_000, 12_000, 60_000])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tracker: Tracker, packages: dict[str, Package], tmp_path: Path, side: int) -> None:
    small = io.BytesIO()
    Image.new("L", (8, 8)).save(small, "PNG")
    (tmp_path / "large.png").write_bytes(announced(small.getvalue(), side))
    with pytest.raises(UserError, match="scale it down first"):
        draw(tracker, packages["diffusion"], image=tmp_path / "large.png")
