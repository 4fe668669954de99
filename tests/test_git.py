"""Plumbing on real repositories: refs move by compare-and-swap, and the user's branch, index and files stay as they are."""

import subprocess
from pathlib import Path

import pytest

from components import git as plumbing
from components.errors import UserError
from tests.conftest import git


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    (root / "file.txt").write_text("one")
    git(root, "add", "file.txt")
    git(root, "-c", "user.name=T", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "one")
    return root


def test_a_commit_is_written_without_touching_branch_index_or_files(repository: Path) -> None:
    (repository / "file.txt").write_text("two")
    git(repository, "add", "file.txt")
    (repository / "file.txt").write_text("three")
    before = (git(repository, "rev-parse", "HEAD"), git(repository, "status", "--porcelain"), git(repository, "diff", "--cached"))
    plumbing.append_commit(repository, "ledger", {"a/b.json": b"{}"}, "first", "ann", None)
    assert (git(repository, "rev-parse", "HEAD"), git(repository, "status", "--porcelain"), git(repository, "diff", "--cached")) == before
    assert plumbing.read_blob(repository, "ledger", "a/b.json") == b"{}"
    assert git(repository, "ls-tree", "-r", "--name-only", "ledger") == "a/b.json"


def test_commits_append_to_the_tree_of_the_one_before(repository: Path) -> None:
    first = plumbing.append_commit(repository, "ledger", {"a": b"1"}, "first", "ann", None)
    plumbing.append_commit(repository, "ledger", {"b": b"2"}, "second", "ann", first)
    assert git(repository, "ls-tree", "-r", "--name-only", "ledger").split() == ["a", "b"]
    assert [message for _, message in plumbing.log(repository, "ledger")] == ["second", "first"]


def test_the_second_of_two_writers_is_told_to_read_again(repository: Path) -> None:
    first = plumbing.append_commit(repository, "ledger", {"a": b"1"}, "first", "ann", None)
    winner = plumbing.append_commit(repository, "ledger", {"a": b"2"}, "winner", "ann", first)
    with pytest.raises(plumbing.RefConflict):
        plumbing.append_commit(repository, "ledger", {"a": b"3"}, "loser", "ben", first)
    with pytest.raises(plumbing.RefConflict):
        plumbing.append_commit(repository, "ledger", {"a": b"3"}, "late starter", "ben", None)
    assert plumbing.resolve(repository, "ledger") == winner


def test_a_transaction_moves_all_refs_or_none(repository: Path) -> None:
    commit = plumbing.head(repository)
    assert commit is not None
    plumbing.transaction(repository, [plumbing.RefUpdate("refs/tags/taken", commit, None)], "test")
    updates = [plumbing.RefUpdate("refs/heads/new", commit, None), plumbing.RefUpdate("refs/tags/taken", commit, None)]
    with pytest.raises(plumbing.RefConflict):
        plumbing.transaction(repository, updates, "test")
    assert plumbing.resolve(repository, "refs/heads/new") is None


def test_without_an_identity_the_actor_signs(repository: Path) -> None:
    plumbing.append_commit(repository, "ledger", {"a": b"1"}, "first", "Ann Lee <ann@lab>", None)
    assert git(repository, "log", "-1", "--format=%an <%ae> %cn", "ledger") == "Ann Lee <ann@lab> Ann Lee"
    plumbing.append_commit(repository, "plain", {"a": b"1"}, "first", "schedule nightly", None)
    assert git(repository, "log", "-1", "--format=%an <%ae>", "plain") == "schedule nightly <genmill@localhost>"


def test_a_configured_identity_signs(repository: Path) -> None:
    git(repository, "config", "user.name", "Configured")
    git(repository, "config", "user.email", "c@lab")
    plumbing.append_commit(repository, "ledger", {"a": b"1"}, "first", "ann", None)
    assert git(repository, "log", "-1", "--format=%an <%ae>", "ledger") == "Configured <c@lab>"
    assert plumbing.default_actor(repository) == "Configured <c@lab>"


def test_it_works_before_the_first_commit_and_on_a_detached_head(tmp_path: Path, repository: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "--quiet", "--initial-branch=main")
    assert plumbing.head(empty) is None
    plumbing.append_commit(empty, "ledger", {"a": b"1"}, "first", "ann", None)
    assert plumbing.read_blob(empty, "ledger", "a") == b"1"
    git(repository, "checkout", "--quiet", "--detach")
    plumbing.append_commit(repository, "ledger", {"a": b"1"}, "first", "ann", None)
    assert plumbing.branch(repository) is None


def test_it_works_in_a_second_work_tree(tmp_path: Path, repository: Path) -> None:
    git(repository, "worktree", "add", "--quiet", "--detach", str(tmp_path / "second"))
    plumbing.require_repository(tmp_path / "second")
    plumbing.append_commit(tmp_path / "second", "ledger", {"a": b"1"}, "first", "ann", None)
    assert plumbing.read_blob(repository, "ledger", "a") == b"1"


def test_the_variables_of_a_git_hook_do_not_redirect_it(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert plumbing.head(repository) is not None
    assert not (tmp_path / "index").exists()


def test_tags_carry_messages_of_any_shape(repository: Path) -> None:
    commit = plumbing.head(repository)
    assert commit is not None
    message = 'first line\n\n{\n "key": "a value, with: signs"\n}'
    tag = plumbing.make_tag(repository, "data/x/v1", commit, message, "ann")
    plumbing.transaction(repository, [plumbing.RefUpdate("refs/tags/data/x/v1", tag, None)], "test")
    (ref,) = plumbing.list_refs(repository, "refs/tags/data/x/")
    assert (ref.message, ref.commit, ref.sha) == (message, commit, tag)
    assert git(repository, "fsck", "--strict") == ""


def test_dirty_is_about_the_paths_that_were_asked_for(repository: Path) -> None:
    assert not plumbing.is_dirty(repository)
    (repository / "other.txt").write_text("new")
    assert plumbing.is_dirty(repository)
    assert not plumbing.is_dirty(repository, ["file.txt"])


def test_a_missing_blob_is_a_missing_file(repository: Path) -> None:
    with pytest.raises(FileNotFoundError):
        plumbing.read_blob(repository, "HEAD", "absent")
    with pytest.raises(FileNotFoundError):
        plumbing.read_blob(repository, "no-such-branch", "file.txt")
    assert plumbing.log(repository, "no-such-branch") == []


def test_a_folder_without_git_is_answered_with_the_command(tmp_path: Path, repository: Path) -> None:
    with pytest.raises(UserError, match=r"is not a git repository, .*: run `git init"):
        plumbing.require_repository(tmp_path)
    (repository / "inside").mkdir()
    with pytest.raises(UserError, match="lies inside the git repository"):
        plumbing.require_repository(repository / "inside")


def test_a_new_repository_starts_with_the_projects_files_alone(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("datasets: {}")
    (tmp_path / "private.txt").write_text("mine")
    assert plumbing.start_repository(tmp_path, "Start")
    assert git(tmp_path, "ls-files") == "params.yaml"
    assert not plumbing.start_repository(tmp_path, "Again")
    assert git(tmp_path, "rev-list", "--count", "HEAD") == "1"


def test_a_held_ref_lock_is_a_conflict_and_not_a_crash(repository: Path) -> None:
    commit = plumbing.head(repository)
    assert commit is not None
    lock = repository / ".git" / "refs" / "heads" / "ledger.lock"
    lock.touch()
    with pytest.raises(plumbing.RefConflict):
        plumbing.transaction(repository, [plumbing.RefUpdate("refs/heads/ledger", commit, None)], "test")
    lock.unlink()
    subprocess.run(["git", "-C", str(repository), "fsck"], check=True, capture_output=True)
