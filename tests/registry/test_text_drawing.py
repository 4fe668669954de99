"""A model that draws from text: served in the one wire format, sampled from words and from a picture, steered, its pictures captioned."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.errors import UserError
from components.project import Project
from components.registry import wire
from components.registry.asking import Drawn, SampleRequest
from components.registry.package import Package
from components.registry.runtime import Runtime
from components.registry.sampling import sample_registered
from components.tracking import Tracker
from tests.stores import register, write_captions_package


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Package]:
    folder = tmp_path_factory.mktemp("packages")
    return {family: write_captions_package(folder / family, family) for family in ("text-to-image", "clip", "captioner")}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.new("RGB", (40, 30), (200, 30, 30)).save(path)
    return path


@pytest.fixture
def all_registered(tracker: Tracker, packages: dict[str, Package]) -> Tracker:
    for package in packages.values():
        register(tracker, package)
    return tracker


def draw(tracker: Tracker, tmp_path: Path, **request: object) -> Drawn:
    return sample_registered(Project(tmp_path), tracker, "text-to-image-captions", SampleRequest(**request))  # type: ignore[arg-type]


def pixels(png: bytes | None) -> np.ndarray:
    assert png is not None
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)


def test_a_prompt_becomes_pictures_and_each_row_has_its_own_seeds(packages: dict[str, Package]) -> None:
    runtime = Runtime.open(packages["text-to-image"].folder / "artifacts")
    assert set(runtime.spec.abilities) == {"draws-from-text", "samples-in-steps"}
    request = [{"prompt": "a new object", "n": 2}, {"prompt": "objects are returned", "image": wire.blank_png(1, 8)}]
    answers = runtime.predict(request, {"seed": 3, "guidance": 2.0, "steps": 3})
    assert [(answer["row"], answer["seed"], answer["prompt"]) for answer in answers] == [(0, 3, "a new object")] * 2 + [(1, 5, "objects are returned")]
    assert all(pixels(wire.decode_png(answer["image"])).shape == (8, 8) for answer in answers)
    assert answers == runtime.predict(request, {"seed": 3, "guidance": 2.0, "steps": 3})


def test_the_package_names_its_columns_and_its_example_is_a_caption(packages: dict[str, Package]) -> None:
    described = (packages["text-to-image"].folder / "MLmodel").read_text()
    assert all(f'"name": "{column}"' in described for column in ("prompt", "image", "n", "row", "seed"))
    assert "a new object" in json.dumps(json.loads((packages["text-to-image"].folder / "input_example.json").read_text()))


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("  ", "The prompt is empty: say what the picture shows, like 'a new object'"),
        ("objects " * 40, "tokens with its marks, and the model reads 8 at once: shorten it"),
        ("новый object", "The prompt has 'новый', which is written in characters that no training caption has"),
        ("a \udcff object", "no UTF-8"),
    ],
)
@pytest.mark.parametrize("family", ["text-to-image", "clip"])
def test_a_bad_prompt_gets_one_sentence(packages: dict[str, Package], family: str, prompt: str, sentence: str) -> None:
    runtime = Runtime.open(packages[family].folder / "artifacts")
    if family == "clip" and not prompt.strip():
        sentence = "neither an image nor a text"
    with pytest.raises(wire.BadRequestError, match=sentence):
        runtime.predict([{"prompt": prompt}])


def test_a_prompt_in_capitals_is_read_where_no_caption_has_capitals(packages: dict[str, Package]) -> None:
    runtime = Runtime.open(packages["text-to-image"].folder / "artifacts")
    small, large = (runtime.predict([{"prompt": prompt}])[0]["image"] for prompt in ("a new object", "A NEW OBJECT"))
    assert small == large


@pytest.mark.parametrize("blank", ["\u00a0", "\u3000", "\n \t"])
def test_blanks_of_any_kind_are_read_as_one(packages: dict[str, Package], blank: str) -> None:
    runtime = Runtime.open(packages["text-to-image"].folder / "artifacts")
    plain, pasted = (runtime.predict([{"prompt": prompt}])[0]["image"] for prompt in ("a new object", f"a new{blank}object"))
    assert plain == pasted


def test_a_captioner_of_the_same_dataset_says_what_came_out(all_registered: Tracker, tmp_path: Path, picture: Path) -> None:
    drawn = draw(all_registered, tmp_path, prompt="a new object", num=3, image=picture, strength=0.5)
    assert len(drawn.captions) == 3
    assert not drawn.notes
    assert drawn.captions == draw(all_registered, tmp_path, prompt="a new object", num=3, image=picture, strength=0.5).captions
    assert pixels(drawn.png).shape[0] > 8


def test_without_a_captioner_the_pictures_come_with_the_command_that_makes_one(tracker: Tracker, packages: dict[str, Package], tmp_path: Path) -> None:
    register(tracker, packages["text-to-image"])
    drawn = draw(tracker, tmp_path, prompt="a new object", num=1)
    assert not drawn.captions
    assert "genmill run captioner-captions" in drawn.notes[0]


def test_clip_steers_and_its_strength_counts(all_registered: Tracker, tmp_path: Path) -> None:
    plain, weak, strong = (
        pixels(draw(all_registered, tmp_path, prompt="a new object", num=2, **more).png)
        for more in ({}, {"clip": "clip-captions", "clip_guidance": 0.5}, {"clip": "clip-captions", "clip_guidance": 5.0})
    )
    assert not np.array_equal(plain, weak)
    assert not np.array_equal(weak, strong)


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({}, "The prompt is empty"),
        ({"prompt": "a new object", "label": "x"}, "draws from text: leave --label out"),
        ({"prompt": "a new object", "clip": "captioner-captions"}, "does not compare pictures with texts: give --clip a model of the family clip"),
        ({"prompt": "a new object", "clip_guidance": 2.0}, "name it with --clip"),
        ({"prompt": "a new object", "captioner": "clip-captions"}, "says of no picture what it shows"),
        ({"prompt": "a new object", "clip": "clip-caption"}, "did you mean 'clip-captions'"),
        ({"prompt": "a new object", "animated": True}, "nothing to animate"),
        ({"prompt": "a new object", "sampler": "heum"}, "did you mean 'heun'"),
    ],
)
def test_what_does_not_fit_gets_one_sentence(all_registered: Tracker, tmp_path: Path, request_: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        draw(all_registered, tmp_path, **{"num": 1, **request_})
