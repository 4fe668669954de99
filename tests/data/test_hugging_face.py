"""Datasets of Hugging Face: every form in which one lies in a folder, and a hub on loopback; no code of a dataset runs."""

import json
import os
import subprocess
import sys
import urllib.parse
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value

from components.data.stages import probe
from components.errors import UserError
from components.project import Project
from tests.data.archives import refused_at_once
from tests.data.web_server import Answer, Site, serving
from tests.data.workbench import files, one_dataset, png, rows, run, set_params

FEATURES = Features({"img": Image(), "label": ClassLabel(names=["cat", "dog"])})


def images(start: int, num: int = 20) -> Dataset:
    rows = {"img": [{"bytes": png(start + index), "path": None} for index in range(num)], "label": [index % 2 for index in range(num)]}
    return Dataset.from_dict(rows, features=FEATURES)


def hub(tmp_path: Path, modality: str = "image", **source: Any) -> Project:
    return one_dataset(tmp_path, {"modality": modality, "source": {"kind": "hugging-face", "path": "../files", **source}})


def test_a_dataset_that_was_saved_is_read_with_its_splits_and_class_names(tmp_path: Path) -> None:
    project = hub(tmp_path, splits={"dev": "validation"})
    DatasetDict({"train": images(0), "dev": images(100), "test": images(200)}).save_to_disk(files(project))
    set_params(project, split={"method": "given"})
    manifest = run(project)
    assert manifest.rows_by_split() == {"train": 20, "validation": 20, "test": 20}
    assert manifest.class_names == ("cat", "dog")
    assert {row["image"]["bytes"] for row in rows(project)} == {png(start + index) for start in (0, 100, 200) for index in range(20)}
    assert not probe(project, "mine")


def test_one_split_alone_and_texts_are_read_too(tmp_path: Path) -> None:
    project = hub(tmp_path, "text", columns={"text": "body"})
    Dataset.from_dict({"body": [f"text number {index}" for index in range(300)]}, features=Features({"body": Value("string")})).save_to_disk(files(project))
    assert run(project).rows() == 300


def test_a_folder_as_on_the_hub_with_parquet_or_images_is_read(tmp_path: Path) -> None:
    (tmp_path / "parquet").mkdir()
    (tmp_path / "images").mkdir()
    project = hub(tmp_path / "parquet")
    (files(project) / "data").mkdir(parents=True)
    for split in ("train", "test"):
        images(0 if split == "train" else 50).to_parquet(files(project) / "data" / f"{split}-00000-of-00001.parquet")
    assert run(project, stages=["collect"]).rows() == 40
    assert {row["split"] for row in rows(project, stage="collect")} == {"train", "test"}
    project = hub(tmp_path / "images")
    for index in range(10):
        path = files(project) / ("train" if index % 2 else "test") / "cat" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(index))
    assert run(project, stages=["collect"]).class_names == ("cat",)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"path": "someone/pets"}, r"the hub is not asked for 'someone/pets' because HF_HUB_OFFLINE is set: unset it, or give source\.path the folder"),
        ({"path": "../nowhere"}, r"there is no folder .*nowhere: give source\.path a folder that exists, or the id of a dataset of the hub"),
        ({"name": "small"}, r"holds no folder 'small': mend source\.name"),
        ({}, r"holds no image files"),
    ],
)
def test_what_is_not_there_is_named_and_nothing_is_asked_for_offline(tmp_path: Path, source: dict[str, str], said: str) -> None:
    project = hub(tmp_path, **source)
    files(project).mkdir()
    with pytest.raises(UserError, match=said):
        run(project)


def test_a_saved_dataset_that_is_damaged_is_named(tmp_path: Path) -> None:
    project = hub(tmp_path)
    images(0).save_to_disk(files(project))
    arrow = next(files(project).glob("*.arrow"))
    arrow.write_bytes(b"no arrow")
    with pytest.raises(UserError, match=r"\.arrow in .* is no whole Arrow file \(.*\): save it again with save_to_disk"):
        run(project)
    arrow.unlink()
    with pytest.raises(UserError, match=r"lacks data-00000-of-00001\.arrow: save it again"):
        run(project)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda whole: whole[:-8], "it ends behind row 2,500, before or without its end"),
        (lambda whole: whole[: (at := whole.rindex(b"\xff\xff\xff\xff", 0, -8))] + bytes(8) + whole[at + 8 :], r"it ends behind row 2,\d00, before or without"),
        (lambda whole: whole[: len(whole) // 2], "Expected to be able to read"),
        (lambda whole: whole.replace(b"number 1234", b"number \xff234"), ".*Invalid UTF8"),
    ],
)
@pytest.mark.parametrize("modality", ["text", "image"])
def test_a_saved_dataset_that_is_damaged_within_is_refused_and_loses_nothing(tmp_path: Path, modality: str, damage: Any, said: str) -> None:
    project = hub(tmp_path, modality)
    texts = [f"text number {index:04d}" for index in range(2500)]
    content = {"text": texts} if modality == "text" else {"image": [{"bytes": b"x", "path": None}] * 2500, "label": texts}
    Dataset.from_dict(content).save_to_disk(files(project))
    run(project, stages=["collect"])
    kept = rows(project, stage="collect")
    (arrow,) = files(project).glob("*.arrow")
    arrow.write_bytes(damage(arrow.read_bytes()))
    with pytest.raises(UserError, match=f"is no whole Arrow file \\({said}.*: save it again with save_to_disk"):
        run(project, stages=["collect"])
    assert rows(project, stage="collect") == kept


NOTHING = partial(pa.Array.from_buffers, pa.null(), buffers=[None])
BITS = pa.Array.from_buffers(pa.bool_(), 10**7, [None, pa.py_buffer(bytes(1_250_000))])
BOMBS = {
    "packed": (pa.array(["x" * 2**28]), "zstd", "it holds a record batch as save_to_disk does not write it"),
    "dictionary": (pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), ["x" * 2**20]), None, "it has values of the type dictionary"),
    "runs": (pa.RunEndEncodedArray.from_arrays([2**31 - 1], ["x"]), None, "it has values of the type run_end_encoded"),
    "views": (pa.array(["x" * 100], pa.string_view()), None, "it has values of the type string_view"),
    "bits": (pa.ListArray.from_arrays([0, 10**7], BITS), None, "it has 10,000,001 values in 1 rows"),
    "nulls": (NOTHING(2**40), None, "it says to have 1,099,511,627,776 rows"),
    "lists": (pa.ListArray.from_arrays([0, 2**31 - 1], NOTHING(2**31 - 1)), None, "it has 2,147,483,648 values in 1 rows"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_an_arrow_file_in_which_few_bytes_are_many_values_is_refused_at_once(tmp_path: Path, bomb: str) -> None:
    array, packing, said = BOMBS[bomb]
    Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "saved")
    (arrow,) = (tmp_path / "saved").glob("*.arrow")
    batch = pa.record_batch({"text": array})
    with pa.ipc.new_stream(arrow, batch.schema, options=pa.ipc.IpcWriteOptions(compression=packing, allow_64bit=True)) as writer:
        writer.write_batch(batch)
    assert arrow.stat().st_size < 2**21
    assert said in refused_at_once({"kind": "hugging-face", "path": "saved"}, "text", tmp_path)


SHA, CONVERTED = (digit * 40 for digit in "12")


def revision_of(site: Site, revision: str, sha: str, content: dict[str, bytes]) -> None:
    """Let ``site`` be a hub that has ``content`` of `someone/pets` at ``revision``."""
    told = {
        "id": "someone/pets", "sha": sha, "siblings": [{"rfilename": name} for name in content], "cardData": {"license": "cc0-1.0"}, "tags": [],
        "downloads": 0, "likes": 0, "private": False, "gated": False, "disabled": False,
    }  # fmt: skip
    tree = [{"type": "file", "path": name, "size": len(found), "oid": f"{len(found):040x}"} for name, found in content.items()]

    def json_of(value: Any) -> Answer:
        return lambda one: one.say(200, json.dumps(value).encode(), Content_Type="application/json")

    def file(found: bytes) -> Answer:
        return lambda one: one.say(200, found, ETag=f'"{len(found):040x}"', X_Repo_Commit=sha)

    sizes = told | {"siblings": [{"rfilename": name, "size": len(found)} for name, found in content.items()]}
    for name in (revision, sha):
        path = f"/api/datasets/someone/pets/revision/{urllib.parse.quote(name, safe='')}"
        site.answers |= {path: json_of(told), f"{path}?blobs=true": json_of(sizes), f"{path}?blobs=True": json_of(sizes)}
    for truth in ("true&expand=false", "True&expand=False"):
        site.answers[f"/api/datasets/someone/pets/tree/{sha}?recursive={truth}"] = json_of(tree)
    site.answers |= {f"/datasets/someone/pets/resolve/{sha}/{name}": file(found) for name, found in content.items()}


def collected(site: Site, project: Project, tmp_path: Path) -> str:
    """How many rows a process that may go online collects, and the source that its manifest names."""
    code = """
import sys
from pathlib import Path
from components.project import Project
from tests.data.workbench import run
manifest = run(Project(Path(sys.argv[1])), stages=["collect"])
print(manifest.rows(), manifest.source)
"""
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"} | {"HF_ENDPOINT": site.url, "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run([sys.executable, "-c", code, str(project.root)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr + str(site.asked)
    return done.stdout


def parquet(tmp_path: Path) -> bytes:
    images(0).to_parquet(tmp_path / "train.parquet")
    return (tmp_path / "train.parquet").read_bytes()


@pytest.mark.slow
def test_the_hub_is_asked_for_files_at_one_commit_and_none_of_its_code_runs(tmp_path: Path) -> None:
    with serving() as site:
        revision_of(site, "main", SHA, {"data/train-00000-of-00001.parquet": parquet(tmp_path), "pets.py": b"raise SystemExit('it ran')"})
        said = collected(site, hub(tmp_path, path="someone/pets"), tmp_path)
    assert said.startswith("20 ")
    assert f"'revision': '{SHA}', 'licence': 'cc0-1.0'" in said
    assert "converted" not in said
    assert not any(path.endswith("pets.py") for _, path, _ in site.asked)


@pytest.mark.slow
def test_of_a_dataset_that_is_a_script_the_tables_that_the_hub_made_of_it_are_read(tmp_path: Path) -> None:
    with serving() as site:
        revision_of(site, "main", SHA, {"README.md": b"Pets", "pets.py": b"raise SystemExit('it ran')"})
        revision_of(site, "refs/convert/parquet", CONVERTED, {"default/train/0000.parquet": parquet(tmp_path)})
        said = collected(site, hub(tmp_path, path="someone/pets"), tmp_path)
    assert said.startswith("20 ")
    assert f"'revision': '{SHA}', 'licence': 'cc0-1.0', 'converted': '{CONVERTED}'" in said
    assert not any(path.endswith("pets.py") for _, path, _ in site.asked)


@pytest.mark.slow
def test_a_script_that_the_hub_made_no_tables_of_is_one_sentence(tmp_path: Path) -> None:
    with serving() as site:
        revision_of(site, "main", SHA, {"pets.py": b"raise SystemExit('it ran')"})
        with pytest.raises(AssertionError, match="UserError: 'someone/pets' is a script, which is not run, and the hub made no tables of it: export"):
            collected(site, hub(tmp_path, path="someone/pets"), tmp_path)


@pytest.mark.slow
def test_a_dataset_that_is_larger_than_allowed_is_refused_before_it_is_fetched(tmp_path: Path) -> None:
    with serving() as site:
        revision_of(site, "main", SHA, {"data/train.parquet": parquet(tmp_path), "data/test.parquet": parquet(tmp_path)})
        with pytest.raises(AssertionError, match=r"'someone/pets' has [\d,]+ bytes, and source\.max_total_bytes allows 2,000: raise it, or name a subset"):
            collected(site, hub(tmp_path, path="someone/pets", max_total_bytes=2000), tmp_path)
    assert not any("/resolve/" in path for _, path, _ in site.asked)


@pytest.mark.slow
def test_a_hub_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"UserError: .*the hub cannot be reached for 'someone/pets' \(ConnectError\): go online, or give"):
        collected(Site(url="http://127.0.0.1:1"), hub(tmp_path, path="someone/pets"), tmp_path)


@pytest.mark.slow
def test_a_hub_that_breaks_off_is_one_sentence(tmp_path: Path) -> None:
    with serving() as site:
        revision_of(site, "main", SHA, {"data/train.parquet": parquet(tmp_path)})
        site.answers[f"/datasets/someone/pets/resolve/{SHA}/data/train.parquet"] = lambda one: one.cut(parquet(tmp_path), 10)
        with pytest.raises(AssertionError, match=r"UserError: the files of 'someone/pets' could not be fetched \(\w+\): run again, what is there is kept"):
            collected(site, hub(tmp_path, path="someone/pets"), tmp_path)
