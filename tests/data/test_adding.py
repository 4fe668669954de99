"""`data add` understands what lies there, proposes blocks that hold, and writes nothing that was not meant."""

import gzip
import json
import shutil
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data.config import find_dataset
from components.errors import UserError
from components.params import load
from components.project import Project
from pipelines.add import Addition, add_dataset, write_addition
from pipelines.catalog import load_catalog
from tests.conftest import make_project
from tests.data.scenes import exported
from tests.data.web_server import serving
from tests.data.workbench import png, run

PROSE = "The old mill stood where the river bends, and every autumn the farmers of the valley brought their grain there, number {}, and waited for their turn."


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project", "# mine\ndatasets:\n  digits:\n    modality: image\n    source: {kind: digits}\nmodels: {}\n", commit=False)


@pytest.fixture
def there(tmp_path: Path) -> Path:
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


def added(project: Project, where: str | Path, name: str = "mine", **options: Any) -> Addition:
    return add_dataset(project, name, str(where), project.root, **options)


def write_classes(folder: Path, num: int = 60) -> None:
    for index in range(num):
        path = folder / ("cat", "dog")[index % 2] / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(index, size=(32, 32)))


def test_class_folders_of_images(project: Project, there: Path) -> None:
    write_classes(there)
    (there / "README.txt").write_text("two classes of noise")
    found = added(project, there)
    assert (found.look.modality, found.look.num, found.look.is_exact, found.look.class_names) == ("image", 61 - 1, True, ("cat", "dog"))
    assert found.dataset["source"] == {"kind": "folder", "path": str(there)}
    assert found.dataset["split"]["method"] == "hash"
    assert list(found.models) == ["diffusion-mine"]
    assert found.command == "genmill run diffusion-mine"


@pytest.mark.parametrize(("num", "shares"), [(40, (0.5, 0.1, 0.4)), (120, (0.5, 0.1, 0.4)), (300, (0.7, 0.1, 0.2)), (650, (0.8, 0.1, 0.1))])
def test_of_few_images_more_are_kept_to_test_on(project: Project, there: Path, num: int, shares: tuple[float, float, float]) -> None:
    write_classes(there, num)
    assert added(project, there).dataset["split"] == {"method": "hash", **dict(zip(("train", "validation", "test"), shares, strict=True))}


def test_images_of_different_sizes_and_modes_get_one_form(project: Project, there: Path) -> None:
    for index in range(40):
        (there / f"{index}.png").write_bytes(png(index, size=(60 + index, 90), mode="L" if index % 4 == 0 else "RGB"))
    found = added(project, there)
    assert found.dataset["clean"]["image"] == {"mode": "rgb", "size": 64}
    assert found.models["diffusion-mine"]["config"]["image_size"] == 32
    write_addition(project, found)
    assert run(project).rows() == 40


def test_images_with_captions_beside_them(project: Project, there: Path) -> None:
    write_classes(there)
    for path in there.rglob("*.png"):
        path.with_suffix(".txt").write_text(f"a {path.parent.name} drawn as noise, {path.stem}")
    found = added(project, there)
    assert found.look.modality == "image-text"
    assert list(found.models) == ["text-to-image-mine"]
    assert added(project, there, modality="image").look.modality == "image"


def test_the_splits_of_the_source_are_kept(project: Project, there: Path) -> None:
    write_classes(there / "train")
    write_classes(there / "test", 20)
    assert added(project, there).dataset["split"] == {"method": "given", "validation": 0.1}


def test_an_archive_is_looked_into(project: Project, there: Path, tmp_path: Path) -> None:
    write_classes(there)
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as archive:
        archive.add(there, "pictures")
    found = added(project, "../all.tar.gz")
    assert found.dataset["source"] == {"kind": "archive", "path": "../all.tar.gz"}
    assert (found.look.modality, found.look.num) == ("image", 60)


def test_one_long_text_is_dealt_in_blocks_with_the_rules_that_it_stands(project: Project, there: Path) -> None:
    (there / "mill.txt").write_text("\n\n".join(PROSE.format(index) for index in range(400)) + " Write to miller@example.org!")
    found = added(project, there / "mill.txt")
    assert found.dataset["split"]["method"] == "blocks"
    assert found.dataset["clean"]["languages"] == ["en"]
    assert found.dataset["clean"]["remove"] == ["emails"]
    assert list(found.models) == ["gpt-mine"]


def test_source_code_gets_no_rules_of_prose(project: Project, there: Path) -> None:
    for index in range(80):
        code = f"def f{index}(x: int) -> int:\n    return (x * {index}) % 7 if x >= {index} else -x\n\n\nVALUES = [{index}, f{index}(3), {{}}]\n"
        (there / f"{index}.py").write_text(code)
    clean = added(project, there).dataset["clean"]
    assert clean["unique_chars"] == 100
    assert "quality" not in clean
    assert "languages" not in clean


def test_rows_of_pairs_are_pairs_and_rows_of_texts_are_texts(project: Project, there: Path) -> None:
    (there / "pairs.jsonl").write_text("".join(json.dumps({"prompt": f"what is {n}?", "response": f"{n} is a number"}) + "\n" for n in range(100)))
    (there / "texts.csv").write_text("text,label\n" + "".join(f'"{PROSE.format(n)}",{n % 3}\n' for n in range(100)))
    assert (added(project, there / "pairs.jsonl").look.modality, list(added(project, there / "pairs.jsonl").models)) == ("text-pairs", ["t5-mine"])
    texts = added(project, there / "texts.csv").look
    assert (texts.modality, texts.num) == ("text", 100)


def test_a_table_of_parquet(project: Project, there: Path) -> None:
    rows = [{"image": {"bytes": png(index), "path": None}, "label": index % 2} for index in range(60)]
    pq.write_table(pa.Table.from_pylist(rows), there / "data.parquet")
    found = added(project, there / "data.parquet")
    assert (found.dataset["source"]["kind"], found.look.modality, found.look.num) == ("parquet", "image", 60)


def test_idx_files(project: Project, there: Path) -> None:
    pixels, labels = np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8), np.arange(60, dtype=np.uint8) % 10
    for prefix in ("train", "t10k"):
        (there / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(struct.pack(">IIII", 0x803, 60, 28, 28) + pixels.tobytes()))
        (there / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(struct.pack(">II", 0x801, 60) + labels.tobytes()))
    found = added(project, there)
    assert (found.dataset["source"]["kind"], found.look.modality, found.look.num) == ("idx", "image", 120)
    assert found.dataset["split"]["method"] == "given"


def test_photos_with_cameras(project: Project, tmp_path: Path) -> None:
    exported(tmp_path)
    scene = next(path.parent for path in tmp_path.rglob("transforms*.json"))
    found = added(project, scene, name="scene")
    assert (found.look.modality, list(found.models)) == ("views", ["nerf-scene"])


def test_what_is_written_holds_and_trains_the_named_families(project: Project, there: Path) -> None:
    write_classes(there)
    before = project.params.read_text()
    found = added(project, there, families=["vae", "gan"], licence="CC0-1.0", size="small")
    assert project.params.read_text() == before
    write_addition(project, found)
    catalog = load_catalog(project)
    assert {"vae-mine", "gan-mine"} <= catalog.models.keys()
    assert catalog.models["gan-mine"].block.size == "small"
    assert find_dataset(load(project.params), "mine").source.licence == "CC0-1.0"  # type: ignore[attr-defined]
    assert project.params.read_text().startswith("# mine\ndatasets:\n  digits:\n    modality: image\n    source: {kind: digits}\n  mine:\n")
    assert run(project).licence == "CC0-1.0"


def test_another_family_is_added_to_a_dataset_that_is_there(project: Project, there: Path) -> None:
    write_classes(there)
    write_addition(project, added(project, there))
    again = added(project, there, families=["vae"])
    assert not again.is_new
    write_addition(project, again)
    assert set(load_catalog(project).models) == {"diffusion-mine", "vae-mine"}
    with pytest.raises(UserError, match="there is a model 'vae-mine'"):
        added(project, there, families=["vae"])


def test_a_name_that_is_taken_is_refused(project: Project, there: Path) -> None:
    write_classes(there)
    with pytest.raises(UserError, match=r"there is a dataset 'digits' .* from another source: choose another name"):
        added(project, there, name="digits")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"families": ["vea"]}, r"no family 'vea'; did you mean 'vae'\?"),
        ({"families": ["gpt"]}, "family gpt trains on text or text-pairs, and this is image"),
        ({"modality": "text"}, "holds no text files"),
        ({"name": "My Pictures"}, "a name is lower-case letters"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_written(project: Project, there: Path, options: dict[str, Any], message: str) -> None:
    write_classes(there)
    before = project.params.read_text()
    with pytest.raises(UserError, match=message):
        added(project, there, **options)
    assert project.params.read_text() == before


def test_nothing_there_is_said_with_what_could_be(project: Project, there: Path) -> None:
    with pytest.raises(UserError, match="there is no nowhere: give a path that exists, an address"):
        added(project, "nowhere")
    with pytest.raises(UserError, match="hf://owner/pictures for the dataset of that name"):
        added(project, "owner/pictures")
    with pytest.raises(UserError, match=r"holds no .* files"):
        added(project, there)
    (there / "model.pt").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(UserError, match="never loaded"):
        added(project, there)
    shutil.rmtree(there)


def test_an_address_of_ones_own_network_is_added_where_that_is_allowed(project: Project, there: Path) -> None:
    write_classes(there)
    archive = Path(shutil.make_archive(str(there.parent / "all"), "zip", there))
    with serving() as site:
        site.files["/all.zip"] = archive.read_bytes()
        with pytest.raises(UserError, match="is no public address"):
            added(project, f"{site.url}/all.zip")
        found = added(project, f"{site.url}/all.zip", allow_private=True)
        assert found.dataset["source"] == {"kind": "http", "urls": [f"{site.url}/all.zip"], "allow_private": True}
    assert (found.look.modality, found.look.num, found.look.class_names) == ("image", 60, ("cat", "dog"))
    with pytest.raises(UserError, match="leave out --allow-private"):
        added(project, there, allow_private=True)


def test_a_file_with_the_line_ends_of_windows_keeps_them(project: Project, there: Path) -> None:
    write_classes(there)
    before = project.params.read_bytes().replace(b"\n", b"\r\n")
    project.params.write_bytes(before)
    write_addition(project, added(project, there))
    after = project.params.read_bytes()
    assert all(line in after.split(b"\n") for line in before.split(b"\n") if line.strip() and not line.startswith(b"models"))
    assert "diffusion-mine" in load_catalog(project).models
