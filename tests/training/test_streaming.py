"""Training data that does not fit the memory it may take: complete, in ever new orders, the same after a restart, and bounded."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import torch
from torch import Tensor

from components.data.dataset import Dataset
from components.errors import UserError
from components.models.family import ImageTextTrainingConfig, TrainingConfig
from components.training import datamodules
from components.training.datamodules import Batch, Batches, StepLoader
from components.training.datamodules.order import Order, pieces_of
from tests.data.workbench import one_dataset, run
from tests.training.made import images, made

ROWS, BATCH = 260, 16
ROW_BYTES = 8 * 8 + 8
"""An image of 8 x 8 grey pixels and its label."""
TINY = 60 * ROW_BYTES / 2**20
"""Room for 60 rows, so 30 at a time."""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return images(tmp_path_factory.mktemp("many"), {"train": 200, "validation": 25, "test": 5}, shard_rows=7, added=60)


def prepared(dataset: Dataset, buffer_mib: float, *, seed: int = 0, batch_size: int = BATCH) -> Batches:
    config = TrainingConfig(batch_size=batch_size, buffer_mib=buffer_mib)
    return datamodules.prepare(dataset, config, datamodules.describe(dataset, config, Path()), seed)


@pytest.fixture
def streamed(many: Dataset) -> Iterator[Batches]:
    with closing(prepared(many, TINY)) as batches:
        yield batches


def equal(first: Batch, second: Batch) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def names(drawn: Tensor) -> list[bytes]:
    """Each image as something that can be counted."""
    return [image.numpy().tobytes() for image in drawn]


def test_what_fits_is_one_shuffle_of_all_rows_in_the_order_of_the_manifest(many: Dataset) -> None:
    rows = torch.cat([batch["image"] for batch in _all(many)])
    order = torch.cat([torch.randperm(ROWS, generator=torch.Generator().manual_seed(3 * 1_000_003 + epoch)) for epoch in (0, 1)])
    with closing(prepared(many, 1, seed=3)) as batches:
        for step in range(2 * ROWS // BATCH):
            assert torch.equal(batches.train(step)["image"], rows[order[step * BATCH : (step + 1) * BATCH]])


def _all(dataset: Dataset) -> list[Batch]:
    """Every training row in order, added ones at the end, read by hand."""
    from components.training.datamodules.image import ImageReader

    reader = ImageReader(8, labelled=True)
    return [reader.finish(reader.read(dataset.table("train")).tensors)]


def test_a_larger_dataset_is_drawn_from_row_by_row_once_per_epoch_in_ever_new_orders(many: Dataset, streamed: Batches) -> None:
    drawn = [name for step in range(3 * ROWS // BATCH + 1) for name in names(streamed.train(step)["image"])]
    epochs = [drawn[start : start + ROWS] for start in (0, ROWS, 2 * ROWS)]
    whole = sorted(names(_all(many)[0]["image"]))
    assert len(set(whole)) == ROWS
    assert all(sorted(epoch) == whole for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    with closing(prepared(many, TINY, seed=1)) as other:
        assert names(other.train(0)["image"]) != drawn[:BATCH]


def test_rows_from_all_over_the_dataset_meet_in_a_window(many: Dataset, streamed: Batches) -> None:
    place = {name: number for number, name in enumerate(names(_all(many)[0]["image"]))}
    first = [place[name] for step in range(2) for name in names(streamed.train(step)["image"])][:30]
    assert max(first) - min(first) > ROWS // 2
    assert first != sorted(first)


def test_a_batch_is_the_same_after_a_restart_at_any_step(many: Dataset, streamed: Batches) -> None:
    drawn = [streamed.train(step) for step in range(40)]
    for start in (1, 16, 17, 33):  # in the middle of a window, behind the end of an epoch, …
        with closing(prepared(many, TINY)) as again:
            assert all(equal(again.train(step), drawn[step]) for step in range(start, 40))
    assert equal(streamed.train(5), drawn[5])


def test_a_batch_larger_than_a_window_or_an_epoch_has_all_its_rows(many: Dataset) -> None:
    with closing(prepared(many, TINY, batch_size=ROWS)) as batches:
        assert sorted(names(batches.train(1)["image"])) == sorted(names(_all(many)[0]["image"]))


@pytest.mark.parametrize("batch_size", [1, 7, 16, 250])
def test_rows_in_order_come_in_the_same_batches_whether_they_are_held_or_not(many: Dataset, batch_size: int) -> None:
    with closing(prepared(many, TINY, batch_size=batch_size)) as ours, closing(prepared(many, 1, batch_size=batch_size)) as theirs:
        for mine, held in ((ours.validation(), theirs.validation()), (ours.originals(), theirs.originals())):
            assert all(equal(first, second) for first, second in zip(mine, held, strict=True))
        assert sum(len(batch["label"]) for batch in ours.originals()) == 200
        assert [len(batch["label"]) for batch in ours.validation()] == [batch_size] * (25 // batch_size) + [25 % batch_size] * (25 % batch_size > 0)


@pytest.mark.parametrize(("sizes", "most"), [([7] * 30, 30), ([50, 3, 1, 20, 50], 16), ([5], 2), ([1000], 100)])
def test_no_window_has_more_rows_than_it_may_and_together_they_have_all(many: Dataset, sizes: Sequence[int], most: int) -> None:
    shard = many.manifest.shards[0]
    pieces = pieces_of([shard.model_copy(update={"rows": rows}) for rows in sizes], max(1, most // 8))
    order = Order(pieces, 0, most)
    for epoch in (0, 1):
        windows, key = [order.window(epoch, 0)], order.next(epoch, 0)
        while key not in ((epoch, 0), (epoch + 1, 0)):
            windows.append(order.window(*key))
            key = order.next(*key)
        assert all(0 < sum(piece.rows for piece in window) <= most for window in windows)
        found = sorted(place for window in windows for piece in window for place in range(piece.first, piece.first + piece.rows))
        assert found == list(range(sum(sizes)))


def test_a_training_split_that_fits_a_window_is_read_once(tmp_path: Path) -> None:
    dataset = images(tmp_path, {"train": 20, "validation": 100}, shard_rows=7)
    with closing(prepared(dataset, TINY)) as batches:
        first = batches.train(0)
        for shard in dataset.shards("train"):
            (tmp_path / shard.path).unlink()
        assert equal(batches.train(0), first)
        assert {name for step in range(5) for name in names(batches.train(step)["image"])} >= set(names(first["image"]))


def test_a_damaged_shard_ends_the_training_that_reads_it_with_a_sentence(tmp_path: Path) -> None:
    dataset = images(tmp_path, {"train": 200, "validation": 10}, shard_rows=20)
    path = tmp_path / dataset.shards("train")[6].path
    path.write_bytes(path.read_bytes()[:-1])
    with closing(prepared(dataset, TINY)) as batches, pytest.raises(UserError, match=r"Shard data/clean/mine/train-00006.parquet is damaged"):
        list(StepLoader(batches, 0, 13))
    with pytest.raises(UserError, match=r"train-00006.parquet is damaged"):
        prepared(Dataset.open(dataset.project, "mine"), 1)


def test_no_thread_is_left_when_the_batches_are_closed(many: Dataset) -> None:
    before = set(threading.enumerate())
    with closing(prepared(many, TINY)) as batches:
        batches.train(0)
        next(batches.validation())
        assert set(threading.enumerate()) != before
    prepared(many, 1).train(0)  # all is held: there is nothing left to read
    assert set(threading.enumerate()) <= before


def test_captions_that_are_cut_are_told_once_when_they_are_streamed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = one_dataset(tmp_path, {"modality": "image-text", "source": {"kind": "digits", "rows": 300}})
    run(project)
    dataset = Dataset.open(project, "mine")
    config = ImageTextTrainingConfig(batch_size=16, vocab_size=300, caption_length=4, buffer_mib=60 * 88 / 2**20)
    spec = datamodules.describe(dataset, config, tmp_path)
    with closing(datamodules.prepare(dataset, config, spec, 0)) as batches:
        for step in range(20):
            assert batches.train(step)["tokens"].shape == (16, 4)
        for _ in range(2):
            assert sum(len(batch["tokens"]) for batch in batches.validation()) == dataset.table("validation").num_rows
    said = capsys.readouterr().out
    assert said.count("train captions have more than 4 tokens and are cut: raise caption_length") == 1
    assert said.count("validation captions have more than 4 tokens") == 1
    assert "of the first " in said


MEASURED = """
import sys
from pathlib import Path
from components.data.dataset import Dataset
from components.models.family import TrainingConfig
from components.project import Project
from components.training import datamodules

def peak_mib():
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")).split()[1]) / 1024

dataset = Dataset.open(Project(Path(sys.argv[1])), "mine")
spec = datamodules.describe(dataset, TrainingConfig(), Path())
for buffer_mib in map(float, sys.argv[2:]):
    before = peak_mib()
    batches = datamodules.prepare(dataset, TrainingConfig(buffer_mib=buffer_mib), spec, 0)
    for step in range(0, dataset.manifest.rows("train") // 64, 8):  # some of every window
        batches.train(step)
    for batch in batches.validation():
        pass
    print(peak_mib() - before)
"""


def _peaks_mib(root: Path, *buffers_mib: float) -> list[float]:
    """By how much an epoch with each of the buffers made the peak of memory of a process grow, which ends with its batches open."""
    arguments = [sys.executable, "-c", MEASURED, str(root), *map(str, buffers_mib)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=120)
    return [float(line) for line in done.stdout.split()]


@pytest.mark.slow
def test_an_epoch_takes_a_bounded_amount_of_memory_however_large_the_dataset_is(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    from components.data.pixels import encode_image

    pictures = [encode_image(Image.fromarray(np.full((128, 128, 3), shade, dtype=np.uint8))) for shade in range(50)]
    common = {"label": None, "caption": None, "width": 128, "height": 128, "mode": "RGB"}
    rows = [{"image": {"bytes": picture, "path": ""}, **common} for picture in pictures]
    made(tmp_path, "image", {"train": rows * 200, "validation": rows * 4}, shard_rows=500)
    whole = 50 * 204 * 128 * 128 * 3 / 2**20  # 478 MiB
    streamed, held = _peaks_mib(tmp_path, 16, 1024)
    assert streamed < whole / 2
    assert streamed + held > whole
