"""References to versions, the overview, and the audit back to the raw bytes."""

import hashlib
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from components import git
from components.data.dataset import Dataset
from components.data.freed import Freed, record_freed
from components.data.published import find_version, version_of_content, write_tag
from components.errors import UserError
from components.project import Project
from components.registry import ledger
from components.registry.audit.data import data_rows
from components.registry.lineage import AuditReport, audit, overview
from components.registry.package import Package
from components.registry.references import resolve
from components.report.audit import write_audit_page
from components.tracking import ENVIRONMENT_ARTIFACT, Tracker
from tests import conftest
from tests.stores import promote, register, tracker_in, write_digits_package


@pytest.fixture
def three(tracker: Tracker, package: Package) -> Tracker:
    """Three versions of vae-digits: 1 is champion, 3 the candidate."""
    for fid in (30.0, 20.0, 25.0):
        register(tracker, package, fid=fid)
    tracker.set_alias("vae-digits", "champion", 1)
    return tracker


def test_a_reference_is_a_model_an_alias_a_number_or_a_run(three: Tracker) -> None:
    second = three.model_version("vae-digits", 2)
    assert resolve(three, "vae-digits").version == 1
    assert resolve(three, "vae-digits@candidate").version == 3
    assert resolve(three, "vae-digits/2") == second
    assert resolve(three, "vae-digits/v2") == second
    assert resolve(three, second.run_id) == second
    three.delete_alias("vae-digits", "champion")
    assert resolve(three, "vae-digits").version == 3


@pytest.mark.parametrize("ref", ["vae-digits@", "vae-digits/x", "vae-digits/2@champion", "@champion", "/3", ""])
def test_what_is_no_reference_is_told_the_forms(three: Tracker, ref: str) -> None:
    with pytest.raises(UserError, match="no model reference: write MODEL"):
        resolve(three, ref)


def test_a_reference_to_nothing_lists_what_there_is(three: Tracker, tracker: Tracker) -> None:
    with pytest.raises(UserError, match=r"(?s)no alias 'best'; there are:\n  vae-digits/3  candidate"):
        resolve(three, "vae-digits@best")
    with pytest.raises(UserError, match=r"(?s)did you mean 'vae-digits'\? There are:\n  vae-digits/3"):
        resolve(three, "vae-digit")
    with pytest.raises(UserError, match="no MLflow run"):
        resolve(three, "0" * 32)
    unregistered = tracker.start_run("digits", "unfinished", {}, {})
    with pytest.raises(UserError, match="registered no model"):
        resolve(three, unregistered)


def test_an_empty_registry_says_how_to_fill_it(tracker: Tracker) -> None:
    with pytest.raises(UserError, match="none is registered yet, `genmill run`"):
        resolve(tracker, "vae-digits")


def test_the_overview_shows_aliases_and_the_newest_figures(three: Tracker) -> None:
    (found,) = overview(three)
    assert (found.model, found.champion, found.candidate, found.figures, found.data_version) == ("vae-digits", 1, 3, "fid_own 25", "digits@v1")


def test_reading_the_registry_and_the_ledger_imports_no_torch() -> None:
    code = "import sys, components.registry.lineage, components.registry.ledger, components.report.audit; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


Undo = Callable[[], object]
Audited = tuple[Project, Tracker]


@pytest.fixture(scope="module")
def audited(published_project: Project, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    """A published dataset and a promoted model that was trained on it; who damages it mends it again."""
    project = conftest.copy_project(published_project, tmp_path_factory.mktemp("audited") / "project")
    tracker = tracker_in(project, empty_store)
    data = find_version(project, "digits", "v1")
    package = write_digits_package(project.root / ".genmill/model", data_sha256=data.sha256)
    digests = {"environment_sha256": hashlib.sha256(b"torch==2\n").hexdigest(), "data_commit": data.commit}
    tags = {"git_commit": git.head(project.root) or "", "dirty": "false", "validation": data.validation, "data_sha256": data.sha256, **digests}
    version = register(tracker, package, tags=tags)
    tracker.log_text(version.run_id, "torch==2\n", ENVIRONMENT_ARTIFACT)
    promote(project, tracker)
    return project, tracker


def run_of(tracker: Tracker) -> str:
    return tracker.model_version("vae-digits", 1).run_id


def package_folder(tracker: Tracker) -> Path:
    folder = tracker.local_path(tracker.model_version("vae-digits", 1).source)
    assert folder is not None
    return folder


def flip(path: Path) -> Undo:
    """Change one bit and keep size, time and rights."""
    status, content = path.stat(), path.read_bytes()
    flipped = bytearray(content)
    flipped[len(flipped) // 2] ^= 1

    def write(data: bytes) -> None:
        path.chmod(0o644)
        path.write_bytes(data)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    write(bytes(flipped))
    return lambda: write(content)


def flip_in_the_remote(project: Project, path: str) -> Undo:
    """Flip a bit of the remote's object that holds the project's file ``path``."""
    content = (project.root / path).read_bytes()
    return flip(next(file for file in (project.root / ".dvc-remote").rglob("*") if file.is_file() and file.read_bytes() == content))


def forge(project: Project, path: str, old: bytes, new: bytes) -> Undo:
    """Publish the version's commit again with other words in ``path``, under the same tag and the same message."""
    (tag,) = git.list_refs(project.root, "refs/tags/data/digits/v1")
    content = git.read_blob(project.root, tag.commit, path)
    assert old in content
    commit = git.commit_tree(project.root, {path: content.replace(old, new)}, [], "forged", "mallory", base=tag.commit)
    forged = git.make_tag(project.root, "data/digits/v1", commit, tag.message, "mallory")
    git.transaction(project.root, [git.RefUpdate(tag.name, forged, tag.sha)], "forge")
    return lambda: git.transaction(project.root, [git.RefUpdate(tag.name, tag.sha, forged)], "mend")


def rewrite_the_ledger(project: Project, old: bytes, new: bytes, which: int) -> Undo:
    """Put a last commit with another record number ``which`` in place of the one that is there."""
    ref = f"refs/heads/{ledger.BRANCH}"
    head = git.resolve(project.root, ref)
    assert head is not None
    lines = git.read_blob(project.root, head, ledger.LEDGER_FILE).splitlines(keepends=True)
    assert old in lines[which]
    lines[which] = lines[which].replace(old, new)
    commit = git.commit_tree(project.root, {ledger.LEDGER_FILE: b"".join(lines)}, [git.log(project.root, head)[1][0]], "x", "mallory")
    git.transaction(project.root, [git.RefUpdate(ref, commit, head)], "x")
    return lambda: git.transaction(project.root, [git.RefUpdate(ref, head, commit)], "x")


def flip_in_git(project: Project, ref: str, path: str) -> Undo:
    """Flip a bit of the loose object that holds the file ``path``."""
    name = conftest.git(project.root, "rev-parse", f"{ref}:{path}")
    return flip(project.root / ".git/objects" / name[:2] / name[2:])


def swap_in_git(project: Project, ref: str, path: str) -> Undo:
    """Put other content under the name of the object that holds the file ``path``: git reads it without a word."""
    name = conftest.git(project.root, "rev-parse", f"{ref}:{path}")
    file, content = project.root / ".git/objects" / name[:2] / name[2:], git.read_blob(project.root, ref, path)
    kept, status = file.read_bytes(), file.stat()
    file.chmod(0o644)
    other = content.replace(b'"success":true', b'"success": 1 ', 1).replace(b'"success": true', b'"success":  true', 1)
    file.write_bytes(zlib.compress(b"blob %d\0" % len(other) + other))

    def undo() -> None:
        file.write_bytes(kept)
        file.chmod(status.st_mode)

    return undo


def set_tag(tracker: Tracker, name: str, value: str) -> Undo:
    run = tracker.get_run(run_of(tracker))
    tracker.set_tags(run.run_id, {name: value})
    return lambda: tracker.set_tags(run.run_id, {name: run.tag(name)})


def add_code(tracker: Tracker) -> Undo:
    extra = package_folder(tracker) / "code/components/extra.py"
    extra.write_text("")
    return extra.unlink


def delete_the_data_tag(project: Project) -> Undo:
    (tag,) = git.list_refs(project.root, "refs/tags/data/digits/v1")
    conftest.git(project.root, "tag", "-d", "data/digits/v1")
    return lambda: conftest.git(project.root, "update-ref", tag.name, tag.sha)


def move_the_champion(tracker: Tracker) -> Undo:
    tracker.delete_alias("vae-digits", "champion")
    return lambda: tracker.set_alias("vae-digits", "champion", 1)


def change_the_version(tracker: Tracker) -> Undo:
    kept = tracker.model_version("vae-digits", 1).tag("package_sha256")
    tracker.set_version_tags("vae-digits", 1, {"package_sha256": "0" * 64})
    return lambda: tracker.set_version_tags("vae-digits", 1, {"package_sha256": kept})


def change_the_environment(tracker: Tracker) -> Undo:
    tracker.log_text(run_of(tracker), "torch==3\n", ENVIRONMENT_ARTIFACT)
    return lambda: tracker.log_text(run_of(tracker), "torch==2\n", ENVIRONMENT_ARTIFACT)


def broken_links(report: AuditReport) -> list[str]:
    return [row.link for row in report.rows if row.ok is False]


@pytest.mark.slow
def test_an_untouched_chain_holds_to_the_raw_bytes(audited: Audited) -> None:
    report = audit(*audited, "vae-digits@champion")
    assert report.broken == ()
    assert report.ok
    assert report.version == "vae-digits/1"
    rows = {row.link: row for row in report.rows}
    assert {"package files", "MLflow run", "git commit", "data version digits@v1", "commit of the data", "shards", "source", "ledger"} <= set(rows)
    assert all(rows[link].ok for link in ("manifest", "validation result", "cleaning report", "environment", "figures", "champion in the ledger"))
    assert rows["params"].ok is None  # this run stored none
    assert "older than this record" in rows["params"].note


SHARD, MANIFEST, RESULT = "data/clean/digits/test-00000.parquet", "data/augmented/digits/manifest.json", "data/validation/digits/result.json"
DAMAGES: dict[str, tuple[Callable[[Project, Tracker], Undo], str]] = {
    "weights": (lambda project, tracker: flip(package_folder(tracker) / "artifacts/model.safetensors"), "package files"),
    "card": (lambda project, tracker: flip(package_folder(tracker) / "card.md"), "package files"),
    "code that was added": (lambda project, tracker: add_code(tracker), "package files"),
    "list of files": (lambda project, tracker: change_the_version(tracker), "list of package files"),
    "run": (lambda project, tracker: set_tag(tracker, "data_sha256", "0" * 64), "data_sha256 of the run"),
    "commit": (lambda project, tracker: set_tag(tracker, "git_commit", "1" * 40), "git commit"),
    "environment": (lambda project, tracker: change_the_environment(tracker), "environment"),
    "params": (lambda project, tracker: set_tag(tracker, "spec_sha256", "0" * 64), "params"),
    "shard": (lambda project, tracker: flip(project.root / SHARD), "shards"),
    "shard in the remote": (lambda project, tracker: flip_in_the_remote(project, SHARD), "shards"),
    "manifest": (lambda project, tracker: flip(project.root / MANIFEST), "manifest"),
    "manifest in the remote": (lambda project, tracker: flip_in_the_remote(project, MANIFEST), "manifest"),
    "manifest in git": (lambda project, tracker: flip_in_git(project, "data/digits/v1", "manifests/digits.json"), "manifest"),
    "manifest that was forged": (lambda project, tracker: forge(project, "manifests/digits.json", b'"dropped": {', b'"dropped":  {'), "manifest"),
    "validation": (lambda project, tracker: flip(project.root / RESULT), "validation result"),
    "validation in the remote": (lambda project, tracker: flip_in_the_remote(project, RESULT), "validation result"),
    "validation in git": (lambda project, tracker: flip_in_git(project, "data/digits/v1", "validation/digits.json"), "validation result"),
    "validation swapped in git": (lambda project, tracker: swap_in_git(project, "data/digits/v1", "validation/digits.json"), "validation result"),
    "validation that was forged": (lambda project, tracker: forge(project, "validation/digits.json", b'"passed"', b'"warnings"'), "commit of the data"),
    "data tag": (lambda project, tracker: delete_the_data_tag(project), "data version"),
    "champion": (lambda project, tracker: move_the_champion(tracker), "champion in the ledger"),
    "ledger": (lambda project, tracker: rewrite_the_ledger(project, b'"who":"ann"', b'"who":"bob"', 0), "ledger"),
    "last record of the ledger": (lambda project, tracker: rewrite_the_ledger(project, b'"who":"ann"', b'"who":"bnn"', 1), "ledger"),
    "ledger in git": (lambda project, tracker: flip_in_git(project, ledger.BRANCH, ledger.LEDGER_FILE), "ledger"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", DAMAGES)
def test_the_broken_link_is_named(audited: Audited, what: str) -> None:
    damage, link = DAMAGES[what]
    undo = damage(*audited)
    try:
        report = audit(*audited, "vae-digits/1")
    finally:
        undo()
    assert not report.ok
    assert link in broken_links(report)
    assert any(sentence.startswith(f"{link}: expected ") for sentence in report.broken)


@pytest.mark.slow
def test_the_page_shows_the_data_to_a_stranger_and_the_flipped_byte_in_red(audited: Audited) -> None:
    project, tracker = audited
    undo = flip(project.root / SHARD)
    try:
        report = write_audit_page(project, tracker, audit(project, tracker, "vae-digits/1"))
    finally:
        undo()
    assert report.page == project.reports / "audit-vae-digits-1.html"
    html = report.page.read_text()
    assert 'role="alert"' in html
    assert html.count(f"{SHARD} is damaged") == 2
    manifest = Dataset.open(project, "digits").manifest
    for words in (manifest.licence, manifest.shards[0].sha256, "expect_column_values_to_be_unique", *manifest.dropped, "promote"):
        assert words in html, words


@pytest.mark.slow
def test_without_hashing_what_was_not_looked_at_is_neither_right_nor_wrong(audited: Audited) -> None:
    project, tracker = audited
    undo = flip(package_folder(tracker) / "artifacts/model.safetensors")
    try:
        report = audit(project, tracker, "vae-digits/1", rehash=False)
    finally:
        undo()
    unseen = [row.link for row in report.rows if row.found == "not re-hashed"]
    assert {"package files", "environment", "manifest", "validation result", "cleaning report", "shards", "ledger"} <= set(unseen)
    assert all(row.ok is None for row in report.rows if row.link in unseen)
    assert report.ok
    undo = set_tag(tracker, "data_sha256", "0" * 64)  # what is only read is still compared
    try:
        assert broken_links(audit(project, tracker, "vae-digits/1", rehash=False)) == ["data_sha256 of the run"]
    finally:
        undo()


@pytest.mark.slow
def test_a_dirty_work_tree_and_a_missing_commit_are_noted_but_break_nothing(audited: Audited) -> None:
    project, tracker = audited
    undo = set_tag(tracker, "dirty", "true")
    (row,) = [row for row in audit(project, tracker, "vae-digits/1", rehash=False).rows if row.link == "git commit"]
    undo()
    assert row.ok
    assert "uncommitted changes" in row.note
    undo = set_tag(tracker, "git_commit", "")
    report = audit(project, tracker, "vae-digits/1", rehash=False)
    undo()
    assert report.ok
    assert "no commit then" in next(row.note for row in report.rows if row.link == "git commit")


@pytest.mark.slow
def test_data_that_was_freed_is_said_to_be_freed(published: Project, empty_store: Path, tmp_path: Path) -> None:
    tracker, data = tracker_in(published, empty_store), find_version(published, "digits", "v1")
    version = register(tracker, write_digits_package(tmp_path / "model", data_sha256=data.sha256), tags={"data_sha256": data.sha256})
    freed = Freed(version="v1", sha256=data.sha256, when="2026-01-01T00:00:00+00:00", who="gus", bytes=1)
    record_freed(published, [(data, freed)], "gus")
    rows = {row.link: row for row in data_rows(published, version, tracker.get_run(version.run_id), rehash=True)}
    assert rows["shards"].ok is False
    assert rows["shards"].found.startswith("digits@v1 was freed on 2026-01-01 by gus")
    assert not any("damaged" in row.found for row in rows.values())


@pytest.mark.slow
def test_data_that_got_another_number_is_found_by_its_content(published: Project, empty_store: Path, tmp_path: Path) -> None:
    """Others had published another v1: ours is v2 from then on, and the model says v1."""
    tracker, data = tracker_in(published, empty_store), find_version(published, "digits", "v1")
    version = register(tracker, write_digits_package(tmp_path / "model", data_sha256=data.sha256), tags={"data_commit": data.commit})
    theirs = data.model_copy(update={"sha256": "0" * 64})
    ours = data.model_copy(update={"version": "v2", "tag": "data/digits/v2", "formerly": "v1"})
    old = git.list_refs(published.root, "refs/tags/data/digits/")[0]
    updates = [git.RefUpdate(f"refs/tags/{one.tag}", write_tag(published.root, one, data.commit), sha) for one, sha in ((theirs, old.sha), (ours, None))]
    git.transaction(published.root, updates, "test")
    assert version_of_content(published, "digits", data.sha256) == ours
    (row,) = [row for row in data_rows(published, version, tracker.get_run(version.run_id), rehash=False) if row.link.startswith("data version")]
    assert row.ok
    assert row.note == "it is digits@v2 now, for others had published another v1 meanwhile"
