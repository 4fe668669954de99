"""Freeing old versions never takes what something kept still needs, and leaves their record."""

import json
import shutil
from pathlib import Path

import pytest

from components import git as plumbing
from components.data.changes import Changes
from components.data.dataset import Manifest
from components.data.diff import diff
from components.data.freed import freed_versions
from components.data.gc import NEWEST, Collection, Protected, collect_garbage
from components.data.lockfile import locked_outputs
from components.data.publish import DataVersion, find_version, publish, versions
from components.data.restore import restore
from components.data.result import ValidationResult
from components.data.verify import verify, verify_all
from components.errors import UserError
from components.project import Project
from components.registry.ledger import Record, append
from components.registry.trained_on import protected_versions
from components.tracking import Tracker
from tests.conftest import git
from tests.data.test_remotes import use
from tests.data.workbench import set_params, write_images
from tests.genmill.test_cli import genmill
from tests.s3 import Bucket
from tests.stores import published_as, tracker_in, write_digits_package
from tests.stores import register as register_model
from tests.versions import prepare_here, publish_here

pytestmark = pytest.mark.slow

REMOTE, CACHE = ".dvc-remote", ".dvc/cache"


def collect(project: Project, *protected: Protected, name: str | None = None, keep: int = 1, remote: bool = True, dry_run: bool = False) -> Collection:
    return collect_garbage(project, name, protected, keep=keep, remote=remote, dry_run=dry_run, actor="gus")


def objects(project: Project, where: str = REMOTE) -> dict[str, bytes]:
    root = project.root / where
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def needed(project: Project, version: str) -> set[str]:
    """Every object of a version, read from the remote as it is."""
    lock = plumbing.read_blob(project.root, find_version(project, "mine", version).commit, "dvc.lock")
    found = set()
    for _, md5 in locked_outputs(lock, "mine"):
        listed = project.root / REMOTE / "files/md5" / md5[:2] / md5[2:]
        found |= {md5, *(entry["md5"] for entry in json.loads(listed.read_text()))}
    return found


def trained_on(version: str) -> Protected:
    return Protected("mine", version, "", "m/1 was trained on it")


def test_old_versions_go_and_the_newest_is_whole(versioned: Project) -> None:
    shared = needed(versioned, "v3")
    alone = (needed(versioned, "v1") | needed(versioned, "v2")) - shared
    found = collect(versioned)
    assert found.versions == ("mine@v2", "mine@v1")
    assert [(kept.version, kept.why) for kept in found.kept] == [("mine@v3", NEWEST)]
    assert found.bytes > 0
    left = {path.replace("files/md5/", "").replace("/", "") for path in objects(versioned)}
    assert shared <= left
    assert not alone & left
    shutil.rmtree(versioned.root / CACHE)
    assert verify(versioned, "mine", "v3").ok


def test_a_dry_run_says_the_same_and_touches_nothing(versioned: Project) -> None:
    before = [objects(versioned), objects(versioned, CACHE), git(versioned.root, "for-each-ref")]
    said = collect(versioned, dry_run=True)
    assert [objects(versioned), objects(versioned, CACHE), git(versioned.root, "for-each-ref")] == before
    done = collect(versioned)
    assert done == said.model_copy(update={"dry_run": False})
    gone = sum(map(len, before[0].values())) + sum(map(len, before[1].values()))
    assert gone - sum(map(len, objects(versioned).values())) - sum(map(len, objects(versioned, CACHE).values())) == done.bytes


def test_the_record_of_a_freed_version_stays_and_says_who_freed_it(versioned: Project) -> None:
    tags = git(versioned.root, "for-each-ref", "refs/tags")
    collect(versioned)
    assert git(versioned.root, "for-each-ref", "refs/tags") == tags
    freed = freed_versions(versioned, "mine")
    assert {(one.version, one.who) for one in freed.values()} == {("v1", "gus"), ("v2", "gus")}
    assert git(versioned.root, "log", "-1", "--format=%s", "data-versions") == "Free mine@v2, mine@v1"
    assert git(versioned.root, "fsck", "--strict") == ""
    assert [version.version for version in versions(versioned, "mine")] == ["v3", "v2", "v1"]


def test_what_was_freed_is_said_to_be_freed_and_not_damaged(versioned: Project, tmp_path: Path) -> None:
    collect(versioned)
    found = verify(versioned, "mine", "v1")
    assert (found.ok, found.broken) == (True, ())
    assert found.freed[0].startswith("mine@v1 was freed on 20")
    assert "by gus" in found.freed[0]
    for action in (lambda: restore(versioned, find_version(versioned, "mine", "v1"), tmp_path / "old"), lambda: diff(versioned, "mine", "v1", "v2")):
        with pytest.raises(UserError, match=r"mine@v1 was freed on .* its bytes are gone; take one that is kept, see `genmill data log mine`"):
            action()
    done = genmill("data", "log", "mine", cwd=versioned.root)
    assert "mine@v1 was freed on" in done.stdout
    assert verify_all(versioned).ok


def test_what_a_registered_model_was_trained_on_is_kept_with_all_it_shares(versioned: Project) -> None:
    found = collect(versioned, trained_on("v1"))
    assert found.versions == ("mine@v2",)
    assert ("mine@v1", "m/1 was trained on it") in [(kept.version, kept.why) for kept in found.kept]
    shutil.rmtree(versioned.root / CACHE)
    assert verify(versioned, "mine", "v1").ok
    assert verify(versioned, "mine", "v3").ok


def test_a_protected_version_is_known_by_its_content_too(versioned: Project) -> None:
    sha256 = find_version(versioned, "mine", "v1").sha256
    assert collect(versioned, Protected("mine", "v77", sha256, "why"), dry_run=True).versions == ("mine@v2",)


def test_as_many_of_the_newest_stay_as_are_asked_for(versioned: Project) -> None:
    assert collect(versioned, keep=2).versions == ("mine@v1",)
    assert collect(versioned, keep=9).versions == ()


def test_what_the_source_of_a_kept_version_reads_is_kept(versioned: Project) -> None:
    first = find_version(versioned, "mine", "v1")
    source = {"kind": "synthetic", "real": "mine", "real_sha256": first.sha256, "trained_on": "mine@v2", "data_sha256": "f" * 64}
    manifest = Manifest(name="drawn", modality="image", stage="augment", shards=(), source=source)
    result = ValidationResult(name="drawn", outcome="passed", manifest_sha256=manifest.sha256, rows={}, dropped={}, rules=())
    published_with_lock(versioned, manifest, result)
    found = collect(versioned, dry_run=True)
    assert found.versions == ()
    assert {kept.version: kept.why for kept in found.kept} == {
        "mine@v3": NEWEST, "drawn@v1": NEWEST, "mine@v1": "the source of drawn@v1 reads it", "mine@v2": "the source of drawn@v1 reads it",
    }  # fmt: skip


def published_with_lock(project: Project, manifest: Manifest, result: ValidationResult) -> None:
    """A version of a dataset without shards, with an empty dvc.lock in its commit."""
    made = published_as(project, manifest, result, "v1")
    commit = plumbing.commit_tree(project.root, {"dvc.lock": b"schema: '2.0'\nstages: {}\n"}, [], "x", "x", base=made.commit)
    ref = plumbing.list_refs(project.root, f"refs/tags/{made.tag}")[0]
    tag = plumbing.make_tag(project.root, made.tag, commit, ref.message, "x")
    plumbing.transaction(project.root, [plumbing.RefUpdate(ref.name, tag, ref.sha)], "x")


def test_what_is_prepared_and_not_published_is_kept_and_what_was_before_is_not(versioned: Project) -> None:
    set_params(versioned, split={"seed": 3})
    prepare_here(versioned)
    before = objects(versioned, CACHE)
    set_params(versioned, split={"seed": 4})
    prepare_here(versioned)
    now = objects(versioned, CACHE)
    found = collect(versioned, keep=3, remote=False)
    assert found.versions == ()
    assert 0 < found.leftovers == found.objects
    left = objects(versioned, CACHE)
    new = now.keys() - before.keys()
    assert new <= left.keys()
    shutil.rmtree(versioned.root / "data" / "clean")
    assert publish_restored(versioned).version == "v4"


def publish_restored(project: Project) -> DataVersion:
    """Check out what dvc.lock pins from the cache alone, and publish it."""
    from dvc.repo import Repo

    with Repo(str(project.root)) as repo:
        repo.checkout(force=True)
    return publish(project, "mine", actor="tester")


def test_objects_that_another_branch_pins_are_kept(versioned: Project) -> None:
    set_params(versioned, split={"seed": 3})
    prepare_here(versioned)
    lock = (versioned.root / "dvc.lock").read_bytes()
    plumbing.append_commit(versioned.root, "experiment", {"dvc.lock": lock}, "x", "x", None)
    set_params(versioned, split={"seed": 4})
    prepare_here(versioned)
    assert collect(versioned, keep=3, remote=False).leftovers == 0


def test_the_cache_alone_is_freed_only_of_what_the_remote_has(versioned: Project) -> None:
    far = objects(versioned)
    lost = sorted(needed(versioned, "v1") - needed(versioned, "v2") - needed(versioned, "v3"))
    lost = [md5 for md5 in lost if not md5.endswith(".dir")]
    (versioned.root / REMOTE / "files/md5" / lost[0][:2] / lost[0][2:]).unlink()
    found = collect(versioned, remote=False)
    assert found.notes == (f"1 objects stay in the local cache, for the remote {versioned.root}/.dvc-remote/files/md5 does not have them: "
                           "`genmill data verify --all --mend` sends them there.",)  # fmt: skip
    assert (versioned.root / CACHE / "files/md5" / lost[0][:2] / lost[0][2:]).is_file()
    assert objects(versioned).keys() == far.keys() - {f"files/md5/{lost[0][:2]}/{lost[0][2:]}"}
    assert freed_versions(versioned, "mine") == {}
    assert verify_all(versioned, repair=True).ok
    assert diff(versioned, "mine", "v1", "v2").rows == Changes(against="v1", added=3, removed=1, changed=1, same=22)


def test_freed_content_that_is_published_again_is_the_same_version_and_whole(versioned: Project) -> None:
    collect(versioned)
    for path in sorted((versioned.root.parent / "files").rglob("02*.png")):
        path.unlink()
    again = publish_here(versioned)
    assert (again.version, again.new) == ("v2", False)
    assert set(freed_versions(versioned, "mine")) == {"v1"}
    shutil.rmtree(versioned.root / CACHE)
    assert verify(versioned, "mine", "v2").ok


def test_a_collection_that_was_killed_is_finished_by_the_next_one(versioned: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from components.data.store import Store

    wanted = collect(versioned, dry_run=True)
    delete, deleted = Store.delete, list[str]()

    def killed(store: Store, md5: str) -> None:
        if len(deleted) == 5:
            raise KeyboardInterrupt
        deleted.append(md5)
        delete(store, md5)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "delete", killed)
        with pytest.raises(KeyboardInterrupt):
            collect(versioned)
    assert verify_all(versioned).ok  # the record came first
    assert collect(versioned).objects == wanted.objects - 5
    assert collect(versioned).objects == 0


def test_a_kept_version_whose_lists_are_gone_stops_everything(versioned: Project) -> None:
    lock = plumbing.read_blob(versioned.root, find_version(versioned, "mine", "v3").commit, "dvc.lock")
    for where in (REMOTE, CACHE):
        md5 = dict(locked_outputs(lock, "mine"))["data/clean/mine"]
        (versioned.root / where / "files/md5" / md5[:2] / md5[2:]).unlink()
    before = objects(versioned)
    with pytest.raises(UserError, match="not known what must stay: run `genmill data verify mine@v3 --mend` first"):
        collect(versioned)
    assert objects(versioned) == before


def test_a_new_version_can_be_published_after_what_it_shares_with_a_freed_one_is_gone(versioned: Project) -> None:
    """DVC remembers what it has sent; it must send again what was deleted there."""
    collect(versioned)
    for path in sorted((versioned.root.parent / "files").rglob("0[12]*.png")):
        path.unlink()
    write_images(versioned, 1, start=300)
    assert publish_here(versioned).version == "v4"
    shutil.rmtree(versioned.root / CACHE)
    assert verify(versioned, "mine").ok


def test_versions_on_s3_are_freed_and_the_objects_of_others_there_are_left_alone(unpublished: Project, bucket: Bucket) -> None:
    use(unpublished, bucket)
    publish(unpublished, "mine", actor="tester")
    set_params(unpublished, split={"seed": 7})
    publish_here(unpublished)
    bucket.write("versions/files/md5/ab/0123456789abcdef0123456789abcd", b"somebody else's")
    before = set(bucket.names())
    assert collect(unpublished).versions == ("mine@v1",)
    assert set(bucket.names()) < before
    assert "versions/files/md5/ab/0123456789abcdef0123456789abcd" in bucket.names()
    shutil.rmtree(unpublished.root / CACHE)
    assert verify(unpublished, "mine").ok


def registered(project: Project, empty_store: Path, version: str, tmp_path: Path) -> Tracker:
    tracker = tracker_in(project, empty_store)
    data = find_version(project, "mine", version)
    package = write_digits_package(tmp_path / "package", dataset="mine", data_version=version, data_sha256=data.sha256)
    register_model(tracker, package, tags={"dataset": "mine", "data_version": version, "data_sha256": data.sha256})
    return tracker


def test_registered_models_ledger_and_trainings_under_way_protect_their_data(versioned: Project, empty_store: Path, tmp_path: Path) -> None:
    tracker = registered(versioned, empty_store, "v1", tmp_path)
    found = protected_versions(versioned, tracker, ["mine"])
    assert [(one.dataset, one.version, one.why) for one in found] == [("mine", "v1", "vae-digits/1 was trained on it")]
    append(versioned, Record(who="ann", model="vae-digits", kind="promote", state="done", reason="", from_version=None, to_version=1, data_version="mine@v2"))
    tracker.start_run("mine", "one", {"dataset": "mine", "data_version": "v3"}, {})
    assert [one.version for one in protected_versions(versioned, tracker, ["mine"])] == ["v1", "v2", "v3"]


def test_a_registry_that_cannot_be_asked_frees_nothing(versioned: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = objects(versioned)
    for address, said in (("", "There is no registry in"), ("http://127.0.0.1:9", "does not answer")):
        done = genmill("data", "gc", "--remote", cwd=versioned.root, env={"MLFLOW_TRACKING_URI": address} if address else None)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert objects(versioned) == before


def test_a_registry_that_does_not_know_what_was_promoted_is_another_one(versioned: Project, empty_store: Path) -> None:
    tracker = tracker_in(versioned, empty_store)
    append(versioned, Record(who="ann", model="gan-x", kind="promote", state="done", reason="", from_version=None, to_version=1, data_version="mine@v2"))
    with pytest.raises(UserError, match=r"The ledger speaks of gan-x, which the registry .* does not know"):
        protected_versions(versioned, tracker, ["mine"])


def test_the_command_keeps_what_a_model_was_trained_on_and_says_why(versioned: Project, empty_store: Path, tmp_path: Path) -> None:
    registered(versioned, empty_store, "v1", tmp_path)
    done = genmill("data", "gc", "mine", "--remote", cwd=versioned.root)
    assert done.returncode == 0, done.stderr
    assert "vae-digits/1 was trained on it" in done.stdout
    assert "mine@v2" in done.stdout
    assert set(freed_versions(versioned, "mine")) == {"v2"}


def test_without_a_registry_a_person_may_say_that_there_is_none(versioned: Project) -> None:
    done = genmill("data", "gc", "--no-registry", "--dry-run", "--remote", "--json", cwd=versioned.root)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["versions"] == ["mine@v2", "mine@v1"]
