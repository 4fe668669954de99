"""Buckets: a real S3 server on loopback gives what a folder gives, and what is wrong with it is one sentence without a secret in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.data.stages import probe
from components.errors import UserError
from components.project import Project
from tests.data.archives import write_archive
from tests.data.workbench import one_dataset, png, rows, run, set_params
from tests.s3 import ACCESS_KEY, SECRET_KEY, Bucket


@pytest.fixture
def pets(bucket: Bucket) -> Iterator[Bucket]:
    """An empty bucket of that name."""
    found = Bucket(bucket.endpoint, "pets")
    found.client().create_bucket(Bucket=found.name)
    yield found
    for name in found.names():
        found.delete(name)
    found.client().delete_bucket(Bucket=found.name)


def remote(tmp_path: Path, url: str, server: str, modality: str = "image", **block: Any) -> Project:
    source = {"kind": "fsspec", "url": url, "options": {"client_kwargs": {"endpoint_url": server}}}
    return one_dataset(tmp_path, {"modality": modality, "source": source, **block})


def put(bucket: Bucket, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        bucket.write(name, content)


IMAGES = {f"all/{'cat' if index % 2 else 'dog'}/{index:03d}.png": png(index) for index in range(12)}


def test_a_folder_of_a_bucket_gives_what_a_folder_gives_and_a_second_collect_what_is_new(tmp_path: Path, pets: Bucket) -> None:
    put(pets, IMAGES)
    project = remote(tmp_path, "s3://pets/all", pets.endpoint)
    first = run(project, stages=["collect"])
    found = {f"all/{row['id']}": row["image"]["bytes"] for row in rows(project, stage="collect")}
    assert found == IMAGES
    assert first.class_names == ("cat", "dog")
    assert not probe(project, "mine")
    put(pets, {"all/dog/new.png": png(99), "all/dog/000.png": png(100)})
    assert probe(project, "mine")
    second = run(project, stages=["collect"])
    assert [shard.rows for shard in second.shards] == [11, 2]


@pytest.mark.slow
def test_many_objects_come_in_their_order_though_several_are_fetched_at_a_time(tmp_path: Path, pets: Bucket) -> None:
    contents = {f"{index:03d}.txt": f"text number {index}".encode() for index in range(60)}
    put(pets, {f"texts/{name}": content for name, content in contents.items()})
    project = remote(tmp_path, "s3://pets/texts", pets.endpoint, "text")
    run(project, stages=["collect"])
    assert [(row["id"], row["text"]) for row in rows(project, stage="collect")] == list(contents.items())
    put(pets, {f"texts/{name}": b"other " + contents[name] for name in ("007.txt", "030.txt", "031.txt")})
    run(project, stages=["collect"])
    assert {row["id"]: row["text"] for row in rows(project, stage="collect")}["030.txt"] == b"other text number 30"


def test_an_archive_captions_and_rows_are_read_from_a_bucket(tmp_path: Path, pets: Bucket) -> None:
    put(pets, {"a.tar.gz": write_archive(tmp_path / "a.tar.gz", IMAGES).read_bytes(), "b.zip": write_archive(tmp_path / "b.zip", IMAGES).read_bytes()})
    for name in ("a.tar.gz", "b.zip"):
        project = remote(tmp_path / name[0], f"s3://pets/{name}", pets.endpoint)
        assert run(project, stages=["collect"]).rows() == 12
        assert not probe(project, "mine")
    put(pets, {"texts/rows.jsonl": b'{"text": "a row"}\n', "texts/note.md": b"# A note", "cap/1.png": png(1), "cap/1.txt": b"a pet"})
    assert run(remote(tmp_path / "t", "s3://pets/texts", pets.endpoint, "text"), stages=["collect"]).rows() == 2
    assert run(remote(tmp_path / "one", "s3://pets/texts/rows.jsonl", pets.endpoint, "text"), stages=["collect"]).rows() == 1
    project = remote(tmp_path / "c", "s3://pets/cap", pets.endpoint, "image-text")
    run(project, stages=["collect"])
    assert [row["caption"] for row in rows(project, stage="collect")] == [b"a pet"]


def test_another_file_system_is_read_too(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for name, content in IMAGES.items():
        memory.pipe(f"/pets/{name}", content)
    project = one_dataset(tmp_path, {"modality": "image", "source": {"kind": "fsspec", "url": "memory://pets/all"}})
    assert run(project, stages=["collect"]).rows() == 12


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://pets/nothing", r"(there is nothing at s3://pets/nothing|s3://pets/nothing holds no image files).*source\.url"),
        ("s3://no-such-bucket/all", r"there is nothing at s3://no-such-bucket/all: give source\.url what exists"),
        ("s3://pets/a.zip", r"there is nothing at s3://pets/a\.zip"),
        ("s3://key:word@pets/all", r"the address of s3://pets carries a password, which would be recorded: set it in the environment"),
        ("http://127.0.0.1/a", r"is no address of a file system: .* for http and https use kind http"),
        ("simplecache::http://127.0.0.1/a", r"is no address of a file system"),
        ("nosuch://pets", r"nosuch://pets is no address that fsspec knows"),
        ("pets/all", r"is no address of a file system: write it like s3://bucket/folder"),
    ],
)
def test_an_address_that_leads_nowhere_or_elsewhere_is_one_sentence(tmp_path: Path, pets: Bucket, url: str, said: str) -> None:
    project = remote(tmp_path, url, pets.endpoint)
    if not url.startswith("s3://"):
        set_params(project, source={"kind": "fsspec", "url": url})
    with pytest.raises(UserError, match=said) as error:
        run(project)
    assert "word@" not in str(error.value)


@pytest.mark.slow
def test_a_server_that_is_not_there_is_one_sentence(tmp_path: Path, pets: Bucket) -> None:
    with pytest.raises(UserError, match=r"s3://pets/all cannot be reached \(.*\): check the address and the network, then run again"):
        run(remote(tmp_path, "s3://pets/all", "http://127.0.0.1:1"))


def test_wrong_credentials_are_asked_for_by_name(tmp_path: Path, pets: Bucket) -> None:
    put(pets, IMAGES)
    project = remote(tmp_path, "s3://pets/all", pets.endpoint)
    pets.ask_for_credentials(True)  # it knows no user, so every one is refused
    try:
        with pytest.raises(UserError, match=r"s3://pets/all may not be read \(.*\): set the .*credentials in the environment, for S3") as error:
            run(project)
    finally:
        pets.ask_for_credentials(False)
    assert SECRET_KEY not in str(error.value)


@pytest.mark.parametrize("options", [{"key": "x"}, {"secret": "x"}, {"client_kwargs": {"aws_secret_access_key": "word"}}, {"token": "x"}])
def test_secrets_are_refused_in_the_options(tmp_path: Path, pets: Bucket, options: dict[str, Any]) -> None:
    project = remote(tmp_path, "s3://pets/all", pets.endpoint)
    set_params(project, source={"options": options})
    with pytest.raises(UserError, match=r"source\.options holds .*, which git and the manifest would record: take it out") as error:
        run(project)
    assert "word" not in str(error.value)


def test_no_record_holds_the_credentials(tmp_path: Path, pets: Bucket) -> None:
    put(pets, IMAGES)
    project = remote(tmp_path, "s3://pets/all", pets.endpoint)
    run(project, stages=["collect"])
    told = b"".join(path.read_bytes() for path in project.root.rglob("*") if path.is_file())
    assert ACCESS_KEY.encode() not in told
    assert SECRET_KEY.encode() not in told
