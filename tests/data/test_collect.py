"""Collecting: shards are stable, new samples add to them, and the source's mistakes are named."""

import os
import shutil
from pathlib import Path

import pytest

from components.data.dataset import stage_folder
from components.errors import UserError
from components.project import Project
from tests.data.workbench import files, folder_project, one_dataset, png, rows, run, set_params, shard_bytes, write_images


def digits_project(tmp_path: Path, rows: int) -> Project:
    return one_dataset(tmp_path, {"modality": "image", "source": {"kind": "digits", "rows": rows}})


def test_growing_rows_adds_shards_and_leaves_the_old_bytes(tmp_path: Path) -> None:
    project = digits_project(tmp_path, 300)
    folders = [stage_folder(project, "mine", stage) for stage in ("collect", "clean")]
    run(project)
    before = [shard_bytes(folder) for folder in folders]
    set_params(project, source={"rows": 500})
    manifest = run(project)
    after = [shard_bytes(folder) for folder in folders]
    for old, new in zip(before, after, strict=True):
        old.pop("quarantine.parquet", None)
        assert {name: new[name] for name in old} == old
        assert len(new) > len(old)
    assert manifest.rows() == 500


def test_shrinking_rows_again_gives_the_earlier_content_again(tmp_path: Path) -> None:
    project = digits_project(tmp_path, 300)
    first = run(project)
    set_params(project, source={"rows": 500})
    grown = run(project)
    set_params(project, source={"rows": 300})
    assert run(project).sha256 == first.sha256 != grown.sha256


def test_a_changed_file_goes_to_a_new_shard_and_a_deleted_one_goes_away(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    paths = write_images(project, 40)
    run(project, stages=["collect"])
    paths[3].write_bytes(png(1003))
    paths[5].unlink()
    manifest = run(project, stages=["collect"])
    assert [shard.rows for shard in manifest.shards] == [38, 1]
    found = {row["id"]: row["image"]["bytes"] for row in rows(project, stage="collect")}
    assert found["b/0003.png"] == png(1003)
    assert "b/0005.png" not in found


def test_an_untouched_source_gives_the_same_bytes(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    write_images(project, 40)
    run(project)
    before = {path: path.read_bytes() for path in project.data.rglob("*.*")}
    shutil.rmtree(project.data)
    run(project)
    assert {path: path.read_bytes() for path in project.data.rglob("*.*")} == before


def test_a_damaged_raw_shard_is_not_built_upon(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    write_images(project, 40)
    good = run(project, stages=["collect"])
    shard = project.root / good.shards[0].path
    shard.write_bytes(shard.read_bytes()[:-20])
    assert run(project, stages=["collect"]).sha256 == good.sha256


def test_a_class_that_comes_later_keeps_the_numbers_of_the_others(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    write_images(project, 60, classes=("cat", "dog"))
    run(project)
    before = {row["id"]: row["label"] for row in rows(project)}
    write_images(project, 60, classes=("ant",), start=100)
    manifest = run(project)
    assert manifest.class_names == ("cat", "dog", "ant")
    after = {row["id"]: row["label"] for row in rows(project)}
    assert {name: after[name] for name in before} == before


def test_images_without_class_folders_have_no_labels(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    for index in range(60):
        (files(project) / f"{index}.png").write_bytes(png(index))
    assert run(project).class_names == ()
    assert all(row["label"] is None for row in rows(project))


def test_hidden_files_and_other_kinds_of_file_are_left_out(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    write_images(project, 3)
    (files(project) / "a" / ".hidden.png").write_bytes(png(77))
    (files(project) / ".cache").mkdir()
    (files(project) / ".cache" / "x.png").write_bytes(png(78))
    (files(project) / "notes.txt").write_text("no image")
    assert run(project, stages=["collect"]).rows() == 3


def test_a_missing_folder_is_named_with_its_line(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    files(project).rmdir()
    with pytest.raises(UserError, match=r"params.yaml line 6: dataset 'mine': there is no folder .*files: give source.path a folder that exists"):
        run(project)


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no image files \(\.png"):
        run(folder_project(tmp_path, "image"))


def test_file_names_that_are_no_utf8_are_read_all_the_same(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    write_images(project, 3)
    Path(os.fsdecode(os.fsencode(files(project) / "a") + b"/caf\xe9.png")).write_bytes(png(5))
    run(project, stages=["collect"])
    assert "a/caf\\xe9.png" in {row["id"] for row in rows(project, stage="collect")}


def test_one_folder_called_train_is_a_class_and_not_a_split(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    write_images(project, 60, classes=("train",))
    assert run(project).class_names == ("train",)
