"""Versions that are published in several clones meet in one bare repository: none is lost, none is written over."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from components import git as plumbing
from components.data.freed import freed_versions
from components.data.gc import collect_garbage
from components.data.publish import DataVersion, current_version, publish, versions
from components.data.published import find_trained_on
from components.data.restore import dataset_at
from components.data.sharing import push_all
from components.data.verify import verify
from components.errors import UserError
from components.project import Project
from components.registry.ledger import Record, append, read
from components.registry.ledger import verify as verify_ledger
from tests.conftest import git
from tests.data.test_stages import REPOSITORY
from tests.genmill.test_cli import genmill
from tests.versions import copied, prepare_here

pytestmark = pytest.mark.slow


def share_by(project: Project, bare: Path, store: Path) -> Project:
    """Let ``project`` push to ``bare``, and keep the bytes in a store that all clones use."""
    git(project.root, "remote", "add", "origin", str(bare))
    params = yaml.safe_load(project.params.read_text())
    project.params.write_text(yaml.safe_dump({**params, "versions": {"git_remote": "origin"}}, sort_keys=False))
    config = project.root / ".dvc/config"
    config.write_text(config.read_text().replace("../.dvc-remote", str(store)))
    return project


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path / "bare.git")], check=True)
    return tmp_path / "bare.git"


@pytest.fixture
def ann(unpublished_project: Project, tmp_path: Path, bare: Path) -> Project:
    return share_by(copied(unpublished_project, tmp_path / "ann"), bare, tmp_path / "store")


@pytest.fixture
def ben(unpublished_project: Project, tmp_path: Path, bare: Path) -> Project:
    return share_by(copied(unpublished_project, tmp_path / "ben"), bare, tmp_path / "store")


def publish_seed(project: Project, seed: int, actor: str) -> DataVersion:
    """Publish the same files, dealt anew."""
    set_only(project, seed)
    prepare_here(project)
    return publish(project, "mine", actor=actor)


def set_only(project: Project, seed: int) -> None:
    params = yaml.safe_load(project.params.read_text())
    params["datasets"]["mine"]["split"]["seed"] = seed
    project.params.write_text(yaml.safe_dump(params, sort_keys=False))


def refs(root: Path, *patterns: str) -> str:
    return git(root, "for-each-ref", "--format=%(refname) %(objectname)", *(patterns or ("refs/heads/data-versions", "refs/tags/data")))


def test_a_publish_brings_branch_and_tag_to_the_remote(ann: Project, bare: Path) -> None:
    version = publish(ann, "mine", actor="ann")
    assert (version.new, version.note) == (True, "")
    assert refs(bare) == refs(ann.root)
    assert "refs/tags/data/mine/v1" in refs(bare)


def test_without_a_remote_in_the_params_nothing_is_pushed(unpublished: Project, bare: Path) -> None:
    git(unpublished.root, "remote", "add", "origin", str(bare))
    publish(unpublished, "mine", actor="ann")
    assert refs(bare) == ""


def test_the_next_publish_elsewhere_takes_the_next_number(ann: Project, ben: Project, bare: Path) -> None:
    publish(ann, "mine", actor="ann")
    second = publish_seed(ben, 7, "ben")
    assert (second.version, second.new) == ("v2", True)
    assert [version.actor for version in versions(ben, "mine")] == ["ben", "ann"]
    third = publish_seed(ann, 8, "ann")
    assert third.version == "v3"
    assert refs(bare) == refs(ann.root)
    assert verify(ann, "mine", "v2").ok


def test_the_same_content_that_somebody_else_published_is_that_version(ann: Project, ben: Project, bare: Path) -> None:
    first = publish(ann, "mine", actor="ann")
    again = publish(ben, "mine", actor="ben")
    assert (again.version, again.new, again.actor) == ("v1", False, "ann")
    assert again.commit == first.commit
    assert refs(bare) == refs(ben.root) == refs(ann.root)


def test_two_clones_that_publish_at_once_make_two_versions_and_lose_none(ann: Project, ben: Project, bare: Path) -> None:
    set_only(ben, 7)
    prepare_here(ben)
    code = (
        "import sys; from pathlib import Path; from components.project import Project; from components.data.publish import publish;"
        "print(publish(Project(Path(sys.argv[1])), 'mine', actor=sys.argv[2]).model_dump_json())"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    commands = [[sys.executable, "-c", code, str(project.root), who] for project, who in ((ann, "ann"), (ben, "ben"))]
    both = [subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True) for command in commands]
    answers = [process.communicate(timeout=120) for process in both]
    found = [DataVersion.model_validate_json(answer[0]) for answer in answers]
    assert {version.version for version in found} == {"v1", "v2"}
    assert all(version.new for version in found)
    for project in (ann, ben):
        push_all(project)
        assert {(version.version, version.actor) for version in versions(project, "mine")} == {(version.version, version.actor) for version in found}
    assert refs(bare) == refs(ann.root) == refs(ben.root)
    assert git(bare, "fsck", "--strict", "--no-dangling") == ""


def test_a_version_that_loses_the_race_inside_publish_gets_the_next_number(ann: Project, ben: Project, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ann publishes between Ben's look at the remote and his push."""
    push, raced = plumbing.push, list[str]()

    def late(root: Path, remote: str, wanted: list[str]) -> None:
        if root == ben.root and not raced:
            raced.append("once")
            publish(ann, "mine", actor="ann")
        push(root, remote, wanted)

    set_only(ben, 7)
    prepare_here(ben)
    monkeypatch.setattr(plumbing, "push", late)
    version = publish(ben, "mine", actor="ben")
    assert (version.version, version.formerly, version.new) == ("v2", "v1", True)
    assert version.note == "mine@v1 is mine@v2 from now on: others had published another v1 meanwhile."
    assert [one.actor for one in versions(ben, "mine")] == ["ben", "ann"]
    assert refs(bare) == refs(ben.root)


def test_a_remote_that_cannot_be_reached_keeps_nothing_from_being_published_and_is_made_up_for(ann: Project, bare: Path) -> None:
    bare.rename(bare.with_name("away.git"))
    version = publish(ann, "mine", actor="ann")
    assert version.new
    assert version.note.startswith("mine v1 stands here, but its refs are not on origin, which cannot be reached (")
    assert version.note.endswith("`genmill data push` pushes them, and so does the next publish.")
    with pytest.raises(UserError, match=r"The git remote origin cannot be reached \(.*run again"):
        push_all(ann)
    bare.with_name("away.git").rename(bare)
    assert publish(ann, "mine", actor="ann").note == ""  # the same content: only the refs go
    assert refs(bare) == refs(ann.root)


def test_what_was_published_out_of_reach_is_put_behind_what_others_published_meanwhile(ann: Project, ben: Project, bare: Path) -> None:
    publish(ann, "mine", actor="ann")
    publish(ben, "mine", actor="ben")
    git(ben.root, "remote", "set-url", "origin", str(bare / "nowhere"))
    out_of_reach = [publish_seed(ben, seed, "ben") for seed in (7, 8, 9)]
    assert [version.version for version in out_of_reach] == ["v2", "v3", "v4"]
    publish_seed(ann, 8, "ann")  # the same content as ben's v3, as v2
    theirs = refs(bare)
    git(ben.root, "remote", "set-url", "origin", str(bare))
    sharing, _ = push_all(ben)
    assert sharing.renamed == {"mine@v2": "mine@v3", "mine@v3": "mine@v2"}
    assert set(theirs.splitlines()[1:]) <= set(refs(bare).splitlines())
    found = {version.version: (version.sha256, version.formerly) for version in versions(ben, "mine")}
    assert found["v2"] == (out_of_reach[1].sha256, "")
    assert found["v3"] == (out_of_reach[0].sha256, "v2")
    assert found["v4"] == (out_of_reach[2].sha256, "")
    assert refs(bare) == refs(ben.root)
    assert git(ben.root, "fsck", "--strict", "--no-dangling") == ""
    for version in found:
        assert verify(ben, "mine", version).ok
    for said, was in (("v2", out_of_reach[0]), ("v3", out_of_reach[1])):  # what a run that was trained meanwhile names
        assert dataset_at(ben, find_trained_on(ben, "mine", said, was.sha256)).manifest.sha256 == was.sha256
    newest = publish_seed(ann, 9, "ann")
    assert (newest.version, newest.new) == ("v4", False)


def test_what_was_freed_in_one_clone_is_freed_in_the_other(ann: Project, ben: Project) -> None:
    publish(ann, "mine", actor="ann")
    publish_seed(ann, 7, "ann")
    collect_garbage(ann, None, [], remote=True, actor="gus")
    publish_seed(ben, 8, "ben")
    assert set(freed_versions(ben, "mine")) == {"v1"}
    assert [version.version for version in versions(ben, "mine")] == ["v3", "v2", "v1"]


def test_nothing_is_freed_while_it_is_not_known_what_others_published(ann: Project, ben: Project, bare: Path, tmp_path: Path) -> None:
    publish(ann, "mine", actor="ann")
    publish_seed(ann, 7, "ann")
    before = sorted(path for path in (tmp_path / "store").rglob("*"))
    git(ann.root, "remote", "set-url", "origin", str(bare / "nowhere"))
    with pytest.raises(UserError, match=r"so that it is not known what others published: nothing was deleted"):
        collect_garbage(ann, None, [], remote=True, actor="gus")
    assert sorted(path for path in (tmp_path / "store").rglob("*")) == before
    git(ann.root, "remote", "set-url", "origin", str(bare))
    theirs = publish_seed(ben, 8, "ben")  # unknown to ann, until she asks
    assert collect_garbage(ann, None, [], remote=True, actor="gus").versions == ("mine@v2", "mine@v1")
    assert refs(bare) == refs(ann.root)
    shutil.rmtree(ann.root / ".dvc/cache")
    assert verify(ann, "mine", theirs.version).ok


def test_a_fresh_clone_reads_the_versions_and_restores_them(ann: Project, bare: Path, tmp_path: Path) -> None:
    publish(ann, "mine", actor="ann")
    git(tmp_path, "clone", "--quiet", str(bare), str(tmp_path / "clone"))
    found = current_version(Project(tmp_path / "clone"), "mine")
    assert found is not None
    assert found.tag == "data/mine/v1"


def test_a_tag_of_somebodys_own_in_the_way_is_named_and_left_alone(ann: Project, ben: Project) -> None:
    publish(ann, "mine", actor="ann")
    git(ben.root, "tag", "data/mine/v1", plumbing.commit_tree(ben.root, {"a": b"a"}, [], "mine alone", "ben"))
    before = refs(ben.root)
    set_only(ben, 7)
    prepare_here(ben)
    with pytest.raises(UserError, match=r"The tag data/mine/v1 here is not the one that others published: delete it"):
        publish(ben, "mine", actor="ben")
    assert refs(ben.root) == before


def test_a_misspelt_remote_is_named_with_its_line(ann: Project) -> None:
    ann.params.write_text(ann.params.read_text().replace("git_remote: origin", "git_remote: orign"))
    with pytest.raises(
        UserError, match=r"params.yaml line \d+: versions.git_remote: git has no remote 'orign'; did you mean 'origin'\? Add it with `git remote"
    ):
        publish(ann, "mine", actor="ann")
    ann.params.write_text(ann.params.read_text().replace("git_remote: orign", "git_remot: origin"))
    done = genmill("data", "list", cwd=ann.root)
    assert (done.returncode, "unknown key 'git_remot' in versions; did you mean 'git_remote'?" in done.stderr) == (2, True)


def test_a_password_in_the_remotes_address_is_not_told(ann: Project) -> None:
    git(ann.root, "remote", "set-url", "origin", "http://ann:hunter2hunter2@127.0.0.1:9/x.git")
    version = publish(ann, "mine", actor="ann")
    assert "cannot be reached" in version.note
    assert "hunter2" not in version.note


def record(who: str, version: int) -> Record:
    return Record(who=who, model="m", kind="promote", state="done", reason="", from_version=None, to_version=version)


def test_the_ledger_of_two_clones_is_one_chain(ann: Project, ben: Project, bare: Path) -> None:
    append(ann, record("ann", 1))
    append(ben, record("ben", 2))
    append(ann, record("ann", 3))
    assert [(one.number, one.who) for one in read(ann)] == [(1, "ann"), (2, "ben"), (3, "ann")]
    assert verify_ledger(ann) == []
    assert refs(bare, "refs/heads/promotions") == refs(ann.root, "refs/heads/promotions")


def test_a_record_that_loses_the_race_is_written_behind_the_other(ann: Project, ben: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    append(ann, record("ann", 1))
    push, raced = plumbing.push, list[str]()

    def late(root: Path, remote: str, wanted: list[str]) -> None:
        if root == ben.root and not raced:
            raced.append("once")
            append(ann, record("ann", 2))
        push(root, remote, wanted)

    monkeypatch.setattr(plumbing, "push", late)
    assert append(ben, record("ben", 3)).number == 3
    assert [one.who for one in read(ben)] == ["ann", "ann", "ben"]
    assert verify_ledger(ben) == []


def test_a_ledger_out_of_reach_is_written_here_and_pushed_later(ann: Project, bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare.rename(bare.with_name("away.git"))
    append(ann, record("ann", 1))
    assert "What is written into the branch promotions stands here, but its refs are not on origin" in capsys.readouterr().err
    bare.with_name("away.git").rename(bare)
    done = genmill("data", "push", cwd=ann.root)
    assert done.returncode == 0, done.stderr
    assert refs(bare, "refs/heads/promotions") == refs(ann.root, "refs/heads/promotions")


def test_ledgers_that_grew_apart_are_named_and_neither_is_rewritten(ann: Project, ben: Project, bare: Path) -> None:
    git(ben.root, "remote", "set-url", "origin", str(bare / "nowhere"))
    append(ben, record("ben", 1))
    append(ann, record("ann", 2))
    git(ben.root, "remote", "set-url", "origin", str(bare))
    before = refs(ben.root, "refs/heads/promotions")
    done = genmill("data", "push", cwd=ben.root)
    assert done.returncode == 1
    assert "Branch promotions grew here and on origin while they could not see each other" in done.stdout
    assert refs(ben.root, "refs/heads/promotions") == before


def test_pushing_without_a_remote_in_the_params_says_how_to_name_one(unpublished: Project) -> None:
    done = genmill("data", "push", cwd=unpublished.root)
    assert (done.returncode, "add `versions: {git_remote: origin}`" in done.stderr) == (2, True)
