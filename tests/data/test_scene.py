"""The scene that the program photographs itself: the same every time, from everywhere around, and never twice from one place."""

import io
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.cameras import Camera, Lens
from components.data.raytracer import ball, box, disc, photograph, plain, torus, trace
from components.data.sources import scene
from tests.data.scenes import SMALL
from tests.data.workbench import one_dataset, run


def test_it_is_the_same_every_time_and_stands_elsewhere_with_another_seed() -> None:
    first, second = (list(scene.read(SMALL, "views", Path())) for _ in range(2))
    assert first == second
    other = list(scene.read(SMALL.model_copy(update={"seed": 1}), "views", Path()))
    assert all(one.fields["pose"] != two.fields["pose"] for one, two in zip(first, other, strict=True))


def test_preparing_it_twice_gives_the_same_digest(tmp_path: Path) -> None:
    digests = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        digests.append(run(one_dataset(tmp_path / name, {"modality": "views", "source": SMALL.model_dump(), "split": {"method": "given"}})).sha256)
    assert digests[0] == digests[1]


def test_every_camera_stands_well_apart_from_every_other_whatever_their_splits() -> None:
    places = np.stack([camera.position for _, _, camera in scene.cameras(scene.Config(kind="scene"))])
    assert np.linalg.norm(places, axis=1) == pytest.approx(scene.DISTANCE)
    assert (places[:, 2] > 0).all()
    cosines = (places @ places.T / scene.DISTANCE**2)[~np.eye(len(places), dtype=bool)]
    assert math.degrees(math.acos(cosines.max())) > 11


def test_held_out_cameras_are_as_many_as_asked_and_stand_high_and_low() -> None:
    found = list(scene.cameras(scene.Config(kind="scene", views=30, validation_views=5, test_views=7)))
    assert Counter(split for split, _, _ in found) == {"train": 30, "validation": 5, "test": 7}
    for split in ("validation", "test"):
        heights = [camera.position[2] / scene.DISTANCE for held_out, _, camera in found if held_out == split]
        assert min(heights) < 0.4 < 0.7 < max(heights)


def test_photos_show_the_scene_whole_before_nothing() -> None:
    for row in scene.read(SMALL, "views", Path()):
        with Image.open(io.BytesIO(row.fields["image"]["bytes"])) as image:
            assert (image.mode, image.size) == ("RGBA", (16, 16))
            alpha = np.asarray(image)[..., 3]
        assert alpha[[0, 0, -1, -1], [0, -1, 0, -1]].max() == 0
        assert 0.1 < (alpha > 200).mean() < 0.8


@pytest.mark.parametrize("form", ["nerfstudio", "blender"])
def test_an_export_names_every_photo_with_its_camera(tmp_path: Path, form: str) -> None:
    scene.export(tmp_path, SMALL, form=form)  # type: ignore[arg-type]
    names = ["transforms.json"] if form == "nerfstudio" else ["transforms_train.json", "transforms_val.json", "transforms_test.json"]
    assert sorted(path.name for path in tmp_path.glob("*.json")) == sorted(names)
    frames = [frame for name in names for frame in json.loads((tmp_path / name).read_text())["frames"]]
    assert len(frames) == 10
    assert all(np.shape(frame["transform_matrix"]) == (4, 4) for frame in frames)
    ending = "" if form == "nerfstudio" else ".png"
    assert all((tmp_path / (frame["file_path"] + ending)).is_file() for frame in frames)


GREY = plain((0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("thing", "distance", "normal"),
    [
        (ball((0.0, 0.0, 0.0), 0.5, GREY), 2.5, (1, 0, 0)),
        (box((0.0, 0.0, 0.0), (0.3, 0.4, 0.5), 0.0, GREY), 2.7, (1, 0, 0)),
        (disc((0.0, 0.0, 0.1), 1.0, 0.2, GREY), 2.0, (1, 0, 0)),
        (torus((0.0, 0.0, 0.0), 0.6, 0.2, GREY), 2.2, (1, 0, 0)),
    ],
)
def test_a_ray_meets_each_body_where_geometry_says(thing, distance: float, normal: tuple[float, ...]) -> None:  # type: ignore[no-untyped-def]
    origins, towards = np.array([[3.0, 0.0, 0.0], [3.0, 0.0, 0.0], [3.0, 0.0, 5.0]]), np.array([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    met = thing.meet(origins, towards)
    assert met[0] == pytest.approx(distance, abs=2e-3)
    assert np.isinf(met[1:]).all(), "not behind the ray, and not beside the body"
    assert np.allclose(thing.normal(origins[:1] + met[0] * towards[:1]), normal, atol=1e-2)


def test_colours_lie_in_the_unit_range_and_what_misses_is_told() -> None:
    camera = next(scene.cameras(SMALL))[2]
    colours, hit = trace(*camera.rays())
    assert 0 <= colours.min() <= colours.max() <= 1
    assert 0 < hit.mean() < 1


def test_a_camera_inside_the_scene_sees_it_from_there() -> None:
    inside = Camera(Lens(8.0, 8.0, 4.0, 4.0, 8, 8), (1, 0, 0, 0.0, 0, 1, 0, 0.0, 0, 0, 1, 0.9, 0, 0, 0, 1))
    assert photograph(inside)[..., 3].mean() > 200
