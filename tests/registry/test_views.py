"""A registered scene answers requests for views and is sampled as a walk round it."""

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.errors import UserError
from components.evaluation.evidence import Evidence
from components.models.capabilities import DataSpec
from components.project import Project
from components.registry import wire
from components.registry.asking import Drawn, SampleRequest
from components.registry.loading import LoadedModel, load_package
from components.registry.package import Package
from components.registry.runtime import Runtime
from components.registry.sampling import sample_registered
from components.registry.stored import store_evidence, stored_evidence
from components.tracking import Tracker
from tests.models.scenes import LENS, SCENE, VIEWS
from tests.stores import figure, register, write_scene_package


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return write_scene_package(tmp_path_factory.mktemp("scene") / "model")


@pytest.fixture(scope="module")
def loaded(scene: Package) -> Iterator[LoadedModel]:
    with load_package(scene.folder) as model:
        yield model


def pixels(answer: dict[str, Any], column: str = "image") -> np.ndarray:
    with Image.open(io.BytesIO(wire.decode_png(answer[column]))) as image:
        return np.asarray(image)


def sample(tracker: Tracker, package: Package, **request: Any) -> Drawn:
    return sample_registered(Project(package.folder.parent), tracker, register(tracker, package).ref, SampleRequest(**request))


def test_a_scene_survives_the_way_into_a_package_and_back() -> None:
    import json

    assert DataSpec.from_dict(json.loads(json.dumps(VIEWS.to_dict()))) == VIEWS


def test_views_stand_evenly_round_the_orbit_from_the_azimuth_on(loaded: LoadedModel) -> None:
    answers = loaded.predict([{"azimuth": 300, "n": 3, "elevation": 10}, {}])
    assert [answer["row"] for answer in answers] == [0, 0, 0, 1]
    assert [answer["azimuth"] for answer in answers] == pytest.approx([300, 60, 180, 0])
    assert [answer["elevation"] for answer in answers] == [10, 10, 10, 30]
    assert all(pixels(answer).shape == (10, 12, 3) for answer in answers)
    assert len({answer["image"] for answer in answers}) == 4


def test_a_pose_is_the_camera_of_that_place(loaded: LoadedModel) -> None:
    pose = SCENE.orbit.camera(LENS, 70, 20).pose
    given, named = loaded.predict([{"pose": list(pose)}, {"azimuth": 70, "elevation": 20}])
    assert given["image"] == named["image"]
    assert given["depth"] == named["depth"]
    assert (given["azimuth"], given["elevation"]) == (None, None)


def test_a_request_repeats_and_its_seed_changes_nothing(loaded: LoadedModel) -> None:
    assert loaded.predict([{"n": 2}]) == loaded.predict([{"n": 2}]) == loaded.predict([{"n": 2}], {"seed": 9})


def test_a_depth_has_sixteen_bits_between_the_nearest_and_the_farthest(scene: Package) -> None:
    runtime = Runtime.open(scene.folder / "artifacts")
    (answer,) = runtime.predict([{"azimuth": 20}])
    depth = runtime.model.render(SCENE.orbit.camera(LENS, 20)).depth.numpy()
    expected = (depth - SCENE.near) / (SCENE.far - SCENE.near) * 65535
    assert pixels(answer, "depth").dtype == np.uint16
    assert np.abs(pixels(answer, "depth") - expected).max() <= 1


@pytest.mark.parametrize(
    ("row", "params", "sentence"),
    [
        ({"pose": [1, 2, 3]}, {}, "The column pose must hold 16 numbers"),
        ({"elevation": 100}, {}, "between -90 and 90 degrees"),
        ({"azimuth": math.inf}, {}, "must be a number of degrees"),
        ({"label": "1"}, {}, "no request column 'label'"),
        ({}, {"steps": 4}, "does not draw in steps: leave the parameter steps out"),
    ],
)
def test_what_a_scene_cannot_answer_gets_one_sentence(loaded: LoadedModel, row: dict[str, Any], params: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        loaded.predict([row], params)


def test_an_animation_repeats_for_ever_and_has_a_frame_for_each_view(tracker: Tracker, scene: Package) -> None:
    drawn = sample(tracker, scene, num=5, animated=True)
    assert drawn.png is None
    assert drawn.gif is not None
    assert drawn.description.startswith("5 views of nerf-scene/1, once round its scene")
    with Image.open(io.BytesIO(drawn.gif)) as gif:
        assert (gif.n_frames, gif.info["loop"]) == (5, 0)
        assert gif.width >= 150


def test_without_a_gif_the_views_are_a_grid(tracker: Tracker, scene: Package) -> None:
    first = sample(tracker, scene, num=4)
    assert first.gif is None
    assert first.png is not None
    assert first.png == sample(tracker, scene, num=4).png
    with Image.open(io.BytesIO(first.png)) as image:
        assert image.width >= 2 * LENS.width


def test_more_views_than_one_request_takes_are_asked_for_in_several(tracker: Tracker, scene: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sample(tracker, scene, num=5, animated=True).gif
    monkeypatch.setattr(wire, "MAX_ROWS", 2)
    assert sample(tracker, scene, num=5, animated=True).gif == whole


@pytest.mark.parametrize(
    ("wish", "option"),
    [({"label": "3"}, "label"), ({"image": Path("a.png")}, "from"), ({"steps": 4}, "steps"), ({"prompt": "The"}, "prompt"), ({"guidance": 2.0}, "guidance")],
)
def test_a_scene_refuses_what_it_would_leave_aside(tracker: Tracker, scene: Package, wish: dict[str, Any], option: str) -> None:
    with pytest.raises(UserError, match=rf"^nerf-scene/1 renders views of its scene: leave --{option} out\.$"):
        sample(tracker, scene, num=2, **wish)


def test_a_model_of_images_has_nothing_to_animate(tracker: Tracker, package: Package) -> None:
    with pytest.raises(UserError, match=r"vae-digits/1 renders no views, so there is nothing to animate: give --out a name that ends in .png or .txt"):
        sample(tracker, package, num=2, animated=True)


def test_animations_are_stored_as_gif_and_read_back(tracker: Tracker) -> None:
    run_id = tracker.start_run("scene", "nerf-scene-0000", {}, {})
    store_evidence(tracker, run_id, Evidence((figure("psnr", 20.0, goal="max"),), {"views": b"png"}, animations={"orbit": b"GIF89a"}))
    assert stored_evidence(tracker, run_id).animations == {"orbit": b"GIF89a"}
    assert "evaluation/animations/orbit.gif" in tracker.list_artifacts(run_id, "evaluation/animations")
