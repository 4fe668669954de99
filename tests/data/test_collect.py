"""Collecting: shards are stable, new samples add to them, and the source's mistakes are named."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from components.data import collect
from components.data.dataset import stage_folder
from components.data.stages import probe
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


# -- what is not read again -------------------------------------------------------------------------------------------


def swap(path: Path, content: bytes) -> None:
    """Other bytes of the same size and time: who does not open the file does not see them."""
    status = path.stat()
    assert len(content) == status.st_size
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def forget(project: Project) -> None:
    shutil.rmtree(project.cache / "collect")


def test_a_file_that_looks_unchanged_is_not_opened_again_unless_the_memory_is_lost(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text")
    for index in range(10):
        (files(project) / f"{index}.txt").write_text(f"text number {index}")
    first = run(project, stages=["collect"])
    swap(files(project) / "3.txt", b"TEXT NUMBER 3")
    (files(project) / "new.txt").write_text("a new text")
    second = run(project, stages=["collect"])
    assert second.shards[: len(first.shards)] == first.shards
    assert {row["text"] for row in rows(project, stage="collect")} >= {b"text number 3", b"a new text"}
    forget(project)
    run(project, stages=["collect"])
    assert {row["text"] for row in rows(project, stage="collect")} >= {b"TEXT NUMBER 3", b"a new text"}


def test_the_memory_changes_no_byte_of_what_is_collected(tmp_path: Path) -> None:
    found = []
    for lost in (False, True):
        (tmp_path / str(lost)).mkdir()
        project = folder_project(tmp_path / str(lost), "image")
        paths = write_images(project, 60)
        for step in range(3):
            run(project, stages=["collect"])
            if lost:
                forget(project)
            paths[step].unlink()
            paths[10 + step].write_bytes(png(2000 + step))
            write_images(project, 5, start=100 + 10 * step)
        run(project, stages=["collect"])
        found.append(shard_bytes(stage_folder(project, "mine", "collect")))
    assert found[0] == found[1]


def test_a_damaged_memory_is_not_believed(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    write_images(project, 20)
    good = run(project, stages=["collect"])
    for path in (project.cache / "collect" / "mine").iterdir():
        path.write_bytes(path.read_bytes()[:-7] + b"garbage")
    assert run(project, stages=["collect"]).sha256 == good.sha256


@pytest.mark.slow
@pytest.mark.parametrize("one_file", [True, False])
def test_a_collect_that_was_killed_goes_on_behind_its_last_shard_and_gives_the_same_bytes(
    tmp_path: Path, one_file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.data.collect.SHARD_ROWS", 7)
    wanted = {}
    for killed in (False, True):
        (tmp_path / str(killed)).mkdir()
        project = folder_project(tmp_path / str(killed), "text")
        texts = [f"text number {index:03d}" for index in range(40)]
        if one_file:
            (files(project) / "all.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        else:
            for index, text in enumerate(texts):
                (files(project) / f"{index:03d}.txt").write_text(text)
        if killed:
            kill_at_shard(project, 3)
            assert not (stage_folder(project, "mine", "collect") / "manifest.json").exists()
            written = {path: path.stat().st_mtime_ns for path in stage_folder(project, "mine", "collect").glob("*.parquet")}
            if not one_file:
                swap(files(project) / "000.txt", b"TEXT NUMBER 000")  # would be seen if it were read again
        run(project, stages=["collect"])
        wanted[killed] = shard_bytes(stage_folder(project, "mine", "collect"))
    assert wanted[True] == wanted[False]
    assert len(written) == 3
    assert {path: path.stat().st_mtime_ns for path in written} == written


@pytest.mark.slow
def test_a_source_that_changed_after_a_kill_is_read_as_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.data.collect.SHARD_ROWS", 7)
    project = folder_project(tmp_path, "text")
    for index in range(40):
        (files(project) / f"{index:03d}.txt").write_text(f"text number {index}")
    kill_at_shard(project, 3)
    (files(project) / "002.txt").unlink()
    run(project, stages=["collect"])
    found = shard_bytes(stage_folder(project, "mine", "collect"))
    shutil.rmtree(project.data)
    forget(project)
    run(project, stages=["collect"])
    assert shard_bytes(stage_folder(project, "mine", "collect")) == found


@pytest.mark.slow
def test_a_collect_that_was_killed_while_it_replaced_old_shards_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.data.collect.SHARD_ROWS", 7)
    found = {}
    for killed in (False, True):
        (tmp_path / str(killed)).mkdir()
        project = folder_project(tmp_path / str(killed), "text")
        for index in range(40):
            (files(project) / f"{index:03d}.txt").write_text(f"text number {index}")
        run(project, stages=["collect"])
        for index in (3, 9, 20):
            (files(project) / f"{index:03d}.txt").unlink()
        (files(project) / "new.txt").write_text("a new text")
        if killed:
            kill(project, "take_staged", "00001.parquet")
        manifest = run(project, stages=["collect"])
        found[killed] = shard_bytes(stage_folder(project, "mine", "collect"))
        assert not list(stage_folder(project, "mine", "collect").glob("*.staged"))
    assert found[True] == found[False]
    assert manifest.rows() == 38


def kill_at_shard(project: Project, number: int) -> None:
    """Collect in a process of its own that is killed when it is about to write shard ``number``."""
    kill(project, "write_shard", f"{number:05d}.parquet")


def kill(project: Project, method: str, ending: str) -> None:
    """Collect in a process of its own that is killed when it is about to do ``method`` of `OutputFolder` with the file called so."""
    probe(project, "mine")
    code = f"""
import os, signal, sys
from pathlib import Path
from components.data import collect
from components.data.shards import OutputFolder
from components.data.stamp import read_stamp
from components.project import Project
collect.SHARD_ROWS = {collect.SHARD_ROWS}
whole = OutputFolder.{method}
def dying(self, name, *rest):
    if name.endswith("{ending}"):
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, name, *rest)
OutputFolder.{method} = dying
project = Project(Path(sys.argv[1]))
collect.collect(project, read_stamp(project, "mine", "collect"))
"""
    done = subprocess.run([sys.executable, "-c", code, str(project.root)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.slow
def test_a_million_small_documents_need_little_memory(tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    (tmp_path / "many").mkdir()
    peaks = {}
    for name, number in (("few", 1000), ("many", 1_000_000)):
        project = folder_project(tmp_path / name, "text")
        with (files(project) / "all.jsonl").open("w") as file:
            file.writelines(f'{{"text": "a document of the number {index}"}}\n' for index in range(number))
        probe(project, "mine")
        code = """
import resource, sys
from pathlib import Path
from components.data.collect import collect
from components.data.stamp import read_stamp
from components.project import Project
project = Project(Path(sys.argv[1]))
collect(project, read_stamp(project, "mine", "collect"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
        done = subprocess.run([sys.executable, "-c", code, str(project.root)], capture_output=True, text=True, check=True)
        peaks[name] = float(done.stdout)
    assert peaks["many"] - peaks["few"] < 150
