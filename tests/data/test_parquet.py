"""Parquet: rows of every modality, in bounded memory; a file that is a bomb or damaged is told by its name."""

import io
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Image

from components.data.pages import pages_of
from components.data.trees import Unreadable
from components.errors import UserError
from components.project import Project
from tests.data.archives import measured, refused_at_once
from tests.data.workbench import files, folder_project, one_dataset, png, quarantine, rows, run, set_params

MANY = 60


def tables(tmp_path: Path, modality: str, path: str = "../files", **block: Any) -> Project:
    (tmp_path / "files").mkdir()
    source = {"kind": "parquet", "path": path, **block.pop("source", {})}
    return one_dataset(tmp_path, {"modality": modality, "source": source, **block})


def talk(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}, {"role": "assistant", "content": "Hi."}]


def write(path: Path, columns: dict[str, Any], **how: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **how)


def test_images_as_bytes_or_structs_are_read_with_their_labels(tmp_path: Path) -> None:
    project = tables(tmp_path, "image")
    write(files(project) / "a.parquet", {"image": [png(index) for index in range(MANY)], "label": [index % 3 for index in range(MANY)]})
    write(
        files(project) / "b.parquet",
        {"image": [{"bytes": png(MANY + index), "path": f"{index}.png"} for index in range(MANY)], "label": [index % 3 for index in range(MANY)]},
    )
    manifest = run(project)
    assert manifest.class_names == ("0", "1", "2")
    found = {row["id"]: (row["image"]["bytes"], row["label"]) for row in rows(project)}
    assert found["a.parquet:1"] == (png(0), 0)
    assert found["b.parquet:60"] == (png(2 * MANY - 1), 2)
    assert len(found) == 2 * MANY
    assert manifest.source == {"kind": "parquet", "path": "../files", "columns": {"image": "image", "label": "label"}, "files": 2}


def test_what_hugging_face_datasets_writes_is_read_with_its_class_names_and_splits(tmp_path: Path) -> None:
    project = tables(tmp_path, "image", split={"method": "given"})
    features = Features({"img": Image(), "label": ClassLabel(names=["cat", "dog"])})
    (files(project) / "data").mkdir()
    for split, start in (("train", 0), ("test", 100)):
        images = [{"bytes": png(start + index), "path": None} for index in range(20)]
        dataset = Dataset.from_dict({"img": images, "label": [index % 2 for index in range(20)]}, features=features)
        dataset.to_parquet(files(project) / "data" / f"{split}-00000-of-00001.parquet")
    manifest = run(project)
    assert manifest.class_names == ("cat", "dog")
    assert manifest.rows("test") == 20
    assert {(row["id"].split("-")[0], row["split"] == "test") for row in rows(project)} == {("data/train", False), ("data/test", True)}


def test_texts_pairs_and_captions_are_read_by_the_columns_that_are_named(tmp_path: Path) -> None:
    texts = [f"a text with the number {index}" for index in range(MANY)]
    cases: list[tuple[str, dict[str, Any], dict[str, str], str]] = [
        ("text", {"body": texts, "genre": ["poem"] * MANY}, {"text": "body", "label": "genre"}, "text"),
        ("text-pairs", {"prompt": texts, "response": texts}, {}, "source_text"),
        (
            "text-pairs",
            {"talk": [talk(text) for text in texts]},
            {"messages": "talk"},
            "source_text",
        ),
        ("image-text", {"image": [png(index) for index in range(MANY)], "text": texts}, {}, "caption"),
    ]
    for number, (modality, columns, chosen, shown) in enumerate(cases):
        (tmp_path / str(number)).mkdir()
        project = tables(tmp_path / str(number), modality, source={"columns": chosen})
        write(files(project) / "a.parquet", columns)
        run(project)
        assert {row[shown].removeprefix("user: ") for row in rows(project)} == set(texts)


def test_a_column_of_splits_a_file_and_a_glob_are_followed(tmp_path: Path) -> None:
    project = tables(tmp_path, "text", "../files/*/part-*.parquet", split={"method": "given"})
    for number, split in enumerate(("train", "val", "test")):
        write(files(project) / str(number) / "part-0.parquet", {"text": [f"text {split} {index}" for index in range(5)], "split": [split] * 5})
    write(files(project) / "other.parquet", {"text": ["not in the glob"], "split": ["train"]})
    manifest = run(project)
    assert manifest.rows_by_split() == {"train": 5, "validation": 5, "test": 5}
    set_params(project, source={"path": "../files/0/part-0.parquet"}, split={"method": "hash", "train": 0.5, "validation": 0, "test": 0.5})
    assert run(project, stages=["collect"]).rows() == 5


def test_new_files_add_shards_and_old_ones_are_not_read_again(tmp_path: Path) -> None:
    project = tables(tmp_path, "text")
    for name in ("a", "b"):
        write(files(project) / f"{name}.parquet", {"text": [f"text {name} {index}" for index in range(MANY)]})
    first = run(project, stages=["collect"])
    status = (files(project) / "b.parquet").stat()
    (files(project) / "b.parquet").write_bytes(bytes(status.st_size))  # would be seen if it were opened
    os.utime(files(project) / "b.parquet", ns=(status.st_atime_ns, status.st_mtime_ns))
    write(files(project) / "c.parquet", {"text": ["a new text"]})
    second = run(project, stages=["collect"])
    assert second.shards[0] == first.shards[0]
    assert second.rows() == 2 * MANY + 1


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({}, r"a\.parquet has the columns body, and text are needed: say which is which in source\.columns"),
        ({"text": "boody"}, r"a\.parquet has no column 'boody' \(it has body\): mend source\.columns"),
        ({"txt": "body"}, r"source\.columns names 'txt', which is not read here: use text, title, label, split"),
    ],
)
def test_missing_columns_are_named_with_those_that_are_there(tmp_path: Path, chosen: dict[str, str], said: str) -> None:
    project = tables(tmp_path, "text", source={"columns": chosen})
    write(files(project) / "a.parquet", {"body": ["x"]})
    with pytest.raises(UserError, match=rf"params.yaml line 6: .*{said}"):
        run(project)


def test_a_file_that_is_no_parquet_is_refused_when_it_is_the_first_and_quarantined_when_it_is_not(tmp_path: Path) -> None:
    project = tables(tmp_path, "text")
    with pytest.raises(UserError, match=r"there is no Parquet file \(\.parquet, \.pq\) at .*files: give source\.path"):
        run(project)
    (files(project) / "a.parquet").write_bytes(b"<html>not found</html>")
    with pytest.raises(UserError, match=r"a\.parquet in .* cannot be read, it is no whole Parquet file \(.*\): fetch or write it again"):
        run(project)
    (files(project) / "z.parquet").write_bytes(b"<html>not found</html>")
    write(files(project) / "a.parquet", {"text": [f"text number {index}" for index in range(MANY)]})
    whole = (files(project) / "a.parquet").read_bytes()
    (files(project) / "y.parquet").write_bytes(whole[:100] + bytes(200) + whole[300:])
    run(project)
    found = quarantine(project)
    assert {name.split(":")[0]: reason for name, (reason, _) in found.items()} == {"y.parquet": "unreadable", "z.parquet": "unreadable"}
    assert "no whole Parquet file" in found["z.parquet:1"][1]


@pytest.mark.parametrize(
    "how", [{"row_group_size": 50}, {"dictionary_pagesize_limit": 20_000}, {"use_dictionary": False, "row_group_size": 77}, {"data_page_size": 1000}]
)
@pytest.mark.parametrize("modality", ["image", "text"])
def test_every_row_comes_however_the_file_is_cut_into_row_groups_and_pages(tmp_path: Path, modality: str, how: dict[str, Any]) -> None:
    project = tables(tmp_path, modality)
    contents = [png(index) for index in range(300)] if modality == "image" else [f"a text with the number {index} " * 20 for index in range(300)]
    column = pa.array([{"bytes": content, "path": "a.png"} for content in contents]) if modality == "image" else contents
    write(files(project) / "a.parquet", {modality: column}, **how)
    run(project, stages=["collect"])
    found = [row[modality] for row in rows(project, stage="collect")]
    assert [row["bytes"] if modality == "image" else row.decode() for row in found] == contents


def test_of_a_file_that_is_damaged_in_its_middle_every_lost_row_counts(tmp_path: Path) -> None:
    project = tables(tmp_path, "text")
    write(
        files(project) / "a.parquet", {"text": [f"text number {index}" for index in range(300)]}, row_group_size=100, compression="none", use_dictionary=False
    )
    begin = pq.read_metadata(files(project) / "a.parquet").row_group(2).column(0).data_page_offset
    whole = (files(project) / "a.parquet").read_bytes()
    (files(project) / "a.parquet").write_bytes(whole[:begin] + bytes(200) + whole[begin + 200 :])
    run(project, stages=["collect"])
    problems = [row["problem"] for row in rows(project, stage="collect")]
    assert [bool(problem) for problem in problems] == [False] * 200 + [True] * 100
    assert problems[-1].startswith("the file cannot be read from row 201 on (")


# -- bombs ------------------------------------------------------------------------------------------------------------


def source(tmp_path: Path) -> dict[str, Any]:
    return {"kind": "parquet", "path": str(tmp_path / "bomb.parquet")}


@pytest.mark.slow
def test_a_file_of_one_value_repeated_a_million_times_is_refused_at_once(tmp_path: Path) -> None:
    dictionary = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int32()), pa.array(["x" * 10_000_000]))
    write(tmp_path / "bomb.parquet", {"text": dictionary}, compression="zstd", dictionary_pagesize_limit=2**30)
    assert (tmp_path / "bomb.parquet").stat().st_size < 100_000
    assert "repeats its values until they are more than" in refused_at_once(source(tmp_path), "text", tmp_path)


@pytest.mark.slow
def test_texts_that_begin_alike_and_are_written_once_are_refused_at_once(tmp_path: Path) -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 400, pa.int32()), pa.array(["x" * 4_000_000])).dictionary_decode()
    write(tmp_path / "bomb.parquet", {"text": texts}, compression="zstd", use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"})
    assert (tmp_path / "bomb.parquet").stat().st_size < 100_000
    assert "repeats its values" in refused_at_once(source(tmp_path), "text", tmp_path)


def test_images_that_repeat_are_refused_at_once_too(tmp_path: Path) -> None:
    dictionary = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array([b"x" * 10_000_000]))
    struct = pa.StructArray.from_arrays([dictionary, pa.array(["a.png"] * 100_000)], ["bytes", "path"])
    write(tmp_path / "bomb.parquet", {"image": struct}, compression="zstd", dictionary_pagesize_limit=2**30)
    assert "repeats its values" in refused_at_once(source(tmp_path), "image", tmp_path)


@pytest.mark.slow
def test_a_file_that_says_that_it_unpacks_to_far_more_is_refused_at_once(tmp_path: Path) -> None:
    write(tmp_path / "bomb.parquet", {"text": ["x" * 1_000_000 + str(index) for index in range(500)]}, compression="zstd", use_dictionary=False)
    assert "unpacks from" in refused_at_once(source(tmp_path), "text", tmp_path)


@pytest.mark.slow
def test_a_file_whose_end_belies_its_pages_is_refused_at_once(tmp_path: Path) -> None:
    write(tmp_path / "bomb.parquet", {"text": ["x" * 400_000_000]}, compression="zstd", use_dictionary=False, write_statistics=False)
    content = bytearray((tmp_path / "bomb.parquet").read_bytes())
    end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    (honest,) = {pq.read_metadata(tmp_path / "bomb.parquet").row_group(0).column(0).total_uncompressed_size}
    true, false = varint(honest * 2), varint(2000, length=len(varint(honest * 2)))
    assert content.count(true, end) == 2  # of the column and of the row group
    (tmp_path / "bomb.parquet").write_bytes(content[:end] + content[end:].replace(true, false))
    assert pq.read_metadata(tmp_path / "bomb.parquet").row_group(0).column(0).total_uncompressed_size == 1000
    assert "unpacks, as its pages say, to more than 400,0" in refused_at_once(source(tmp_path), "text", tmp_path)


def varint(number: int, length: int = 0) -> bytes:
    """Thrift's number of variable length, with leading zeros up to ``length`` bytes."""
    groups = [number >> shift & 127 for shift in range(0, 70, 7)]
    count = max(length, max((index + 1 for index, group in enumerate(groups) if group), default=1))
    return bytes([*(group | 128 for group in groups[: count - 1]), groups[count - 1]])


@pytest.mark.slow
def test_labels_that_repeat_without_end_are_refused_before_the_classes_are_counted(tmp_path: Path) -> None:
    labels = pa.DictionaryArray.from_arrays(pa.array(range(500), pa.int32()), pa.array([f"{index:03d}" + "x" * 1_000_000 for index in range(500)]))
    columns = {"image": pa.array([{"bytes": png(1), "path": "a.png"}] * 500), "label": labels}
    write(tmp_path / "bomb.parquet", columns, compression="zstd", dictionary_pagesize_limit=2**30)
    assert "unpacks from" in refused_at_once(source(tmp_path), "image", tmp_path)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_what_the_pages_say_adds_up_to_what_an_honest_file_says(tmp_path: Path, version: str, compression: str, dictionary: bool) -> None:
    columns = {"text": [os.urandom(300).hex() for _ in range(8000)], "many": [{"words": ["a", "b"], "at": index % 7} for index in range(8000)]}
    file = tmp_path / "a.parquet"
    write(file, columns, compression=compression, data_page_version=version, use_dictionary=dictionary, row_group_size=3000, write_page_checksum=dictionary)
    metadata, num = pq.read_metadata(file), 0
    with file.open("rb") as opened:
        for column in (metadata.row_group(group).column(index) for group in range(3) for index in range(metadata.num_columns)):
            pages = list(pages_of(opened, column))
            assert sum(page.header + page.packed for page in pages) == column.total_compressed_size
            assert sum(page.header + page.unpacked for page in pages) == column.total_uncompressed_size
            num += len(pages)
    assert num > 9


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"", "a page has no header"),
        (b"\x15", "a page has no header"),
        (b"\x15\x00\x00", "a page does not say its size"),
        (b"\x15\x00\x15\x01\x15\x00\x00", "a page does not say its size"),
        (b"\x1c" * 40, "a page header without an end"),
        (b"\x15" + b"\xff" * 20, "a page header with a number without an end"),
        (b"\x1f\x00", "a page has no header"),
        (b"\x18\xff\xff\x7f", "a page has no header"),
        (b"\x19\xf5\xff\xff\x7f", "a page has no header"),
    ],
)
def test_a_damaged_header_of_a_page_is_said_to_be_one(tmp_path: Path, header: bytes, said: str) -> None:
    write(tmp_path / "a.parquet", {"text": ["x" * 1000] * 3})
    column = pq.read_metadata(tmp_path / "a.parquet").row_group(0).column(0)
    with pytest.raises(Unreadable, match=said):
        list(pages_of(io.BytesIO(bytes(4) + header), column))


def test_a_file_of_a_billion_empty_rows_is_refused_at_once(tmp_path: Path) -> None:
    with pq.ParquetWriter(tmp_path / "bomb.parquet", pa.schema([("text", pa.string())])) as writer:
        for _ in range(20):
            writer.write_table(pa.table({"text": pa.nulls(5_000_000, pa.string())}), row_group_size=5_000_000)
    assert "100,000,000 values in" in refused_at_once(source(tmp_path), "text", tmp_path)


@pytest.mark.slow
def test_a_large_honest_file_is_read_in_little_memory(tmp_path: Path) -> None:
    images = [{"bytes": os.urandom(100_000), "path": f"{index}.png"} for index in range(2000)]
    write(tmp_path / "bomb.parquet", {"image": pa.array(images)}, row_group_size=500)
    said, _, mib = measured(source(tmp_path), "image", tmp_path)
    assert said == ""
    assert mib < 150


def test_a_folder_of_parquet_is_not_taken_for_texts(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text")
    write(files(project) / "a.parquet", {"text": ["x"]})
    with pytest.raises(UserError, match=r"holds no text files but Parquet: use kind parquet"):
        run(project)
