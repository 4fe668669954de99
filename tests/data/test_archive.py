"""Archives: every kind gives what a folder gives, and one that is not to be trusted is refused by its member's name."""

import gzip
import io
import json
import lzma
import os
import stat
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from components.data.sources import scene
from components.errors import UserError
from tests.data import archives
from tests.data.archives import KINDS, archive_project, member, pack, refused_at_once, tar_bytes, write_archive
from tests.data.workbench import files, folder_project, png, quarantine, rows, run, set_params

IMAGES = {f"{'cat' if index % 2 else 'dog'}/{index:03d}.png": png(index) for index in range(60)}
ZEROS = bytes(2**20)


def raw(tmp_path: Path, name: str, modality: str = "image", **block: Any) -> list[dict[str, Any]]:
    project = archive_project(tmp_path, name, modality, **block)
    run(project, stages=["collect"])
    return rows(project, stage="collect")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_what_the_folder_gives(tmp_path: Path, kind: str) -> None:
    write_archive(tmp_path / f"pictures.{kind}", IMAGES)
    found = raw(tmp_path, f"pictures.{kind}")
    assert {row["id"]: (row["image"]["bytes"], row["label"]) for row in found} == {name: (content, name[:3]) for name, content in IMAGES.items()}


def test_the_folder_that_wraps_everything_says_nothing_and_those_below_it_may_be_splits(tmp_path: Path) -> None:
    splits = {f"{split}/{name}": png(number) for number, (split, name) in enumerate((split, name) for split in ("train", "test") for name in list(IMAGES)[:4])}
    write_archive(tmp_path / "a.tar.gz", splits, top="dataset-1.0/")
    assert {(row["id"].split("/")[1], row["split"], row["label"]) for row in raw(tmp_path, "a.tar.gz")} == {
        (split, split, label) for split in ("train", "test") for label in ("cat", "dog")
    }


@pytest.mark.parametrize("kind", ["zip", "tar.xz"])
def test_captions_are_found_wherever_in_the_archive_they_stand(tmp_path: Path, kind: str) -> None:
    images = dict(list(IMAGES.items())[:10])
    captions = {name.replace(".png", ".txt"): f"this is {name}".encode() for name in images}
    write_archive(tmp_path / f"a.{kind}", {**captions, **images} if kind == "zip" else {**images, **captions})
    assert {row["id"]: row["caption"].decode() for row in raw(tmp_path, f"a.{kind}", "image-text")} == {name: f"this is {name}" for name in images}


def test_rows_texts_and_scenes_are_read_too(tmp_path: Path) -> None:
    pairs = b"".join(json.dumps({"source": f"q{index}", "target": f"a{index}"}).encode() + b"\n" for index in range(5))
    write_archive(tmp_path / "a.zip", {"pairs.jsonl": pairs, "note.md": b"# A note"})
    for modality, number in (("text-pairs", 5), ("text", 2)):
        (tmp_path / modality).mkdir()
        if modality == "text":
            write_archive(tmp_path / "a.zip", {"rows.jsonl.gz": gzip.compress(b'{"text": "a row"}\n'), "note.md": b"# A note"})
        assert len(raw(tmp_path / modality, "../a.zip", modality)) == number
    scene.export(tmp_path / "scene", scene.Config(kind="scene", views=3, validation_views=1, test_views=1, size=16))
    photos = {path.relative_to(tmp_path / "scene").as_posix(): path.read_bytes() for path in sorted((tmp_path / "scene").rglob("*")) if path.is_file()}
    write_archive(tmp_path / "scene.tar.gz", photos, top="scene/")
    (tmp_path / "views").mkdir()
    found = raw(tmp_path / "views", "../scene.tar.gz", "views", split={"method": "given"})
    assert len(found) == 5
    assert all(row["image"]["bytes"] == photos[row["id"]] for row in found)


def test_a_second_collect_of_a_grown_archive_adds_shards_and_keeps_the_old_bytes(tmp_path: Path) -> None:
    for kind in ("zip", "tar.gz"):
        (tmp_path / kind).mkdir()
        write_archive(tmp_path / kind / f"a.{kind}", IMAGES)
        project = archive_project(tmp_path / kind, f"a.{kind}", "image")
        first = run(project, stages=["collect"])
        write_archive(tmp_path / kind / f"a.{kind}", {**IMAGES, "dog/new.png": png(900)})
        second = run(project, stages=["collect"])
        assert second.shards[: len(first.shards)] == first.shards
        assert second.rows() == 61


# -- what is refused as a whole ---------------------------------------------------------------------------------------


def tar_with(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as packed:
        packed.addfile(member("good.png", len(png(1))), io.BytesIO(png(1)))
        for info in members:
            packed.addfile(info, io.BytesIO(bytes(info.size)))
    return path


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (member("../out.png", 3), r"its member '\.\./out\.png' leads out of the archive by '\.\.'"),
        (member("a/../../out.png", 3), r"leads out of the archive by '\.\.'"),
        (member("a\\..\\out.png", 3), r"leads out of the archive by '\.\.'"),
        (member("/etc/out.png", 3), r"its member '/etc/out\.png' has an absolute path"),
        (member("C:\\out.png", 3), r"has an absolute path"),
        (member("good.png", 3), r"its member 'good\.png' stands there twice"),
        (member("link.png", kind=tarfile.SYMTYPE, link="/etc/passwd"), r"its member 'link\.png' is no regular file \(a link, a device or a file with holes\)"),
        (member("hard.png", kind=tarfile.LNKTYPE, link="good.png"), r"'hard\.png' is no regular file .*"),
        (member("disk.png", kind=tarfile.BLKTYPE), r"'disk\.png' is no regular file .*"),
        (member("pipe.png", kind=tarfile.FIFOTYPE), r"'pipe\.png' is no regular file .*"),
    ],
)
def test_a_tar_archive_with_a_hostile_member_is_refused_by_its_name(tmp_path: Path, info: tarfile.TarInfo, said: str) -> None:
    tar_with(tmp_path / "a.tar.gz", info)
    with pytest.raises(UserError, match=rf"a\.tar\.gz is not read, .*{said}: pack it again without that\.$"):
        raw(tmp_path, "a.tar.gz")
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar.gz", "project"}


def zip_with(path: Path, *infos: tuple[zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for info, content in infos:
            packed.writestr(info, content)
    return path


def special(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o644) << 16
    return info


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("infos", "said"),
    [
        ([(zipfile.ZipInfo("../out.png"), b"x")], r"'\.\./out\.png' leads out of the archive by '\.\.'"),
        ([(zipfile.ZipInfo("/out.png"), b"x")], r"'/out\.png' has an absolute path"),
        ([(zipfile.ZipInfo("a.png"), b"x"), (zipfile.ZipInfo("a.png"), b"y")], r"'a\.png' stands there twice"),
        ([(special("link.png", stat.S_IFLNK), b"/etc/passwd")], r"'link\.png' is a link or a device"),
        ([(special("disk.png", stat.S_IFBLK), b"")], r"'disk\.png' is a link or a device"),
    ],
)
def test_a_zip_archive_with_a_hostile_member_is_refused_by_its_name(tmp_path: Path, infos: list[tuple[zipfile.ZipInfo, bytes]], said: str) -> None:
    zip_with(tmp_path / "a.zip", *infos)
    with pytest.raises(UserError, match=rf"a\.zip is not read, its member {said}: pack it again without that\.$"):
        raw(tmp_path, "a.zip")


def test_an_encrypted_zip_archive_is_refused(tmp_path: Path) -> None:
    content = bytearray(write_archive(tmp_path / "a.zip", {"a.png": png(1)}).read_bytes())
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(mark) + at] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"its member 'a\.png' is encrypted: pack it again without that"):
        raw(tmp_path, "a.zip")


def test_a_member_of_a_zip_archive_that_lies_behind_its_end_is_refused(tmp_path: Path) -> None:
    content = bytearray(zip_with(tmp_path / "a.zip", (zipfile.ZipInfo("a.png"), b"x")).read_bytes())
    at = content.rindex(b"PK\1\2")
    content[at + 42 : at + 46] = b"\xff" * 4
    content[at + 30 : at + 32] = struct.pack("<H", 12)
    extra = struct.pack("<HHQ", 1, 8, 2**64 - 1)
    content[at + 46 + 5 : at + 46 + 5] = extra
    end = content.rindex(b"PK\5\6")
    content[end + 12 : end + 16] = struct.pack("<L", struct.unpack_from("<L", content, end + 12)[0] + len(extra))
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"its member 'a\.png' lies outside the archive"):
        raw(tmp_path, "a.zip")


def test_members_of_a_zip_archive_that_lie_over_each_other_are_refused(tmp_path: Path) -> None:
    content = bytearray(write_archive(tmp_path / "a.zip", {"a.png": ZEROS, "b.png": ZEROS}).read_bytes())
    second = content.index(b"PK\1\2", content.index(b"PK\1\2") + 1)
    content[second + 42 : second + 46] = struct.pack("<L", 10)  # the second member begins inside the first
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"its member 'b\.png' lies over another one"):
        raw(tmp_path, "a.zip")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2", "a.tar.zst"])
@pytest.mark.parametrize("damage", ["cut", "other", "empty"])
def test_a_damaged_archive_is_refused_with_the_fix(tmp_path: Path, name: str, damage: str) -> None:
    content = write_archive(tmp_path / name, {f"{index}.png": png(index) for index in range(20)}).read_bytes()
    (tmp_path / name).write_bytes({"cut": content[: len(content) // 2], "other": b"<html>not found</html>" * 99, "empty": b""}[damage])
    with pytest.raises(UserError, match=rf"{name} is no whole (zip|tar) archive \(.*\): pack or fetch it again\.$"):
        raw(tmp_path, name)


def test_what_is_no_archive_and_what_is_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    project = archive_project(tmp_path, "a.rar", "image")
    with pytest.raises(UserError, match=r"params.yaml line 6: .*a\.rar is no archive of a kind that is read \(\.zip, \.tar, .*\): name one"):
        run(project)
    set_params(project, source={"path": "../b.zip"})
    with pytest.raises(UserError, match=r"there is no file .*b\.zip: give source.path an archive that exists"):
        run(project)


# -- bombs ------------------------------------------------------------------------------------------------------------


def bomb(path: Path, mib: int) -> Path:
    """A tar archive of zeros that is ``mib`` MiB large once it is unpacked."""
    if path.name.endswith("xz"):
        packer: Any = lzma.LZMACompressor()
    else:
        import zlib

        packer = zlib.compressobj(9, wbits=31)
    with path.open("wb") as file:
        file.write(packer.compress(member("zeros.png", mib * 2**20).tobuf()))
        for _ in range(mib):
            file.write(packer.compress(ZEROS))
        file.write(packer.compress(bytes(1024)) + packer.flush())
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar.xz"])
def test_a_packed_tar_bomb_is_refused_at_once(tmp_path: Path, name: str) -> None:
    bomb(tmp_path / name, 600)
    said = refused_at_once({"kind": "archive", "path": name}, "image", tmp_path)
    assert said.endswith("unpacks to more than 200 times its size (source.max_ratio): raise that if you trust it.")


@pytest.mark.slow
def test_a_zip_bomb_is_refused_at_once_whether_it_says_its_size_or_lies(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed, packed.open("zeros.png", "w", force_zip64=True) as file:
        for _ in range(600):
            file.write(ZEROS)
    said = refused_at_once({"kind": "archive", "path": "a.zip"}, "image", tmp_path)
    assert "its member 'zeros.png' unpacks from" in said
    assert said.endswith("and 200 is the most that is allowed: raise source.max_ratio if you trust it.")


@pytest.mark.slow
@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_zip_member_that_lies_of_its_size_is_never_unpacked_further(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as packed:
        for name, content in IMAGES.items():
            packed.writestr(name, content)
        packed.writestr("cat/zeros.png", ZEROS * 400)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    at = content.rindex(b"PK\1\2")
    content[at + 24 : at + 28] = struct.pack("<L", 500_000)
    (tmp_path / "a.zip").write_bytes(content)
    said, seconds, mib = archives.measured({"kind": "archive", "path": "a.zip"}, "image", tmp_path)
    assert (said, seconds < 1, mib < 64) == ("", True, True)
    project = archive_project(tmp_path, "a.zip", "image")
    run(project)
    reason, why = quarantine(project)["cat/zeros.png"]
    assert (reason, why) == ("unreadable", "it cannot be unpacked (its checksum is not the one that the archive says)")
    assert len(rows(project)) == 60


@pytest.mark.parametrize(
    ("at", "wrong", "said"),
    [
        (0, b"XX", "it is not where the archive's list says"),
        (30, b"dog", "the archive's list calls it otherwise"),
        (60, b"wrong", "Error -3 while decompressing data"),
    ],
)
def test_a_damaged_member_of_a_zip_archive_is_quarantined_and_the_others_are_there(tmp_path: Path, at: int, wrong: bytes, said: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in IMAGES.items():
            packed.writestr(name, content)
        packed.writestr("cat/last.txt.png", os.urandom(100).hex() * 9)
        begin = packed.getinfo("cat/last.txt.png").header_offset
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[begin + at : begin + at + len(wrong)] = wrong
    (tmp_path / "a.zip").write_bytes(content)
    project = archive_project(tmp_path, "a.zip", "image")
    run(project)
    reason, why = quarantine(project)["cat/last.txt.png"]
    assert reason == "unreadable"
    assert said in why
    assert len(rows(project)) == 60


def test_a_member_of_a_zip_archive_that_ends_before_its_size_is_quarantined(tmp_path: Path) -> None:
    content = bytearray(write_archive(tmp_path / "a.zip", {"cat/0.png": png(99), **IMAGES}).read_bytes())
    at = content.index(b"PK\1\2")
    content[at + 24 : at + 28] = struct.pack("<L", len(png(99)) + 7)
    (tmp_path / "a.zip").write_bytes(content)
    project = archive_project(tmp_path, "a.zip", "image")
    run(project)
    assert quarantine(project)["cat/0.png"] == ("unreadable", "it cannot be unpacked (it ends 7 bytes before the size that the archive says)")


def test_a_zip_archive_of_too_many_members_is_refused_before_each_is_an_object(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        for index in range(30_000):
            packed.writestr(str(index), b"")
    said = refused_at_once({"kind": "archive", "path": "a.zip", "max_files": 20_000}, "image", tmp_path)
    assert said.endswith("it has more than 20,000 members: raise source.max_files if you trust it.")


@pytest.mark.slow
def test_a_tar_member_with_an_endless_name_is_refused_before_it_is_in_memory(tmp_path: Path) -> None:
    import zlib

    packer, found = zlib.compressobj(9, wbits=31), b""
    found += packer.compress(member("././@LongLink", 600 * 2**20, tarfile.GNUTYPE_LONGNAME).tobuf(tarfile.GNU_FORMAT))
    for _ in range(600):
        found += packer.compress(ZEROS)
    (tmp_path / "a.tar.gz").write_bytes(found + packer.flush())
    said = refused_at_once({"kind": "archive", "path": "a.tar.gz"}, "image", tmp_path)
    assert "the name of a member has more than 1,048,576 bytes" in said


def test_an_xz_archive_that_asks_for_too_much_memory_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**30}]
    content = lzma.compress(tar_bytes({"a.png": png(1)}), filters=filters)
    (tmp_path / "a.tar.xz").write_bytes(content)
    assert "asks for more than 128 MiB of memory" in refused_at_once({"kind": "archive", "path": "a.tar.xz"}, "image", tmp_path)


@pytest.mark.parametrize(
    ("cap", "said"),
    [
        ({"max_file_bytes": 100}, r"its member '.*' unpacks to \d+ bytes and 100 is the most .*: raise source\.max_file_bytes if you trust it"),
        ({"max_total_bytes": 2000}, r"unpacks to more .*max_total_bytes"),
        ({"max_files": 3}, r"has more .*3.*: raise source\.max_files if you trust it"),
    ],
)
@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_caps_are_kept_and_named(tmp_path: Path, name: str, cap: dict[str, int], said: str) -> None:
    write_archive(tmp_path / name, IMAGES)
    with pytest.raises(UserError, match=said):
        raw(tmp_path, name, source=cap)


@pytest.mark.slow
def test_a_bomb_of_packed_rows_ends_where_it_becomes_one(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text")
    (files(project) / "good.jsonl").write_text("".join(json.dumps({"text": f"a text with the number {index}"}) + "\n" for index in range(60)))
    (files(project) / "bomb.jsonl.gz").write_bytes(pack("gz", b'{"text": "' + ZEROS.replace(b"\0", b"a") * 300 + b'"}\n'))
    run(project)
    reason, detail = quarantine(project)["bomb.jsonl.gz"]
    assert reason == "unreadable"
    assert "unpacks to more than 200 times its size" in detail


def test_arrays_that_can_hold_code_are_never_loaded(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    for name in ("a.npy", "b.npz", "c.pkl", "d.pt"):
        (files(project) / name).write_bytes(b"\x80\x04never read")
    with pytest.raises(UserError, match=r"holds no image files but arrays like a\.npy, which are never loaded, .*: convert them to PNG \(images\) or Parquet"):
        run(project)
