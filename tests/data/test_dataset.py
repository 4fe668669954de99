"""Reading a dataset: checked digests, clear errors, and files that other tools understand."""

import io
import shutil
from pathlib import Path

import pytest
from PIL import Image

from components.data.dataset import Dataset, Manifest, read_manifest, stage_folder
from components.data.modalities import find_modality
from components.errors import UserError
from components.project import Project


@pytest.fixture
def copy(dataset_project: Project, tmp_path: Path) -> Project:
    shutil.copytree(dataset_project.root, tmp_path / "copy", symlinks=True)
    return Project(tmp_path / "copy")


def test_digits_have_the_shares_of_their_split_and_ten_classes(dataset_project: Project) -> None:
    data = Dataset.open(dataset_project, "digits")
    counts = [data.table(split, augmented=False).num_rows for split in ("train", "validation", "test")]
    assert sum(counts) == 1797
    assert [abs(count / 1797 - share) < 0.03 for count, share in zip(counts, (0.5, 0.1, 0.4), strict=True)] == [True] * 3
    assert data.class_names == tuple("0123456789")
    assert data.modality == "image"


def test_digit_pictures_and_captions_say_what_their_labels_say(dataset_project: Project) -> None:
    row = Dataset.open(dataset_project, "digits").table("train").to_pylist()[0]
    assert row["caption"] == f"a handwritten digit {('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')[row['label']]}"
    with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
        assert (image.size, image.mode) == ((8, 8), "L") == ((row["width"], row["height"]), row["mode"])
        assert image.getextrema()[1] > 200


def test_pydocs_are_documents_with_titles_and_enough_text_in_every_split(dataset_project: Project) -> None:
    data = Dataset.open(dataset_project, "pydocs")
    chars = {split: sum(data.table(split)["num_chars"].to_pylist()) for split in ("train", "validation", "test")}
    assert 280_000 < sum(chars.values()) < 465_000
    assert min(chars.values()) > 0.08 * sum(chars.values())
    assert all(data.table("test")["title"].to_pylist())
    assert len(data.manifest.source["sha256"]) == 64


def test_a_damaged_shard_is_named_when_it_is_read_even_with_its_old_time(copy: Project) -> None:
    data = Dataset.open(copy, "digits")
    shard = next(shard for shard in data.manifest.shards if shard.split == "test")
    path = copy.root / shard.path
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    import os

    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(UserError, match=r"Shard data/clean/digits/test-00000.parquet is damaged .* run `genmill run --dataset digits`"):
        data.table("test")
    assert data.table("validation").num_rows > 0


def test_a_missing_shard_is_named(copy: Project) -> None:
    (stage_folder(copy, "digits", "augment") / "train-00000.parquet").unlink()
    with pytest.raises(UserError, match=r"Shard data/augmented/digits/train-00000.parquet is missing"):
        Dataset.open(copy, "digits").table("train")
    assert Dataset.open(copy, "digits").table("train", augmented=False).num_rows > 0


def test_an_unknown_dataset_is_answered_with_the_nearest_one(dataset_project: Project) -> None:
    with pytest.raises(UserError, match=r"'digit' is not prepared .*did you mean 'digits'\?.*genmill run --dataset digit"):
        Dataset.open(dataset_project, "digit")


def test_a_damaged_manifest_is_an_error_with_the_fix(copy: Project) -> None:
    folder = stage_folder(copy, "digits", "augment")
    (folder / "manifest.json").write_text('{"name": "digits"')
    with pytest.raises(UserError, match=r"manifest.json is damaged: delete"):
        Dataset.open(copy, "digits")


def test_columns_can_be_chosen(dataset_project: Project) -> None:
    assert Dataset.open(dataset_project, "digits").table("test", columns=["id", "label"]).column_names == ["id", "label"]


def test_a_manifest_digest_is_of_its_content_and_not_of_code_or_params(dataset_project: Project) -> None:
    manifest = read_manifest(stage_folder(dataset_project, "digits", "augment"))
    assert manifest is not None
    assert Manifest.from_json(manifest.to_json().encode()).sha256 == manifest.sha256
    assert manifest.model_copy(update={"code": "other", "params": {}, "parent_sha256": ""}).sha256 == manifest.sha256
    assert manifest.model_copy(update={"shards": manifest.shards[:-1]}).sha256 != manifest.sha256
    assert manifest.model_copy(update={"class_names": ()}).sha256 != manifest.sha256


def test_no_path_of_this_machine_and_no_time_is_written(dataset_project: Project) -> None:
    for path in dataset_project.data.rglob("*.json"):
        assert str(dataset_project.root) not in path.read_text(), path


def test_previews_are_a_picture_and_a_text(dataset_project: Project) -> None:
    picture = find_modality("image").preview(Dataset.open(dataset_project, "digits").table("train"))
    assert isinstance(picture, bytes)
    with Image.open(io.BytesIO(picture)) as image:
        assert image.width > 500
    text = find_modality("text").preview(Dataset.open(dataset_project, "pydocs").table("train"))
    assert isinstance(text, str)
    assert text.startswith("[")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_hugging_face_datasets_opens_the_shards_as_images(dataset_project: Project, tmp_path: Path) -> None:
    import datasets

    shards = sorted(str(path) for path in stage_folder(dataset_project, "digits", "clean").glob("test-*.parquet"))
    loaded = datasets.load_dataset("parquet", data_files={"test": shards}, cache_dir=str(tmp_path / "cache"))["test"]
    assert isinstance(loaded.features["image"], datasets.Image)
    assert loaded[0]["image"].size == (8, 8)
    assert loaded.num_rows == Dataset.open(dataset_project, "digits").table("test").num_rows
