"""What each change does to a sample, and that it does no more."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.data.augmenting.passages import HIDDEN, PassageChanges, hidden_spans, masked
from components.data.augmenting.pictures import PictureChanges, altered
from components.data.augmenting.wording import CaptionedChanges, filled
from components.data.config import load_project_datasets
from components.errors import UserError
from tests.data.workbench import one_dataset

SEEDS = range(200)


def changes(**settings: Any) -> PictureChanges:
    return PictureChanges(when="load", **settings)


def picture(side: int = 16) -> np.ndarray:
    """Smooth, so that small moves change little, and other in every corner."""
    down, across = np.mgrid[0:side, 0:side] / (side - 1)
    return np.rint(np.stack([255 * down, 255 * across, 128 + 60 * down * across], axis=-1)).astype(np.uint8)


@pytest.mark.parametrize(
    "settings",
    [
        {"crop": 0.3}, {"shift": 3}, {"rotate": 20}, {"flip": True}, {"brightness": 0.3}, {"contrast": 0.3}, {"saturation": 0.5}, {"hue": 0.2},
        {"noise": 0.05}, {"cutout": 0.4}, {"crop": 0.2, "shift": 2, "flip": True, "brightness": 0.2, "hue": 0.1, "noise": 0.01, "cutout": 0.2},
    ],
)  # fmt: skip
@pytest.mark.parametrize("grey", [False, True])
def test_a_change_keeps_the_form_and_is_a_function_of_its_seed(settings: dict[str, Any], grey: bool) -> None:
    if grey and set(settings) & {"saturation", "hue"}:
        return  # refused by the stage
    old = picture().mean(axis=-1).astype(np.uint8) if grey else picture()
    kept = old.copy()
    found = [altered(old, changes(**settings), seed) for seed in SEEDS]
    assert all(new.shape == old.shape and new.dtype == np.uint8 for new in found)
    assert len({new.tobytes() for new in found}) > 1
    assert all(np.array_equal(new, altered(old, changes(**settings), seed)) for seed, new in zip(SEEDS[:5], found, strict=False))
    assert np.array_equal(old, kept)


def test_nothing_set_changes_nothing() -> None:
    assert np.array_equal(altered(picture(), PictureChanges(), 3), picture())


def test_a_flip_mirrors_half_of_the_images() -> None:
    found = [altered(picture(), changes(flip=True), seed) for seed in SEEDS]
    mirrored = sum(np.array_equal(new, picture()[:, ::-1]) for new in found)
    assert mirrored + sum(np.array_equal(new, picture()) for new in found) == len(SEEDS)
    assert 70 < mirrored < 130


def test_a_crop_shows_a_part_of_the_picture_enlarged() -> None:
    for seed in SEEDS[:50]:
        new = altered(picture(), changes(crop=0.5), seed).astype(int)
        down, across = new[-1, 8, 0] - new[0, 8, 0], new[8, -1, 1] - new[8, 0, 1]
        assert 110 < down <= 255, "at least half of the ramp is seen"
        assert abs(down - across) < 16, "both sides are cut by the same share"


def test_a_change_of_colours_stays_within_its_strength() -> None:
    means = [altered(picture(), changes(brightness=0.2), seed).mean() / picture().mean() for seed in SEEDS]
    assert 0.79 < min(means) < 0.85
    assert 1.1 < max(means) < 1.21
    spreads = [altered(picture(), changes(contrast=0.5), seed).std() / picture().std() for seed in SEEDS]
    assert 0.49 < min(spreads) < 0.6
    grey = altered(picture(), changes(saturation=1.0), int(np.argmin([_colourfulness(seed) for seed in SEEDS])))
    assert np.ptp(grey.astype(int), axis=-1).mean() < 0.2 * np.ptp(picture().astype(int), axis=-1).mean()


def _colourfulness(seed: int) -> float:
    return float(np.ptp(altered(picture(), changes(saturation=1.0), seed).astype(int), axis=-1).mean())


def test_a_turn_of_the_hues_keeps_the_brightest_and_darkest_channel() -> None:
    old = picture().astype(int)
    for seed in SEEDS[:20]:
        new = altered(picture(), changes(hue=0.5), seed).astype(int)
        assert np.abs(new.max(-1) - old.max(-1)).max() <= 3
        assert np.abs(new.min(-1) - old.min(-1)).mean() <= 3


def test_a_cut_out_covers_one_square_with_the_mean_colour() -> None:
    mean = np.rint(picture().mean(axis=(0, 1)))
    covered = []
    for seed in SEEDS:
        other = (altered(picture(), changes(cutout=0.25), seed) != picture()).any(-1)
        rows, columns = (np.flatnonzero(other.any(axis)) for axis in (1, 0))
        assert len(rows) <= 4
        assert len(columns) <= 4
        new = altered(picture(), changes(cutout=0.25), seed)
        assert (new[other] == mean).all()
        covered.append(other)
    assert np.mean(covered, axis=0).min() > 0, "every place is covered now and then"


def test_turning_one_change_on_leaves_the_others_as_they_were() -> None:
    for seed in SEEDS[:20]:
        moved = altered(picture(), changes(shift=3, flip=True), seed)
        both = altered(picture(), changes(shift=3, flip=True, cutout=0.25), seed)
        assert (both == moved).all(-1).mean() > 0.9


@pytest.mark.parametrize(("mask", "words"), [(0.15, 1), (0.15, 3), (0.5, 3), (0.5, 10)])
def test_about_the_asked_for_share_is_hidden_in_spans(mask: float, words: int) -> None:
    hidden = hidden_spans(200_000, PassageChanges(copies=1, mask=mask, mask_words=words), 0)
    assert hidden.mean() == pytest.approx(mask, abs=0.02)
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[False], hidden, [False]]))))[::2]
    assert runs.min() >= min(words, runs[-1])
    assert np.median(runs) >= words


def test_hidden_words_leave_what_lies_between_them() -> None:
    text = "one two\n\n  three,\tfour five six seven eight\n" * 20
    config = PassageChanges(copies=1, mask=0.3, mask_words=2)
    found = masked(text, config, "a")
    assert found.split("\n") != text.split("\n")
    assert [len(line.split()) for line in found.splitlines()] == [len(line.split()) for line in text.splitlines()]
    assert set(found.split()) - set(text.split()) == {HIDDEN}
    assert found == masked(text, config, "a") != masked(text, config, "b")


def test_a_template_is_filled_with_what_is_known_of_a_picture() -> None:
    assert filled("a photo of {caption}", "a {label} of jam", None, ()) == "a photo of a {label} of jam"
    assert filled("{label}: {caption}", "red", 1, ("cat", "dog")) == "dog: red"


@pytest.mark.parametrize("template", ["a photo", "{title}", "{} of {caption}", "{caption} {0}"])
def test_a_template_without_a_known_place_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"has no place for what it says of a picture: write \{caption\} or \{label\} there"):
        CaptionedChanges(when="load", templates=(template,))


WRONG = [
    ("image", {"when": "later"}, "augment.when: input should be 'stage' or 'load'"),
    ("image", {"copies": -1}, "augment.copies: input should be greater than or equal to 0"),
    ("image", {"when": "load", "flip": True, "copies": 1}, "augment: a training alters the rows themselves and makes no copies of them: leave copies out"),
    ("image", {"when": "load"}, "augment: nothing is set that would alter a row: say what, or leave augment out"),
    ("image", {"copies": 2}, "augment: nothing is set that would alter a row"),
    ("image", {"flip": True}, "augment: flip alters nothing while copies is 0: set copies, or set when to load"),
    ("image", {"when": "load", "hue": 0.7}, "augment.hue: input should be less than or equal to 0.5"),
    ("image", {"when": "load", "flipp": True}, "unknown key 'flipp' in datasets.mine.augment; did you mean 'flip'?"),
    ("image", {"when": "load", "templates": ["{caption}"]}, "unknown key 'templates' in datasets.mine.augment"),
    ("image-text", {"when": "load", "templates": ["a photo"]}, "augment.templates: 'a photo' has no place for what it says"),
    ("text", {"chunk_chars": 50}, "augment: chunk_chars alters nothing while copies is 0"),
    ("text", {"copies": 1, "chunk_chars": None, "shuffle": False}, "augment: nothing is set that would alter a row"),
    ("text-pairs", {"when": "load"}, "augment.when: text pairs are not augmented, an altered side does not belong to the other one: leave it out"),
    ("views", {"when": "load"}, "augment.when: posed photos are not augmented, an altered one is not what its camera saw: leave it out"),
]


@pytest.mark.parametrize(("modality", "augment", "sentence"), WRONG)
def test_a_wrong_setting_is_one_sentence_with_its_line(tmp_path: Path, modality: str, augment: dict[str, Any], sentence: str) -> None:
    source = {"kind": "scene"} if modality == "views" else {"kind": "folder", "path": "files"}
    project = one_dataset(tmp_path, {"modality": modality, "source": source, "augment": augment})
    with pytest.raises(UserError) as error:
        load_project_datasets(project)
    message = str(error.value)
    assert sentence in message
    line = int(message.removeprefix("params.yaml line ").split(":")[0])
    said = project.params.read_text().splitlines()[line - 1].strip()
    assert said.startswith(("augment:", *(f"{key}:" for key in augment)))
