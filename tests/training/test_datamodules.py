"""Batches: complete, repeatable, and of the right shape."""

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer

from components.data.dataset import Dataset
from components.data.photos import cameras_of
from components.data.sources.digits import NAMES
from components.errors import UserError
from components.models.bert.config import BertConfig
from components.models.capabilities import DataSpec
from components.models.family import ImageTextTrainingConfig, TrainingConfig, find_family
from components.models.fusion.config import FusionConfig
from components.models.gpt.config import GptConfig
from components.models.nerf.config import NerfConfig
from components.models.word2vec.config import Word2VecConfig
from components.project import Project
from components.registry import prompts
from components.training import datamodules
from components.training.datamodules import StepLoader
from components.training.datamodules.order import EpochOrder
from components.training.datamodules.text import train_tokenizer
from components.training.datamodules.text_pairs import SIDES
from components.training.datamodules.texts import documents, texts_of
from tests.data.workbench import files, folder_project, one_dataset, png, run
from tests.training import made


class PairsConfig(TrainingConfig):
    """The settings that text pairs need."""

    vocab_size: int = 400
    source_length: int = 64
    target_length: int = 32


TEXT = GptConfig(vocab_size=300, context_length=32, batch_size=4)
IMAGE = TrainingConfig(batch_size=16)
VIEWS = NerfConfig(batch_size=32)
CAPTIONED = ImageTextTrainingConfig(batch_size=16, vocab_size=300, caption_length=24)
PAIRS = PairsConfig(batch_size=16)
QUESTIONS = {"which digit?": "label", "which word?": "digit (.*)$", "what thing?": "(digit)"}
ASKING = FusionConfig(batch_size=16, vocab_size=300, caption_length=24, questions=QUESTIONS, most_answers=5)
CONFIGS: dict[str, TrainingConfig] = {"digits": IMAGE, "pydocs": TEXT, "scene": VIEWS}
ODD_TEXT = "naïve Ωmega — 你好 👩‍🚀\ttabs\n\n  indents \x00\x7f"


@pytest.fixture(scope="module")
def digits(dataset_project: Project) -> Dataset:
    return Dataset.open(dataset_project, "digits")


@pytest.fixture(scope="module")
def pydocs(dataset_project: Project) -> Dataset:
    return Dataset.open(dataset_project, "pydocs")


@pytest.fixture(scope="module")
def scene(dataset_project: Project) -> Dataset:
    return Dataset.open(dataset_project, "scene")


def train_texts(root: Path, *train: str) -> Dataset:
    """Documents to train on; the first is there to validate and test on too."""
    return made.texts(root, {"train": train, "validation": train[:1], "test": train[:1]})


def prepared(dataset: Any, config: TrainingConfig, cache: Path, seed: int = 0) -> Any:
    return datamodules.prepare(dataset, config, datamodules.describe(dataset, config, cache), seed)


@pytest.mark.parametrize("name", ["digits", "pydocs", "scene"])
def test_a_batch_is_a_function_of_the_seed_and_the_step_alone(name: str, dataset_project: Project, tmp_path: Path) -> None:
    dataset, config = Dataset.open(dataset_project, name), CONFIGS[name]
    first, second = prepared(dataset, config, tmp_path), prepared(dataset, config, tmp_path)
    for step in range(200):
        first.train(step)
    for step in (150, 0, 199):
        ours, theirs = first.train(step), second.train(step)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    other = prepared(dataset, config, tmp_path, seed=1).train(0)
    key = next(iter(other))
    assert not torch.equal(other[key], first.train(0)[key])


def test_every_row_is_drawn_once_per_epoch_in_ever_new_orders() -> None:
    order = EpochOrder(10, seed=0)
    draws = [draw for step in range(5) for draw in order.draws(step, 4)]
    epochs = [[row for epoch, row in draws if epoch == number] for number in (0, 1)]
    assert all(sorted(rows) == list(range(10)) for rows in epochs)
    assert epochs[0] != epochs[1]


def test_a_batch_larger_than_the_data_goes_through_it_several_times() -> None:
    assert sorted(row for _, row in EpochOrder(3, seed=0).draws(2, 9)) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_the_loader_starts_in_the_middle_and_counts_from_the_beginning(digits: Dataset, tmp_path: Path) -> None:
    batches = prepared(digits, IMAGE, tmp_path)
    loader = StepLoader(batches, start=3, stop=5)
    assert len(loader) == 5
    drawn = list(loader)
    assert len(drawn) == 2
    assert torch.equal(drawn[0]["image"], batches.train(3)["image"])


def test_images_are_floats_in_the_unit_interval_with_labels(digits: Dataset, tmp_path: Path) -> None:
    spec = datamodules.describe(digits, IMAGE, tmp_path)
    assert (spec.channels, spec.image_size, spec.class_names) == (1, 8, tuple("0123456789"))
    batch = prepared(digits, IMAGE, tmp_path).train(0)
    assert batch["image"].shape == (16, 1, 8, 8)
    assert batch["image"].dtype == torch.float32
    assert batch["image"].min() >= 0
    assert 0.5 < batch["image"].max() <= 1
    assert batch["label"].dtype == torch.int64


def test_originals_are_each_training_row_once_without_augmented_ones(digits: Dataset, tmp_path: Path) -> None:
    batches = prepared(digits, IMAGE, tmp_path)
    rows = [image for batch in batches.originals() for image in batch["image"]]
    assert len(rows) == digits.table("train", augmented=False).num_rows < digits.table("train").num_rows
    assert sum(len(batch["image"]) for batch in batches.validation()) == digits.table("validation").num_rows


def test_text_windows_are_pieces_of_the_training_text(pydocs: Dataset, tmp_path: Path) -> None:
    spec = datamodules.describe(pydocs, TEXT, tmp_path)
    tokens = prepared(pydocs, TEXT, tmp_path).train(7)["tokens"]
    assert tokens.shape == (4, 33)
    assert tokens.dtype == torch.int64
    tokenizer, everything = Tokenizer.from_str(spec.tokenizer), list(documents(pydocs, "train", augmented=True))
    for window in tokens.tolist():
        pieces = tokenizer.decode(window, skip_special_tokens=False).split("<|endoftext|>")
        assert all(any(piece in text for text in everything) for piece in pieces)


def test_an_epoch_of_text_leaves_out_less_than_two_windows(tmp_path: Path) -> None:
    config = GptConfig(vocab_size=257, context_length=8, batch_size=1)
    batches = prepared(train_texts(tmp_path, "abcdefghij" * 20), config, tmp_path)
    num = batches._order.size
    starts = {tuple(batches.train(step)["tokens"][0].tolist()) for step in range(num)}
    assert num == 200 // 8 - 1
    assert len(starts) > 1


def test_the_tokenizer_gives_any_text_back(pydocs: Dataset) -> None:
    tokenizer = train_tokenizer(documents(pydocs, "train", augmented=False), 400)
    assert tokenizer.decode(tokenizer.encode(ODD_TEXT).ids) == ODD_TEXT
    assert tokenizer.encode("x").ids[0] == tokenizer.token_to_id("<|endoftext|>") == 0
    assert tokenizer.get_vocab_size() == 400


def test_the_same_text_makes_the_same_tokenizer_and_only_the_training_split_counts(pydocs: Dataset, tmp_path: Path) -> None:
    first, second = (datamodules.describe(pydocs, TEXT, tmp_path / name) for name in ("a", "b"))
    assert first == second
    others = ["zzzz zzzz " * 500]
    rows = made.texts(tmp_path, {"train": ["the cat sat on the mat " * 5], "validation": others, "test": others})
    learnt = Tokenizer.from_str(datamodules.describe(rows, TEXT, tmp_path / "c").tokenizer)
    assert not any("zz" in token for token in learnt.get_vocab())


def test_the_tokenizer_is_trained_once_per_data_version_and_size(pydocs: Dataset, tmp_path: Path) -> None:
    datamodules.describe(pydocs, TEXT, tmp_path)
    file = next((tmp_path / "tokenizers").iterdir())
    written = file.stat().st_ino
    datamodules.describe(pydocs, TEXT, tmp_path)
    assert file.stat().st_ino == written
    datamodules.describe(pydocs, TEXT.model_copy(update={"vocab_size": 310}), tmp_path)
    assert len(list((tmp_path / "tokenizers").iterdir())) == 2


def test_too_little_text_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has \d+ tokens to train on, too few for windows of 32: add text, or set context_length below \d+\.$"):
        prepared(train_texts(tmp_path, "short"), TEXT, tmp_path)


def test_the_example_texts_are_held_out_lines_that_fit_the_model(tmp_path: Path) -> None:
    train, held_out = ["the training text is another one"], [
        "Заголовок\n\n  Первая строка документа о тестах.\nДальше.", "a line that speaks of <|endoftext|> itself", "word " * 300, " \n", "короткий",
    ]  # fmt: skip
    rows = made.texts(tmp_path, {"train": train, "validation": held_out})
    spec = datamodules.describe(rows, TEXT.model_copy(update={"context_length": 256}), tmp_path)
    assert spec.example_texts == ("Первая строка документа о тестах.", " ".join(["word"] * 20), "короткий")
    tokenizer, short = Tokenizer.from_str(spec.tokenizer), datamodules.describe(rows, TEXT, tmp_path)
    assert all(len(tokenizer.encode(text, add_special_tokens=False).ids) <= 16 for text in short.example_texts)
    assert all(long.startswith(text) for long, text in zip(spec.example_texts, short.example_texts, strict=True))
    assert datamodules.describe(made.texts(tmp_path / "alone", {"train": train}), TEXT, tmp_path).example_texts[0][:8] == "the trai"
    assert DataSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_words_are_counted_and_what_stands_too_seldom_is_unknown(tmp_path: Path) -> None:
    text = "Object, object! An OBJECT is naïve; naïve objects are not."
    spec = datamodules.describe(train_texts(tmp_path, text), Word2VecConfig(min_count=2), tmp_path)
    tokenizer = Tokenizer.from_str(spec.tokenizer)
    assert tokenizer.encode("Object naïve not").tokens == ["<|endoftext|>", "object", "naïve", "[UNK]"]
    counted = {str(tokenizer.id_to_token(token)): count for token, count in enumerate(spec.token_counts)}
    assert counted == {"<|endoftext|>": 1, "[UNK]": 5, "object": 3, "naïve": 2}
    assert DataSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_a_text_without_frequent_words_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'mine' has no word that stands at least 3 times in its training split: lower min_count, or add text\."):
        datamodules.describe(train_texts(tmp_path, "every word once"), Word2VecConfig(), tmp_path)


def test_vocabularies_of_other_special_tokens_do_not_meet_in_the_cache(tmp_path: Path) -> None:
    rows = train_texts(tmp_path, *["the same text"] * 3)
    causal, masked = (datamodules.describe(rows, config, tmp_path) for config in (TEXT, BertConfig(vocab_size=300)))
    assert Tokenizer.from_str(causal.tokenizer).id_to_token(0) == "<|endoftext|>"
    assert Tokenizer.from_str(masked.tokenizer).id_to_token(0) == "[PAD]"
    assert datamodules.describe(rows, TEXT, tmp_path) == causal


def projected(camera: Any, points: Any) -> Any:
    """The pixels [N, 2] of points [N, 3] of the world, by the textbook."""
    local = (points - camera.position) @ camera.matrix[:3, :3]
    lens = camera.lens
    return np.stack([lens.cx + lens.fl_x * local[:, 0] / -local[:, 2], lens.cy - lens.fl_y * local[:, 1] / -local[:, 2]], axis=1)


def test_the_ray_of_a_pixel_goes_through_its_centre(scene: Dataset, tmp_path: Path) -> None:
    batches = prepared(scene, VIEWS, tmp_path)
    rays = {name: torch.cat([batch[name] for batch in batches.originals()]).double().numpy() for name in ("origins", "directions", "rgb")}
    cameras = cameras_of(scene.table("train", augmented=False))
    assert len(rays["rgb"]) == len(cameras) * 16 * 16
    assert np.allclose(np.linalg.norm(rays["directions"], axis=1), 1, atol=1e-6)
    for number, camera in enumerate(cameras):
        mine = slice(number * 256, (number + 1) * 256)
        pixels = projected(camera, rays["origins"][mine] + 2 * rays["directions"][mine])
        rows, columns = np.divmod(np.arange(256), 16)
        assert np.allclose(pixels, np.stack([columns + 0.5, rows + 0.5], axis=1), atol=1e-4)


@pytest.mark.parametrize(("background", "value"), [("white", 1.0), ("black", 0.0)])
def test_what_is_transparent_shows_the_background(scene: Dataset, tmp_path: Path, background: str, value: float) -> None:
    config = NerfConfig(batch_size=256, background=background)  # type: ignore[arg-type]
    spec = datamodules.describe(scene, config, tmp_path)
    assert spec.scene is not None
    assert spec.scene.background == (value, value, value)
    first = next(iter(prepared(scene, config, tmp_path).originals()))["rgb"]
    assert torch.equal(first[0], torch.full((3,), value)), "no matter reaches the corner of a photo"
    assert first.dtype == torch.float32


def test_half_transparent_pixels_are_blended_with_the_background(scene: Dataset, tmp_path: Path) -> None:
    white, black = (
        torch.cat([batch["rgb"] for batch in prepared(scene, NerfConfig(background=name), tmp_path).originals()])  # type: ignore[arg-type]
        for name in ("white", "black")
    )
    transparency = white - black  # 1 - alpha, alike in all channels
    assert (transparency.amax(1) - transparency.amin(1)).max() < 0.01
    assert ((transparency > 0.2) & (transparency < 0.8)).any()


def test_the_bounds_of_a_scene_come_from_its_cameras(scene: Dataset, tmp_path: Path) -> None:
    spec = datamodules.describe(scene, VIEWS, tmp_path).scene
    assert spec is not None
    assert spec.centre == pytest.approx((0, 0, 0), abs=1e-3)
    assert spec.orbit.radius == pytest.approx(3.6, abs=1e-3)
    assert spec.orbit.up == (0.0, 0.0, 1.0)
    assert 20 < spec.orbit.elevation < 50
    assert spec.near < 3.6 - 1.15 < 3.6 + 1.15 < spec.far
    assert not spec.unbounded
    set_by_hand = datamodules.describe(scene, NerfConfig(scene_radius=2.5), tmp_path).scene
    assert set_by_hand is not None
    assert set_by_hand.radius == 2.5


def test_validation_rays_are_those_of_the_validation_photos(scene: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = prepared(scene, VIEWS, tmp_path)
    assert sum(len(batch["rgb"]) for batch in batches.validation()) == 2 * 16 * 16
    monkeypatch.setattr("components.training.datamodules.views.MOST_VALIDATION_RAYS", 100)
    assert sum(len(batch["rgb"]) for batch in batches.validation()) == 100


def test_too_few_photos_are_refused_with_a_sentence(scene: Dataset, tmp_path: Path) -> None:
    class TwoPhotos:
        name, modality, manifest = scene.name, scene.modality, scene.manifest

        def table(self, split: str, **named: Any) -> pa.Table:
            return scene.table(split, **named).slice(0, 2)  # type: ignore[arg-type]

    with pytest.raises(UserError, match=r"'scene' has 2 photos to train on and a scene needs at least 3: add photos, or give train a larger part"):
        datamodules.describe(cast(Dataset, TwoPhotos()), VIEWS, tmp_path)


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    block = {"modality": "image-text", "source": {"kind": "digits", "rows": 300}, "augment": {"copies": 1, "shift": 1}}
    project = one_dataset(tmp_path_factory.mktemp("captioned"), block)
    run(project)
    return Dataset.open(project, "mine")


@pytest.fixture(scope="module")
def docstrings(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    project = one_dataset(tmp_path_factory.mktemp("pairs"), {"modality": "text-pairs", "source": {"kind": "docstrings", "rows": 300}})
    run(project)
    return Dataset.open(project, "mine")


def test_captioned_images_come_with_the_tokens_of_their_captions_and_labels(captioned: Dataset, tmp_path: Path) -> None:
    spec = datamodules.describe(captioned, CAPTIONED, tmp_path)
    assert (spec.modality, spec.channels, spec.image_size, spec.class_names) == ("image-text", 1, 8, tuple("0123456789"))
    batch = prepared(captioned, CAPTIONED, tmp_path).train(3)
    assert batch["image"].shape == (16, 1, 8, 8)
    assert batch["image"].max() <= 1
    assert batch["tokens"].shape == batch["mask"].shape == (16, 24)
    assert (batch["tokens"].dtype, batch["mask"].dtype) == (torch.int64, torch.bool)
    texts = Tokenizer.from_str(spec.tokenizer).decode_batch(batch["tokens"].tolist())
    assert texts == [f"a handwritten digit {NAMES[label]}" for label in batch["label"]]


def test_the_example_captions_are_held_out_ones_that_may_be_asked_for(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image-text", split={"method": "given"})
    told = {
        "train": [f"a red square number {number}" for number in range(20)],
        "validation": ["a red square " * 9, "a 漢 square", "a red square number 99"],
        "test": ["a red square of the test"] * 2,
    }
    for split, texts in told.items():
        for number, text in enumerate(texts):
            path = files(project) / split / f"{number:02d}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(png(100 * len(split) + number))
            path.with_suffix(".txt").write_text(text)
    run(project)
    dataset = Dataset.open(project, "mine")
    assert datamodules.describe(dataset, CAPTIONED.model_copy(update={"caption_length": 16}), tmp_path / "a").example_captions == ("a red square number 99",)
    spec = datamodules.describe(dataset, CAPTIONED.model_copy(update={"caption_length": 4}), tmp_path / "b")
    assert "a red square number".startswith(spec.example_captions[0])
    assert prompts.caption_tokens(spec, spec.example_captions[0], 4).shape == (1, 4)


def test_augmented_images_have_captions_and_originals_leave_them_out(captioned: Dataset, tmp_path: Path) -> None:
    batches = prepared(captioned, CAPTIONED, tmp_path)
    assert sum(len(batch["tokens"]) for batch in batches.originals()) == captioned.table("train", augmented=False).num_rows
    assert sum(len(batch["mask"]) for batch in batches.validation()) == captioned.table("validation").num_rows
    drawn = {tuple(row) for step in range(40) for row in batches.train(step)["tokens"].tolist()}
    assert len(drawn) == 10


def test_captions_that_are_cut_are_counted_once_per_split(captioned: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = CAPTIONED.model_copy(update={"caption_length": 4})
    batch = prepared(captioned, config, tmp_path).train(0)
    assert batch["tokens"].shape == (16, 4)
    said = capsys.readouterr().out
    assert said.count("train captions have more than 4 tokens and are cut: raise caption_length") == said.count("train captions") == 1


def test_questions_come_with_the_place_of_each_answer(captioned: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = datamodules.describe(captioned, ASKING, tmp_path)
    assert "'what thing?' is left out: '(digit)' finds 1 different answers" in capsys.readouterr().out
    assert [(question.text, len(question.answers)) for question in spec.questions] == [("which digit?", 5), ("which word?", 5)]
    batch = prepared(captioned, ASKING, tmp_path).train(3)
    assert batch["answers"].shape == (16, 2)
    for label, places in zip(batch["label"].tolist(), batch["answers"].tolist(), strict=True):
        for question, place, name in zip(spec.questions, places, (str(label), NAMES[label]), strict=True):
            assert place == (question.answers.index(name) if name in question.answers else -1)
    words = Tokenizer.from_str(spec.tokenizer).encode("which digit?", add_special_tokens=False).tokens
    assert len(words) < 6, "the vocabulary has the words of the questions"


def test_a_question_that_is_too_long_is_one_sentence(captioned: Dataset, tmp_path: Path) -> None:
    asked = ASKING.model_copy(update={"questions": {"!?" * 30: "label"}, "caption_length": 8, "vocab_size": 259})
    with pytest.raises(UserError, match="has more than 8 tokens: shorten it, or raise caption_length"):
        datamodules.describe(captioned, asked, tmp_path)


def test_a_family_of_images_takes_captioned_images_without_their_captions(captioned: Dataset, tmp_path: Path) -> None:
    spec = datamodules.describe(captioned, IMAGE, tmp_path, kind=find_family("gan").batches_of("image-text"))
    assert spec.modality == "image"
    assert datamodules.prepare(captioned, IMAGE, spec, 0).train(0).keys() == {"image", "label"}


def test_pairs_are_two_rows_of_tokens_of_one_vocabulary(docstrings: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = datamodules.describe(docstrings, PAIRS, tmp_path)
    assert (spec.modality, spec.vocab_size) == ("text-pairs", 400)
    batch = prepared(docstrings, PAIRS, tmp_path).train(0)
    assert {name: (tuple(column.shape), column.dtype) for name, column in batch.items()} == {
        "source": ((16, 64), torch.int64), "target": ((16, 32), torch.int64), "source_mask": ((16, 64), torch.bool), "target_mask": ((16, 32), torch.bool),
    }  # fmt: skip
    decode = Tokenizer.from_str(spec.tokenizer).decode_batch
    written = dict(zip(*(texts_of(docstrings, "train", side) for side in SIDES), strict=True))
    for source, target in zip(decode(batch["source"].tolist()), decode(batch["target"].tolist()), strict=True):
        assert any(whole.startswith(source) and said.startswith(target) for whole, said in written.items())
    said = capsys.readouterr().out
    assert "train sources have more than 64 tokens and are cut: raise source_length" in said
    assert "train targets have more than 32 tokens and are cut: raise target_length" in said


def test_the_example_texts_of_pairs_are_held_out_sources_as_they_are(docstrings: Dataset, tmp_path: Path) -> None:
    held_out = {source.strip() for source in texts_of(docstrings, "validation", "source_text")}
    spec = datamodules.describe(docstrings, PAIRS, tmp_path)
    assert len(spec.example_texts) > 1
    assert set(spec.example_texts) <= held_out


def test_validation_pairs_are_each_seen_once(docstrings: Dataset, tmp_path: Path) -> None:
    batches = prepared(docstrings, PAIRS, tmp_path)
    assert sum(len(batch["target"]) for batch in batches.validation()) == docstrings.table("validation").num_rows


@pytest.mark.parametrize("name", ["captioned", "docstrings"])
def test_too_few_rows_for_a_batch_are_refused_with_a_sentence(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    dataset = request.getfixturevalue(name)
    config = {"captioned": CAPTIONED, "docstrings": PAIRS}[name].model_copy(update={"batch_size": 5000})
    with pytest.raises(UserError, match=r"Dataset 'mine' has \d+ (images|pairs) to train on, fewer than a batch of 5000: add (images|pairs), or set"):
        prepared(dataset, config, tmp_path)
