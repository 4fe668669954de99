"""References to versions, the overview, and the audit back to the raw bytes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from components import git
from components.data.publish import find_version
from components.errors import UserError
from components.params import load
from components.project import Project
from components.registry import ledger, promotion
from components.registry.lineage import AuditReport, audit, overview
from components.registry.package import Package
from components.registry.references import resolve
from components.tracking import Tracker
from tests import conftest
from tests.stores import register, tracker_in, write_digits_package


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


@pytest.fixture
def audited(published: Project, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Project, Tracker]:
    """A published dataset and a promoted model that was trained on it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker = tracker_in(published, empty_store)
    data = find_version(published, "digits", "v1")
    package = write_digits_package(tmp_path / "model", data_sha256=data.sha256)
    tags = {"git_commit": git.head(published.root) or "", "dirty": "false", "validation": data.validation, "data_sha256": data.sha256}
    register(tracker, package, tags=tags)
    gates = load(published.params).child("gates")
    promotion.promote(published, tracker, "vae-digits", gates=gates, actor="ann")
    return published, tracker


def package_folder(tracker: Tracker) -> Path:
    folder = tracker.local_path(tracker.model_version("vae-digits", 1).source)
    assert folder is not None
    return folder


def change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def change_weights(project: Project, tracker: Tracker) -> None:
    change(package_folder(tracker) / "artifacts/model.safetensors")


def add_code(project: Project, tracker: Tracker) -> None:
    (package_folder(tracker) / "code/components/extra.py").write_text("")


def change_a_shard(project: Project, tracker: Tracker) -> None:
    shard = next((project.data / "clean/digits").glob("*.parquet"))
    shard.chmod(0o644)
    change(shard)


def change_the_run(project: Project, tracker: Tracker) -> None:
    tracker.set_tags(tracker.model_version("vae-digits", 1).run_id, {"data_sha256": "0" * 64})


def forget_the_commit(project: Project, tracker: Tracker) -> None:
    tracker.set_tags(tracker.model_version("vae-digits", 1).run_id, {"git_commit": "1" * 40})


def delete_the_data_tag(project: Project, tracker: Tracker) -> None:
    conftest.git(project.root, "tag", "-d", "data/digits/v1")


def move_the_champion(project: Project, tracker: Tracker) -> None:
    tracker.delete_alias("vae-digits", "champion")


def change_the_ledger(project: Project, tracker: Tracker) -> None:
    head = git.resolve(project.root, f"refs/heads/{ledger.BRANCH}")
    assert head is not None
    content = git.read_blob(project.root, head, ledger.LEDGER_FILE).replace(b'"who":"ann"', b'"who":"bob"')
    commit = git.commit_tree(project.root, {ledger.LEDGER_FILE: content}, [git.log(project.root, head)[1][0]], "x", "mallory")
    git.transaction(project.root, [git.RefUpdate(f"refs/heads/{ledger.BRANCH}", commit, head)], "x")


def change_the_version(project: Project, tracker: Tracker) -> None:
    tracker.set_version_tags("vae-digits", 1, {"package_sha256": "0" * 64})


def broken_links(report: AuditReport) -> list[str]:
    return [row.link for row in report.rows if not row.ok]


@pytest.mark.slow
def test_an_untouched_chain_holds_to_the_raw_bytes(audited: tuple[Project, Tracker]) -> None:
    report = audit(*audited, "vae-digits@champion")
    assert report.broken == ()
    assert report.ok
    assert report.version == "vae-digits/1"
    links = [row.link for row in report.rows]
    assert {"package files", "MLflow run", "git commit", "data version digits@v1", "shards", "source", "ledger", "champion in the ledger"} <= set(links)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "link"),
    [
        (change_weights, "package files"),
        (add_code, "package files"),
        (change_a_shard, "shards"),
        (change_the_run, "data_sha256 of the run"),
        (forget_the_commit, "git commit"),
        (delete_the_data_tag, "data version"),
        (move_the_champion, "champion in the ledger"),
        (change_the_ledger, "ledger"),
        (change_the_version, "list of package files"),
    ],
)
def test_the_broken_link_is_named(audited: tuple[Project, Tracker], damage: Callable[[Project, Tracker], None], link: str) -> None:
    damage(*audited)
    report = audit(*audited, "vae-digits/1")
    assert not report.ok
    assert link in broken_links(report)
    assert any(sentence.startswith(f"{link}: expected ") for sentence in report.broken)


@pytest.mark.slow
def test_a_dirty_work_tree_and_a_missing_commit_are_noted_but_break_nothing(audited: tuple[Project, Tracker]) -> None:
    project, tracker = audited
    run_id = tracker.model_version("vae-digits", 1).run_id
    tracker.set_tags(run_id, {"dirty": "true"})
    (row,) = [row for row in audit(project, tracker, "vae-digits/1").rows if row.link == "git commit"]
    assert row.ok
    assert "uncommitted changes" in row.note
    tracker.set_tags(run_id, {"git_commit": ""})
    report = audit(project, tracker, "vae-digits/1")
    assert report.ok
    assert "no commit then" in next(row.note for row in report.rows if row.link == "git commit")
