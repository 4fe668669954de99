"""Publishing: a version appears whole or not at all, the same content is one version, and the user's git is left alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from components import git as plumbing
from components.data.dataset import stage_folder
from components.data.failure import ValidationFailed
from components.data.publish import DataVersion, current_version, describe, find_version, prepared_version, publish, read_published, versions
from components.data.stages import run_stage
from components.data.verify import verify
from components.errors import UserError
from components.project import Project
from tests.conftest import git, make_project, prepare
from tests.data.test_stages import REPOSITORY, by_hand, change

pytestmark = pytest.mark.slow


def grow(project: Project, old: int, new: int, name: str = "digits") -> None:
    change(project, f"rows: {old}", f"rows: {new}")
    prepare(project, name)


def test_a_version_has_the_minimal_tree_and_an_annotated_tag(published_project: Project) -> None:
    root = published_project.root
    version = current_version(published_project, "digits")
    assert version is not None
    tree = git(root, "ls-tree", "-r", "--name-only", "data/digits/v1").split()
    assert tree == [".dvc/config", "dvc.lock", "dvc.yaml", "manifests/digits.json", "params.yaml", "validation/digits.json"]
    assert git(root, "cat-file", "-t", "data/digits/v1") == "tag"
    assert (version.version, version.tag, version.actor, version.validation) == ("v1", "data/digits/v1", "tester", "passed")
    assert version.rows == {"train": 2 * 896, "validation": 165, "test": 736}
    assert version.commit == git(root, "rev-parse", "data/digits/v1^{commit}")
    assert read_published(published_project, version).sha256 == version.sha256
    assert git(root, "fsck", "--strict") == ""


def test_the_same_content_is_the_same_version(published: Project) -> None:
    before = git(published.root, "rev-parse", "data-versions")
    again = publish(published, "digits", actor="other")
    assert (again.version, again.new) == ("v1", False)
    assert git(published.root, "rev-parse", "data-versions") == before


def test_growing_makes_a_version_and_shrinking_finds_the_old_one(published: Project) -> None:
    grow(published, 1797, 1700)
    second = publish(published, "digits", actor="tester")
    assert (second.version, second.new) == ("v2", True)
    grow(published, 1700, 1797)
    third = publish(published, "digits", actor="tester")
    assert third.version in ("v1", "v3")
    assert [version.version for version in versions(published, "digits")][-2:] == ["v2", "v1"]
    prepared = prepared_version(published, "digits")
    assert prepared is not None
    assert prepared.version == third.version


def test_only_the_entries_of_the_published_dataset_advance(published: Project) -> None:
    before = yaml.safe_load(plumbing.read_blob(published.root, "data-versions", "dvc.lock"))["stages"]
    change(published, "min_chars: 200", "min_chars: 300")
    prepare(published, "pydocs")
    grow(published, 1797, 1700)
    publish(published, "digits", actor="tester")
    after = yaml.safe_load(plumbing.read_blob(published.root, "data-versions", "dvc.lock"))["stages"]
    assert {key for key in after if after[key] != before[key]} == {f"{stage}@digits" for stage in ("collect", "clean", "augment", "validate")}


def test_branch_index_and_files_of_the_user_stay_as_they_are(published: Project) -> None:
    root = published.root
    (root / "notes.txt").write_text("staged")
    git(root, "add", "notes.txt")
    (root / "notes.txt").write_text("and changed")
    grow(published, 1797, 1700)
    before = [git(root, "rev-parse", "HEAD"), git(root, "symbolic-ref", "HEAD"), git(root, "ls-files", "--stage"), git(root, "status", "--porcelain")]
    publish(published, "digits", actor="tester")
    assert [git(root, "rev-parse", "HEAD"), git(root, "symbolic-ref", "HEAD"), git(root, "ls-files", "--stage"), git(root, "status", "--porcelain")] == before


def test_dvc_alone_restores_a_version_from_the_remote(published: Project, tmp_path: Path) -> None:
    grow(published, 1797, 1700)
    publish(published, "digits", actor="tester")
    shutil.rmtree(published.root / ".dvc" / "cache")
    done = by_hand(published, "get", ".", "data/clean/digits", "--rev", "data/digits/v1", "-o", str(tmp_path / "old"))
    assert done.returncode == 0, done.stderr
    shards = {Path(shard.path).name: shard for shard in read_published(published, find_version(published, "digits", "v1")).shards if "/clean/" in shard.path}
    assert all((tmp_path / "old" / name).stat().st_size == shard.bytes for name, shard in shards.items())


def test_a_detached_head_and_a_second_work_tree_publish_to_the_same_branch(published: Project, tmp_path: Path) -> None:
    git(published.root, "checkout", "--quiet", "--detach")
    second = tmp_path / "second"
    git(published.root, "worktree", "add", "--quiet", "--detach", str(second))
    other = Project(second)
    change(other, "rows: 1797", "rows: 1600")
    prepare(other, "digits")
    version = publish(other, "digits", actor="tester")
    assert version.version == "v2"
    assert current_version(published, "digits") == version.model_copy(update={"new": False})
    assert verify(other, "digits").ok


def test_a_shallow_clone_goes_on_from_the_versions_of_its_origin(published: Project, tmp_path: Path) -> None:
    git(published.root, "add", "dvc.lock")
    git(published.root, "-c", "user.name=T", "-c", "user.email=t@x", "commit", "--quiet", "-m", "lock")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--depth=1", "--no-single-branch", "--no-tags", f"file://{published.root}", str(clone))
    project = Project(clone)
    change(project, "rows: 1797", "rows: 1600")
    prepare(project, "digits")
    version = publish(project, "digits", actor="tester")
    assert version.version == "v2"
    assert git(clone, "rev-parse", "data-versions^") == git(published.root, "rev-parse", "data-versions")


def test_a_repository_without_commits_can_publish(tmp_path: Path) -> None:
    project = make_project(tmp_path / "new", commit=False)
    prepare(project, "pydocs")
    assert publish(project, "pydocs", actor="tester").version == "v1"
    assert plumbing.head(project.root) is None


def test_without_git_there_is_one_sentence_with_the_command(published: Project) -> None:
    shutil.rmtree(published.root / ".git")
    with pytest.raises(UserError, match=r"is not a git repository, which the versions are kept in: run `git init"):
        publish(published, "digits", actor="tester")


def test_what_failed_validation_is_never_published(published: Project) -> None:
    change(published, '"0", "1", "2"', '"1", "2"')
    with pytest.raises(ValidationFailed):
        prepare(published, "digits")
    with pytest.raises(ValidationFailed, match="failed its validation and is not published"):
        publish(published, "digits", actor="tester")
    assert [version.version for version in versions(published, "digits")] == ["v1"]


def test_what_changed_after_its_validation_is_not_published(published: Project) -> None:
    change(published, "rows: 1797", "rows: 1600")
    from components.data.stages import probe

    probe(published, "digits")
    for stage in ("collect", "clean", "augment"):
        run_stage(published, "digits", stage)
    with pytest.raises(UserError, match="has changed since it was validated: run"):
        publish(published, "digits", actor="tester")


def test_an_unprepared_dataset_cannot_be_published(project: Project) -> None:
    with pytest.raises(UserError, match="'digits' is not prepared: run `genmill run --dataset digits`"):
        publish(project, "digits", actor="tester")


def test_a_shard_that_was_damaged_here_is_not_published(published: Project) -> None:
    grow(published, 1797, 1600)
    shard = stage_folder(published, "digits", "clean") / "train-00000.parquet"
    status, content = shard.stat(), bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(UserError, match="Shard data/clean/digits/train-00000.parquet is damaged"):
        publish(published, "digits", actor="tester")
    assert [version.version for version in versions(published, "digits")] == ["v1"]


def test_a_remote_that_cannot_take_the_data_leaves_nothing_half_published(published: Project, tmp_path: Path) -> None:
    grow(published, 1797, 1600)
    before = git(published.root, "for-each-ref")
    (tmp_path / "file").write_text("in the way")
    config = published.root / ".dvc" / "config"
    good = config.read_text()
    config.write_text(good.replace("../.dvc-remote", str(tmp_path / "file" / "remote")))
    with pytest.raises(UserError, match=r"(?i)remote"):
        publish(published, "digits", actor="tester")
    assert git(published.root, "for-each-ref") == before
    config.write_text(good)
    assert publish(published, "digits", actor="tester").version == "v2"


def test_a_remote_that_lost_what_it_had_is_found_out(published: Project) -> None:
    grow(published, 1797, 1600)
    remote = published.root / ".dvc-remote"
    for path in sorted(remote.rglob("*")):
        if path.is_file():
            path.chmod(0o644)
            path.unlink()
    try:
        version = publish(published, "digits", actor="tester")
    except UserError as error:
        assert "Nothing was published" in str(error)
    else:
        assert verify(published, "digits", version.version).ok


def test_two_publishes_at_once_make_one_version(published: Project) -> None:
    grow(published, 1797, 1600)
    code = (
        "import sys; from pathlib import Path; from components.project import Project; from components.data.publish import publish;"
        "print(publish(Project(Path(sys.argv[1])), 'digits', actor='me').model_dump_json())"
    )
    command = [sys.executable, "-c", code, str(published.root)]
    both = [subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=-1, stderr=-1, text=True) for _ in range(2)]
    found = [DataVersion.model_validate_json(process.communicate(timeout=120)[0]) for process in both]
    assert sorted(version.new for version in found) == [False, True]
    assert {version.version for version in found} == {"v2"}
    assert [version.version for version in versions(published, "digits")] == ["v2", "v1"]


def test_tags_of_others_are_left_alone_and_their_numbers_not_taken(published: Project) -> None:
    git(published.root, "tag", "data/digits/v7")
    git(published.root, "tag", "data/digits/best")
    grow(published, 1797, 1600)
    assert publish(published, "digits", actor="tester").version == "v8"
    assert [version.version for version in versions(published, "digits")] == ["v8", "v1"]


@pytest.mark.parametrize("ref", ["v1", "1", "digits@v1", "data/digits/v1", "latest", ""])
def test_a_version_is_found_by_any_of_its_names(published_project: Project, ref: str) -> None:
    assert find_version(published_project, "digits", ref).tag == "data/digits/v1"


def test_an_unknown_version_is_answered_with_those_there_are(published_project: Project) -> None:
    with pytest.raises(UserError, match=r"has no version 'v9': it has v1; see `genmill data log digits`"):
        find_version(published_project, "digits", "v9")
    with pytest.raises(UserError, match=r"'digit' has no published version \(did you mean 'digits'\?\)"):
        find_version(published_project, "digit", "v1")


def test_a_version_described_in_full_says_where_it_comes_from(published_project: Project) -> None:
    found = describe(published_project, "pydocs")
    assert found["source"]["kind"] == "pydocs"
    assert found["dropped"]["duplicate"] > 0
    assert found["rules"]["broken"] == []
    assert len(found["shards"]) == 3
