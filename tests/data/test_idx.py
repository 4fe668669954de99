"""IDX files: images with their labels in their given splits, and headers that are checked against their files."""

import gzip
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.errors import UserError
from components.project import Project
from tests.data.archives import refused_at_once
from tests.data.workbench import files, one_dataset, rows, run, set_params

PIXELS = np.random.default_rng(0).integers(0, 256, size=(80, 6, 5), dtype=np.uint8)


def images(pixels: np.ndarray, number: int | None = None) -> bytes:
    return struct.pack(">LLLL", 0x803, len(pixels) if number is None else number, *pixels.shape[1:]) + pixels.tobytes()


def labels(number: int) -> bytes:
    return struct.pack(">LL", 0x801, number) + bytes(index % 10 for index in range(number))


def idx_project(tmp_path: Path, packed: bool = False) -> Project:
    (tmp_path / "files").mkdir()
    project = one_dataset(tmp_path, {"modality": "image", "source": {"kind": "idx", "path": "../files"}, "split": {"method": "given"}})
    for split, part in (("train", slice(0, 60)), ("t10k", slice(60, 80))):
        for name, content in ((f"{split}-images-idx3-ubyte", images(PIXELS[part])), (f"{split}-labels-idx1-ubyte", labels(len(PIXELS[part])))):
            path = files(project) / (f"{name}.gz" if packed else name)
            path.write_bytes(gzip.compress(content) if packed else content)
    return project


@pytest.mark.parametrize("packed", [False, True])
def test_images_and_labels_come_in_the_splits_that_their_files_are_called_by(tmp_path: Path, packed: bool) -> None:
    project = idx_project(tmp_path, packed)
    manifest = run(project)
    assert manifest.class_names == tuple("0123456789")
    assert manifest.rows("test") == 20
    for row in rows(project):
        split, index = row["id"].split("-")
        wanted = PIXELS[int(index) + (60 if split == "test" else 0)]
        assert (np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))) == wanted).all()
        assert row["label"] == int(index) % 10


def test_labels_may_be_named_and_must_be_named_in_full(tmp_path: Path) -> None:
    project = idx_project(tmp_path)
    names = ["shirt", "shoe", "bag", "coat", "dress", "boot", "top", "hat", "sock", "scarf"]
    set_params(project, source={"class_names": names})
    assert run(project).class_names == tuple(names)
    set_params(project, source={"class_names": names[:9]})
    with pytest.raises(UserError, match=r"has the label 9, and source\.class_names names only 9: name the others too"):
        run(project)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"is no IDX file of images with 8 bits each: fetch it again"),
        (b"<html>not found</html>", r"is no IDX file of images"),
        (images(PIXELS[:60])[:-1], r"says that 1,800 bytes follow its header, and 1,799 do: fetch it again"),
        (images(PIXELS[:60]) + b"x", r"says that 1,800 bytes follow its header, and more do"),
        (images(PIXELS[:60], number=2**32 - 1), r"says that 128,849,018,850 bytes follow its header, and 1,800 do"),
        (struct.pack(">LLLL", 0x803, 1, 2**31, 2**31), r"says that it holds 1 images of 2147483648x2147483648 pixels, which cannot be"),
        (images(PIXELS[:50]), r"has 50 images and train-labels-idx1-ubyte 60 labels: fetch both again"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_is_not_what_its_header_says_is_refused_before_it_is_read(tmp_path: Path, content: bytes, said: str, packed: bool) -> None:
    project = idx_project(tmp_path, packed)
    ending = ".gz" if packed else ""
    (files(project) / f"train-images-idx3-ubyte{ending}").write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(UserError, match=said.replace("idx1-ubyte ", f"idx1-ubyte{ending} ")):
        run(project)


@pytest.mark.slow
def test_a_packed_bomb_is_refused_at_once(tmp_path: Path) -> None:
    content = struct.pack(">LLLL", 0x803, 600 * 1024, 32, 32) + bytes(600 * 2**20)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content, 9))
    assert "unpacks to more than 200 times its size" in refused_at_once({"kind": "idx", "path": "."}, "image", tmp_path)


def test_a_folder_without_idx_files_or_with_those_of_two_datasets_is_refused(tmp_path: Path) -> None:
    project = idx_project(tmp_path)
    (files(project) / "emnist-train-images-idx3-ubyte").write_bytes(images(PIXELS))
    with pytest.raises(UserError, match=r"holds IDX files of several datasets \(, emnist-…\): give each a folder of its own"):
        run(project)
    for path in files(project).iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"holds no train-images-idx3-ubyte \(or with \.gz\): put the IDX files there"):
        run(project)
