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
from components.data.result import read_result, result_folder
from components.data.stages import probe, run_stage
from components.data.verify import verify
from components.errors import UserError
from components.project import Project
from tests.conftest import copy_project, git, make_project, prepare
from tests.data.test_stages import REPOSITORY, by_hand, change

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def grown_project(published_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """READ ONLY. `published_project` with other digits, validated and not yet published."""
    project = copy_project(published_project, tmp_path_factory.mktemp("grown") / "project")
    change(project, "rows: 1797", "rows: 1600")
    prepare(project, "digits")
    return project


@pytest.fixture
def grown(grown_project: Project, tmp_path: Path) -> Project:
    return copy_project(grown_project, tmp_path / "grown")


def adopt(project: Project, prepared: Project) -> None:
    """Bring what ``prepared`` has prepared into another checkout."""
    for name in ("data", ".dvc/cache"):
        shutil.copytree(prepared.root / name, project.root / name, dirs_exist_ok=True)
    for name in ("dvc.lock", "params.yaml"):
        shutil.copy(prepared.root / name, project.root / name)


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


def test_other_data_makes_a_version_and_the_earlier_data_again_finds_the_earlier_one(grown: Project) -> None:
    second = publish(grown, "digits", actor="tester")
    assert (second.version, second.new) == ("v2", True)
    change(grown, "rows: 1600", "rows: 1797")
    change(grown, "noise: 0.02", "noise: 0.03")
    prepare(grown, "digits")
    third = publish(grown, "digits", actor="tester")
    assert (third.version, third.new) == ("v3", True)
    assert [version.version for version in versions(grown, "digits")] == ["v3", "v2", "v1"]
    change(grown, "rows: 1797", "rows: 1600")
    change(grown, "noise: 0.03", "noise: 0.02")
    prepare(grown, "digits")
    again = publish(grown, "digits", actor="tester")
    assert (again.version, again.new) == ("v2", False)
    assert prepared_version(grown, "digits") == again


def test_only_the_entries_of_the_published_dataset_advance(grown: Project) -> None:
    before = yaml.safe_load(plumbing.read_blob(grown.root, "data-versions", "dvc.lock"))["stages"]
    change(grown, "min_chars: 200", "min_chars: 300")
    probe(grown, "pydocs")
    run_stage(grown, "pydocs", "clean")
    publish(grown, "digits", actor="tester")
    after = yaml.safe_load(plumbing.read_blob(grown.root, "data-versions", "dvc.lock"))["stages"]
    assert {key for key in after if after[key] != before[key]} == {f"{stage}@digits" for stage in ("collect", "clean", "augment", "validate")}


def test_branch_index_and_files_of_the_user_stay_as_they_are(grown: Project) -> None:
    root = grown.root
    (root / "notes.txt").write_text("staged")
    git(root, "add", "notes.txt")
    (root / "notes.txt").write_text("and changed")
    before = [git(root, "rev-parse", "HEAD"), git(root, "symbolic-ref", "HEAD"), git(root, "ls-files", "--stage"), git(root, "status", "--porcelain")]
    assert publish(grown, "digits", actor="tester").new
    assert [git(root, "rev-parse", "HEAD"), git(root, "symbolic-ref", "HEAD"), git(root, "ls-files", "--stage"), git(root, "status", "--porcelain")] == before


def test_dvc_alone_restores_a_version_from_the_remote(grown: Project, tmp_path: Path) -> None:
    publish(grown, "digits", actor="tester")
    shutil.rmtree(grown.root / ".dvc" / "cache")
    done = by_hand(grown, "get", ".", "data/clean/digits", "--rev", "data/digits/v1", "-o", str(tmp_path / "old"))
    assert done.returncode == 0, done.stderr
    shards = {Path(shard.path).name: shard for shard in read_published(grown, find_version(grown, "digits", "v1")).shards if "/clean/" in shard.path}
    assert all((tmp_path / "old" / name).stat().st_size == shard.bytes for name, shard in shards.items())


def test_a_detached_head_and_a_second_work_tree_publish_to_the_same_branch(published: Project, grown_project: Project, tmp_path: Path) -> None:
    git(published.root, "checkout", "--quiet", "--detach")
    git(published.root, "worktree", "add", "--quiet", "--detach", str(tmp_path / "second"))
    second = Project(tmp_path / "second")
    adopt(second, grown_project)
    version = publish(second, "digits", actor="tester")
    assert version.version == "v2"
    assert current_version(published, "digits") == version.model_copy(update={"new": False})
    assert verify(second, "digits").ok


def test_a_shallow_clone_without_tags_goes_on_from_the_versions_of_its_origin(published: Project, grown_project: Project, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--depth=1", "--no-single-branch", "--no-tags", f"file://{published.root}", str(clone))
    project = Project(clone)
    adopt(project, grown_project)
    version = publish(project, "digits", actor="tester")
    assert version.version == "v2"
    assert git(clone, "rev-parse", "data-versions^") == git(published.root, "rev-parse", "data-versions")


def test_a_repository_without_commits_can_publish(grown_project: Project, tmp_path: Path) -> None:
    project = make_project(tmp_path / "new", commit=False)
    adopt(project, grown_project)
    assert publish(project, "digits", actor="tester").version == "v1"
    assert plumbing.head(project.root) is None
    assert verify(project, "digits").ok


def test_without_git_there_is_one_sentence_with_the_command(published: Project) -> None:
    shutil.rmtree(published.root / ".git")
    with pytest.raises(UserError, match=r"is not a git repository, which the versions are kept in: run `git init"):
        publish(published, "digits", actor="tester")


def test_what_failed_validation_is_never_published(published: Project) -> None:
    change(published, '"0", "1", "2"', '"1", "2"')
    with pytest.raises(ValidationFailed, match=r"distinct_values_to_equal_set on column 'label'.*digits-\d+: 0"):
        prepare(published, "digits")
    with pytest.raises(ValidationFailed, match="failed its validation and is not published"):
        publish(published, "digits", actor="tester")
    result = read_result(published, "digits")
    assert result is not None
    assert result.outcome == "failed"
    assert (result_folder(published, "digits") / "report.html").is_file()
    assert [version.version for version in versions(published, "digits")] == ["v1"]
    assert current_version(published, "digits") == versions(published, "digits")[0]


def test_what_changed_after_its_validation_is_not_published(published: Project) -> None:
    change(published, "rows: 1797", "rows: 1600")
    probe(published, "digits")
    for stage in ("collect", "clean", "augment"):
        run_stage(published, "digits", stage)
    with pytest.raises(UserError, match="has changed since it was validated: run"):
        publish(published, "digits", actor="tester")


def test_an_unprepared_dataset_cannot_be_published(project: Project) -> None:
    with pytest.raises(UserError, match="'digits' is not prepared: run `genmill run --dataset digits`"):
        publish(project, "digits", actor="tester")


def test_a_shard_that_was_damaged_here_is_not_published(grown: Project) -> None:
    shard = stage_folder(grown, "digits", "clean") / "train-00000.parquet"
    status, content = shard.stat(), bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(UserError, match=r"Shard data/clean/digits/train-00000.parquet is damaged"):
        publish(grown, "digits", actor="tester")
    assert [version.version for version in versions(grown, "digits")] == ["v1"]


def test_a_remote_that_cannot_take_the_data_leaves_nothing_half_published(grown: Project, tmp_path: Path) -> None:
    before = git(grown.root, "for-each-ref")
    (tmp_path / "file").write_text("in the way")
    config = grown.root / ".dvc" / "config"
    good = config.read_text()
    config.write_text(good.replace("../.dvc-remote", str(tmp_path / "file" / "remote")))
    with pytest.raises(UserError, match=r"(?i)remote"):
        publish(grown, "digits", actor="tester")
    assert git(grown.root, "for-each-ref") == before
    config.write_text(good)
    assert publish(grown, "digits", actor="tester").version == "v2"


def test_a_remote_that_lost_what_it_had_gets_it_again_or_nothing_is_published(grown: Project) -> None:
    shutil.rmtree(grown.root / ".dvc-remote")
    version = publish(grown, "digits", actor="tester")
    assert verify(grown, "digits", version.version).ok


def test_two_publishes_at_once_make_one_version(grown: Project) -> None:
    code = (
        "import sys; from pathlib import Path; from components.project import Project; from components.data.publish import publish;"
        "print(publish(Project(Path(sys.argv[1])), 'digits', actor='me').model_dump_json())"
    )
    command = [sys.executable, "-c", code, str(grown.root)]
    both = [subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=-1, stderr=-1, text=True) for _ in range(2)]
    found = [DataVersion.model_validate_json(process.communicate(timeout=120)[0]) for process in both]
    assert sorted(version.new for version in found) == [False, True]
    assert {version.version for version in found} == {"v2"}
    assert [version.version for version in versions(grown, "digits")] == ["v2", "v1"]


def test_tags_of_others_are_left_alone_and_their_numbers_not_taken(grown: Project) -> None:
    git(grown.root, "tag", "data/digits/v7")
    git(grown.root, "tag", "data/digits/best")
    assert publish(grown, "digits", actor="tester").version == "v8"
    assert [version.version for version in versions(grown, "digits")] == ["v8", "v1"]


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
