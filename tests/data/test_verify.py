"""Verifying re-hashes every byte everywhere; restoring brings an old version back beside the current one."""

import os
import shutil
from pathlib import Path

import pytest

from components.data.dataset import Dataset, stage_folder
from components.data.publish import find_version, publish
from components.data.restore import restore
from components.data.verify import verify
from components.errors import UserError
from components.project import Project
from tests.conftest import prepare
from tests.data.test_stages import change

pytestmark = pytest.mark.slow


def damage(path: Path) -> None:
    """Flip one bit and keep size and time."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def stored(folder: Path, content: bytes) -> Path:
    """The object of a store that holds ``content``."""
    return next(path for path in folder.rglob("*") if path.is_file() and path.read_bytes() == content)


def test_an_untouched_version_is_whole(published_project: Project) -> None:
    result = verify(published_project, "digits")
    assert result.ok
    assert result.checked > 20
    assert result.bytes > 500_000


@pytest.mark.parametrize(("where", "name"), [(".dvc-remote", "the remote"), (".dvc/cache", "the local cache")])
def test_one_flipped_bit_in_a_store_is_found_and_named(published: Project, where: str, name: str) -> None:
    shard = stage_folder(published, "digits", "clean") / "test-00000.parquet"
    damage(stored(published.root / where, shard.read_bytes()))
    result = verify(published, "digits", "v1")
    assert not result.ok
    assert len(result.broken) == 1
    assert result.broken[0].startswith(f"data/clean/digits/test-00000.parquet is damaged in {name}")


def test_one_flipped_bit_in_the_project_is_found_although_its_time_is_kept(published: Project) -> None:
    damage(stage_folder(published, "digits", "augment") / "train-00000.parquet")
    result = verify(published, "digits")
    assert [sentence.partition(" (")[0] for sentence in result.broken] == ["Shard data/augmented/digits/train-00000.parquet is damaged"]


def test_a_missing_object_of_the_remote_is_named(published: Project) -> None:
    shard = stage_folder(published, "pydocs", "clean") / "train-00000.parquet"
    stored(published.root / ".dvc-remote", shard.read_bytes()).unlink()
    assert "data/clean/pydocs/train-00000.parquet is missing in the remote" in verify(published, "pydocs").broken[0]
    assert verify(published, "digits").ok


def test_a_remote_that_is_gone_is_said_to_be_gone(published: Project) -> None:
    shutil.rmtree(published.root / ".dvc-remote")
    assert "is missing or damaged in the remote" in verify(published, "digits").broken[0]


def test_a_cache_that_was_cleared_is_no_fault(published: Project) -> None:
    shutil.rmtree(published.root / ".dvc" / "cache")
    assert verify(published, "digits").ok


def test_an_old_version_is_restored_beside_the_current_one(published: Project, tmp_path: Path) -> None:
    old = Dataset.open(published, "digits").manifest
    change(published, "rows: 1797", "rows: 1600")
    prepare(published, "digits")
    publish(published, "digits", actor="tester")
    current = {path: path.read_bytes() for path in published.data.rglob("*") if path.is_file()}
    restored = restore(published, find_version(published, "digits", "v1"), tmp_path / "old")
    data = Dataset.open(Project(restored), "digits")
    assert data.manifest.sha256 == old.sha256
    assert data.table("train").num_rows == old.rows("train")
    assert (restored / "data" / "validation" / "digits" / "report.html").is_file()
    assert {path: path.read_bytes() for path in published.data.rglob("*") if path.is_file()} == current


def test_a_version_is_restored_from_the_remote_when_the_cache_is_gone(published: Project, tmp_path: Path) -> None:
    shutil.rmtree(published.root / ".dvc" / "cache")
    assert Dataset.open(Project(restore(published, find_version(published, "digits", "v1"), tmp_path / "old")), "digits").table("test").num_rows > 0


def test_a_folder_that_is_not_empty_is_refused_and_an_empty_one_taken(published: Project, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UserError, match="is not empty: give a folder that does not exist yet"):
        restore(published, find_version(published, "digits", "v1"), tmp_path / "full")
    (tmp_path / "empty").mkdir()
    assert restore(published, find_version(published, "digits", "v1"), tmp_path / "empty").is_dir()


def test_damaged_bytes_are_not_restored_as_if_they_were_whole(published: Project, tmp_path: Path) -> None:
    shard = stage_folder(published, "digits", "clean") / "test-00000.parquet"
    for where in (".dvc-remote", ".dvc/cache"):
        damage(stored(published.root / where, shard.read_bytes()))
    with pytest.raises(UserError, match=r"test-00000.parquet is damaged .* data/digits/v1 cannot be restored whole"):
        restore(published, find_version(published, "digits", "v1"), tmp_path / "old")
    assert not (tmp_path / "old").exists()


def test_a_tampered_manifest_is_found_by_its_digest(published: Project) -> None:
    from components import git

    version = find_version(published, "digits", "v1")
    manifest = git.read_blob(published.root, version.commit, "manifests/digits.json").replace(b'"rows": 736', b'"rows": 735')
    forged = git.commit_tree(published.root, {"manifests/digits.json": manifest}, [], "forged", "x", base=version.commit)
    body = git.list_refs(published.root, "refs/tags/data/digits/")[0]
    tag = git.make_tag(published.root, version.tag, forged, body.message, "x")
    git.transaction(published.root, [git.RefUpdate(f"refs/tags/{version.tag}", tag, body.sha)], "forge")
    result = verify(published, "digits")
    assert not result.ok
    assert "is not the one that was published" in result.broken[0]


def test_a_restore_that_breaks_off_leaves_nothing_behind_for_the_next_one(versioned: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("components.data.restore._copy", broken)
        with pytest.raises(KeyboardInterrupt):
            restore(versioned, find_version(versioned, "mine", "v1"), tmp_path / "out" / "old")
    assert list((tmp_path / "out").iterdir()) == []
    restored = restore(versioned, find_version(versioned, "mine", "v1"), tmp_path / "out" / "old")
    assert [path.name for path in restored.parent.iterdir()] == ["old"]
    assert Dataset.open(Project(restored), "mine").table("train").num_rows == 12


def test_a_file_that_the_cache_has_damaged_is_restored_from_the_remote(versioned: Project, tmp_path: Path) -> None:
    shard = stage_folder(versioned, "mine", "clean") / "test-00000.parquet"
    damage(stored(versioned.root / ".dvc/cache", shard.read_bytes()))
    assert Dataset.open(Project(restore(versioned, find_version(versioned, "mine", "v3"), tmp_path / "old")), "mine").table("test").num_rows > 0
