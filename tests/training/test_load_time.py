"""Rows that a training alters as it draws them: the same for the same seed, epoch and row, whatever is held in memory, and never beyond the training split."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor

from components.data.dataset import Dataset
from components.data.sources.digits import NAMES
from components.models.family import ImageTextTrainingConfig, TrainingConfig
from components.models.gpt.config import GptConfig
from components.models.word2vec.config import Word2VecConfig
from components.training import datamodules
from components.training.datamodules import Batch, Batches
from tests.data.workbench import one_dataset, run
from tests.training import made

ROWS, BATCH = 120, 16
TINY = 40 * 72 / 2**20
"""Room for 40 rows, so 20 at a time."""
FLIP: dict[str, Any] = {"when": "load", "flip": True}
NOISY: dict[str, Any] = {"when": "load", "shift": 2, "noise": 0.1, "cutout": 0.3}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return made.images(tmp_path_factory.mktemp("many"), {"train": ROWS, "validation": 20}, shard_rows=9)


def prepared(dataset: Dataset, augment: dict[str, Any], buffer_mib: float = 1, seed: int = 0) -> Batches:
    config = TrainingConfig(batch_size=BATCH, buffer_mib=buffer_mib)
    return datamodules.prepare(dataset, config, datamodules.describe(dataset, config, Path()), seed, augment)


def drawn(batches: Batches, epoch: int) -> list[Tensor]:
    """The images of one epoch, as bytes again."""
    first, last = epoch * ROWS // BATCH, -(-(epoch + 1) * ROWS // BATCH)
    images = torch.cat([batches.train(step)["image"] for step in range(first, last)])
    return list((255 * images[epoch * ROWS - first * BATCH :][:ROWS]).round().byte())


def originals(dataset: Dataset) -> dict[bytes, int]:
    """The number of each training image by its bytes."""
    with closing(prepared(dataset, {})) as batches:
        images = torch.cat([batch["image"] for batch in batches.originals()])
    return {(255 * image).round().byte().numpy().tobytes(): number for number, image in enumerate(images)}


def flips(batches: Batches, epoch: int, numbers: dict[bytes, int]) -> dict[int, bool]:
    """By the number of each row of an epoch whether it was mirrored."""
    found = {}
    for image in drawn(batches, epoch):
        as_it_was = image.numpy().tobytes() in numbers
        old = image if as_it_was else image.flip(-1)
        found[numbers[old.contiguous().numpy().tobytes()]] = not as_it_was
    return found


def test_a_row_is_altered_alike_in_an_epoch_whether_it_is_held_or_streamed_and_otherwise_in_the_next(many: Dataset) -> None:
    numbers = originals(many)
    with closing(prepared(many, FLIP)) as held, closing(prepared(many, FLIP, TINY)) as streamed, closing(prepared(many, FLIP, seed=1)) as other:
        first, second = flips(held, 0, numbers), flips(held, 1, numbers)
        assert set(first) == set(second) == set(range(ROWS))
        assert (flips(streamed, 0, numbers), flips(streamed, 1, numbers)) == (first, second)
        assert first != second
        assert flips(other, 0, numbers) != first
        assert 0.3 < sum(first.values()) / ROWS < 0.7


@pytest.mark.parametrize("buffer_mib", [1, TINY])
def test_an_altered_batch_is_the_same_after_a_restart_at_any_step(many: Dataset, buffer_mib: float) -> None:
    with closing(prepared(many, NOISY, buffer_mib)) as batches:
        expected = [batches.train(step)["image"] for step in range(20)]
    for start in (3, 8, 17):
        with closing(prepared(many, NOISY, buffer_mib)) as again:
            assert torch.equal(again.train(start)["image"], expected[start])


@pytest.mark.parametrize("buffer_mib", [1, TINY])
def test_validation_and_original_rows_and_what_is_held_stay_as_they_are(many: Dataset, buffer_mib: float) -> None:
    with closing(prepared(many, NOISY, buffer_mib)) as altered, closing(prepared(many, {}, buffer_mib)) as plain:
        assert not torch.equal(altered.train(0)["image"], plain.train(0)["image"])
        assert torch.equal(altered.train(0)["label"], plain.train(0)["label"])
        for ours, theirs in ((altered.validation(), plain.validation()), (altered.originals(), plain.originals())):
            assert all(torch.equal(mine["image"], other["image"]) for mine, other in zip(ours, theirs, strict=True))


def test_changing_how_rows_are_altered_changes_the_rows(many: Dataset) -> None:
    with closing(prepared(many, NOISY)) as one, closing(prepared(many, {**NOISY, "seed": 1})) as other:
        assert not torch.equal(one.train(0)["image"], other.train(0)["image"])


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    project = one_dataset(tmp_path_factory.mktemp("captioned"), {"modality": "image-text", "source": {"kind": "digits", "rows": 200}})
    run(project)
    return Dataset.open(project, "mine")


@pytest.mark.parametrize("buffer_mib", [1, 0.01])
def test_captions_are_reworded_anew_each_epoch(captioned: Dataset, tmp_path: Path, buffer_mib: float) -> None:
    config = ImageTextTrainingConfig(batch_size=16, vocab_size=300, caption_length=48, buffer_mib=buffer_mib)
    spec = datamodules.describe(captioned, config, tmp_path)
    templates = ["a photo of {caption}", "{label}!"]
    decode = Tokenizer.from_str(spec.tokenizer).decode
    with (
        closing(datamodules.prepare(captioned, config, spec, 0, {"when": "load", "templates": templates})) as batches,
        closing(datamodules.prepare(captioned, config, spec, 0)) as plain,
    ):
        assert batches.train(0).keys() == plain.train(0).keys()
        kinds = set()
        for step in range(20):
            batch = batches.train(step)
            assert torch.equal(batch["mask"], batch["tokens"] != 0)
            for tokens, label in zip(batch["tokens"].tolist(), batch["label"].tolist(), strict=True):
                assert decode(tokens) in (f"a photo of a handwritten digit {NAMES[label]}", f"{label}!")
                kinds.add(decode(tokens)[-1] == "!")
        assert kinds == {True, False}
        assert _equal(next(batches.validation()), next(plain.validation()))


def _equal(first: Batch, second: Batch) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


DOCUMENTS = [" ".join(f"w{number}x{word}" for word in range(30)) for number in range(40)]
TEXT = GptConfig(vocab_size=300, context_length=16, batch_size=4)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return made.texts(tmp_path_factory.mktemp("documents"), {"train": DOCUMENTS, "validation": DOCUMENTS[:4]}, shard_rows=11)


def test_documents_stand_in_another_order_each_epoch_and_none_is_lost(documents: Dataset, tmp_path: Path) -> None:
    spec = datamodules.describe(documents, TEXT, tmp_path)
    batches: Any = datamodules.prepare(documents, TEXT, spec, 0, {"when": "load", "chunk_chars": None})
    tokenizer = Tokenizer.from_str(spec.tokenizer)
    whole = [tokenizer.encode(text).ids for text in DOCUMENTS]
    orders = []
    for epoch in (0, 1):
        stream = batches._shuffled(epoch)
        length = sum(map(len, whole))
        tokens = stream.windows([0], length - 1)[0].tolist()
        starts = [place for place, token in enumerate(tokens) if token == 0]
        found = [tuple(tokens[start:end]) for start, end in zip(starts, [*starts[1:], length], strict=True)]
        assert sorted(found) == sorted(map(tuple, whole))
        orders.append(found)
        some = stream.windows(range(0, length - 17, 7), 16)
        assert torch.equal(some, torch.tensor([tokens[start : start + 17] for start in range(0, length - 17, 7)]))
    assert orders[0] != orders[1]


def test_an_epoch_of_altered_text_is_the_same_after_a_restart(documents: Dataset, tmp_path: Path) -> None:
    spec = datamodules.describe(documents, TEXT, tmp_path)
    augment = {"when": "load", "chunk_chars": 60, "mask": 0.3}
    first, second = (datamodules.prepare(documents, TEXT, spec, 0, augment) for _ in range(2))
    expected = [first.train(step)["tokens"] for step in range(60)]
    assert all(torch.equal(second.train(step)["tokens"], expected[step]) for step in (59, 3, 30))


def test_tokens_are_hidden_and_marks_are_not(documents: Dataset, tmp_path: Path) -> None:
    spec = datamodules.describe(documents, TEXT, tmp_path)
    augment = {"when": "load", "chunk_chars": None, "shuffle": False, "mask": 0.3}
    altered, plain = (datamodules.prepare(documents, TEXT, spec, 0, how) for how in (augment, None))
    sign = Tokenizer.from_str(spec.tokenizer).encode("_", add_special_tokens=False).ids[0]
    pairs = [(altered.train(step)["tokens"], plain.train(step)["tokens"]) for step in range(100)]
    ours, theirs = (torch.cat(side) for side in zip(*pairs, strict=True))
    assert torch.equal(ours[ours != sign], theirs[ours != sign])
    assert torch.equal(ours == 0, theirs == 0)
    assert 0.2 < float((ours == sign).float().mean()) < 0.4
    assert all(torch.equal(one["tokens"], other["tokens"]) for one, other in zip(altered.validation(), plain.validation(), strict=True))
    assert all(torch.equal(one["tokens"], other["tokens"]) for one, other in zip(altered.originals(), plain.originals(), strict=True))


def test_passages_are_texts_of_their_own(documents: Dataset, tmp_path: Path) -> None:
    spec = datamodules.describe(documents, TEXT, tmp_path)
    cut, whole = (datamodules.prepare(documents, TEXT, spec, 0, {"when": "load", "chunk_chars": chars}) for chars in (60, None))
    marks = [float((torch.cat([batches.train(step)["tokens"] for step in range(200)]) == 0).float().mean()) for batches in (cut, whole)]
    assert marks[0] > 2 * marks[1]


def test_words_may_be_hidden_too(tmp_path: Path) -> None:
    dataset = made.texts(tmp_path, {"train": ["the cat sat on the mat and the dog lay on the log " * 20] * 3, "validation": ["the cat"]})
    config = Word2VecConfig(min_count=1, context_length=8, batch_size=4)
    spec = datamodules.describe(dataset, config, tmp_path)
    tokens = datamodules.prepare(dataset, config, spec, 0, {"when": "load", "mask": 0.5}).train(0)["tokens"]
    assert (tokens == 1).any(), "an unknown word"


def test_values_that_control_texts_lead_windows_of_shuffled_ones(tmp_path: Path) -> None:
    dataset = made.texts(tmp_path, {"train": DOCUMENTS, "validation": DOCUMENTS[:4]}, titles=("a", "b"))
    config = TEXT.model_copy(update={"control": "title", "control_dropout": 0.0})
    spec = datamodules.describe(dataset, config, tmp_path)
    batches = datamodules.prepare(dataset, config, spec, 0, {"when": "load", "chunk_chars": 60})
    decode = Tokenizer.from_str(spec.tokenizer).decode
    for step in range(50):
        for window in batches.train(step)["tokens"].tolist():
            led = window[1] if window[0] == 0 else window[0]
            numbers = [int(word[1:].split("x")[0]) for word in decode(window[2:]).split(" ")[1:2] if word.startswith("w") and word[1:].split("x")[0].isdigit()]
            if numbers and 0 not in window[1:]:
                assert led == 2 + numbers[0] % 2


def test_the_run_shows_rows_before_and_after(many: Dataset, documents: Dataset) -> None:
    png, text = datamodules.before_after(many, FLIP), datamodules.before_after(documents, {"when": "load", "mask": 0.3})
    assert isinstance(png, bytes)
    assert png.startswith(b"\x89PNG")
    assert isinstance(text, str)
    assert text.startswith("Before\n")
    json.dumps(text)
