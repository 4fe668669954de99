"""What one place lost is mended from another that has it whole, and what none has is named."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from components import git
from components.data.dataset import MANIFEST, stage_folder
from components.data.lockfile import locked_outputs
from components.data.publish import find_version, publish
from components.data.verify import verify, verify_all
from components.project import Project
from tests.data.test_remotes import use
from tests.data.test_verify import damage, stored
from tests.data.workbench import set_params
from tests.genmill.test_cli import genmill
from tests.s3 import Bucket
from tests.versions import prepare_here

pytestmark = pytest.mark.slow

REMOTE, CACHE = ".dvc-remote", ".dvc/cache"


def shard(project: Project, name: str = "test-00000.parquet") -> Path:
    return stage_folder(project, "mine", "clean") / name


def list_of_files(project: Project, where: str, folder: str = "data/clean/mine") -> Path:
    """The `.dir` object of the newest version in a store."""
    lock = git.read_blob(project.root, find_version(project, "mine", "").commit, "dvc.lock")
    md5 = dict(locked_outputs(lock, "mine"))[folder]
    return next((project.root / where).rglob(f"{md5[2:]}"))


def is_whole(path: Path) -> bool:
    """Whether an object of a store has the bytes that its name says."""
    return hashlib.md5(path.read_bytes()).hexdigest() == f"{path.parent.name}{path.name}".removesuffix(".dir")


@pytest.mark.parametrize(("hurt", "source"), [(REMOTE, "from the local cache"), (CACHE, "from the remote")])
def test_a_damaged_object_of_a_store_is_mended_from_the_other_one(versioned: Project, hurt: str, source: str) -> None:
    broken = stored(versioned.root / hurt, shard(versioned).read_bytes())
    damage(broken)
    found = verify(versioned, "mine", repair=True)
    assert found.ok
    assert [sentence.startswith("Mended data/clean/mine/test-00000.parquet in the ") and source in sentence for sentence in found.mended] == [True]
    assert is_whole(broken)
    assert verify(versioned, "mine").mended == ()


def test_a_mended_object_of_the_cache_is_as_safe_from_being_written_as_dvc_leaves_it(versioned: Project) -> None:
    broken = stored(versioned.root / CACHE, shard(versioned).read_bytes())
    damage(broken)
    verify(versioned, "mine", repair=True)
    assert broken.stat().st_mode & 0o222 == 0


def test_a_missing_object_of_the_remote_is_sent_again(versioned: Project) -> None:
    lost = stored(versioned.root / REMOTE, shard(versioned).read_bytes())
    lost.unlink()
    assert verify(versioned, "mine", repair=True).ok
    assert is_whole(lost)


def test_with_the_whole_remote_gone_everything_is_sent_again(versioned: Project) -> None:
    shutil.rmtree(versioned.root / REMOTE)
    found = verify_all(versioned, repair=True)
    assert found.ok
    shutil.rmtree(versioned.root / CACHE)
    assert verify_all(versioned).ok


@pytest.mark.parametrize("hurt", [REMOTE, CACHE])
def test_a_damaged_list_of_files_is_mended_from_the_other_store(versioned: Project, hurt: str) -> None:
    broken = list_of_files(versioned, hurt)
    damage(broken)
    before = verify(versioned, "mine")
    assert any(sentence.startswith("The list of the files of data/clean/mine is missing or damaged in the") for sentence in before.broken)
    assert verify(versioned, "mine", repair=True).ok
    assert is_whole(broken)


def test_a_list_of_files_that_no_store_has_is_written_anew_from_the_folder(versioned: Project) -> None:
    lost = [list_of_files(versioned, where) for where in (REMOTE, CACHE)]
    for path in lost:
        path.unlink()
    found = verify(versioned, "mine", repair=True)
    assert found.ok
    assert f"from {versioned.root}" in found.mended[0]
    assert is_whole(lost[0])


def test_what_both_stores_lost_is_mended_from_the_projects_folder(versioned: Project) -> None:
    objects = [stored(versioned.root / where, shard(versioned).read_bytes()) for where in (REMOTE, CACHE)]
    for path in objects:
        damage(path)
    assert verify(versioned, "mine", repair=True).ok
    assert all(map(is_whole, objects))


@pytest.mark.parametrize("name", ["test-00000.parquet", MANIFEST])
@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_a_file_of_the_projects_folder_is_mended_from_the_stores(versioned: Project, name: str, how: str) -> None:
    path = shard(versioned, name)
    content = path.read_bytes()
    damage(path) if how == "damaged" else path.unlink()
    assert not verify(versioned, "mine").ok
    assert verify(versioned, "mine", repair=True).ok
    assert path.read_bytes() == content
    assert not list(path.parent.glob(".*"))


def test_what_no_place_has_whole_is_named_with_what_to_do_and_nothing_is_written_over(versioned: Project) -> None:
    paths = [stored(versioned.root / where, shard(versioned).read_bytes()) for where in (REMOTE, CACHE)] + [shard(versioned)]
    for path in paths:
        damage(path)
    before = [path.read_bytes() for path in paths]
    found = verify(versioned, "mine", repair=True)
    assert not found.ok
    assert len([sentence for sentence in found.broken if "no place has it whole, so bring it back from another clone or a backup" in sentence]) == 3
    assert [path.read_bytes() for path in paths] == before


def test_an_old_version_is_mended_although_the_folders_hold_another_one(versioned: Project) -> None:
    lock = git.read_blob(versioned.root, find_version(versioned, "mine", "v1").commit, "dvc.lock")
    listed = next((versioned.root / REMOTE).rglob(dict(locked_outputs(lock, "mine"))["data/clean/mine"][2:]))
    entry = json.loads(listed.read_text())[0]
    lost = next((versioned.root / REMOTE).rglob(entry["md5"][2:]))
    lost.unlink()
    assert not verify(versioned, "mine", "v1").ok
    assert verify(versioned, "mine", "v1", repair=True).ok
    assert is_whole(lost)


def test_mending_sees_what_was_damaged_with_its_time_kept(versioned: Project) -> None:
    path = shard(versioned)
    status = path.stat()
    damage(path)
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert verify(versioned, "mine", repair=True).ok


def test_all_versions_are_verified_and_what_they_share_is_hashed_once(versioned: Project) -> None:
    one_by_one = [verify(versioned, "mine", version) for version in ("v1", "v2", "v3")]
    together = verify_all(versioned, "mine")
    assert together.ok
    assert together.checked < sum(one.checked for one in one_by_one)
    damage(stored(versioned.root / REMOTE, shard(versioned).read_bytes()))
    assert len([sentence for sentence in verify_all(versioned).broken if "test-00000.parquet is damaged in the remote" in sentence]) == 1


def test_a_version_on_s3_is_mended_both_ways(unpublished: Project, bucket: Bucket) -> None:
    use(unpublished, bucket)
    publish(unpublished, "mine", actor="tester")
    content = shard(unpublished).read_bytes()
    (name,) = [name for name in bucket.names() if bucket.read(name) == content]
    bucket.write(name, content[:-9] + b"something")
    assert verify(unpublished, "mine", repair=True).ok
    assert bucket.read(name) == content
    bucket.delete(name)
    assert verify(unpublished, "mine", repair=True).ok
    damage(stored(unpublished.root / CACHE, content))
    assert verify(unpublished, "mine", repair=True).ok
    assert stored(unpublished.root / CACHE, content).is_file()


def test_the_commands_exit_code_says_whether_all_is_whole_afterwards(versioned: Project) -> None:
    damage(stored(versioned.root / REMOTE, shard(versioned).read_bytes()))
    assert genmill("data", "verify", "mine", cwd=versioned.root).returncode == 1
    done = genmill("data", "verify", "--all", "--mend", cwd=versioned.root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Mended data/clean/mine/test-00000.parquet in the remote" in done.stdout
    assert genmill("data", "verify", "mine", "--all", cwd=versioned.root).returncode == 0


def test_a_version_that_is_no_longer_prepared_does_not_look_at_the_folders(versioned: Project) -> None:
    set_params(versioned, split={"seed": 9})
    prepare_here(versioned)
    damage(shard(versioned))
    assert verify(versioned, "mine", "v3").ok
