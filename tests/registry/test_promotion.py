"""Promotion and rollback: gates, aliases, ledger, and a kill at any point."""

from pathlib import Path
from typing import Any

import pytest

from components.errors import UserError
from components.params import Block, load
from components.project import Project
from components.registry import ledger, promotion
from components.registry.package import Package
from components.registry.promotion import mirrors, recover
from components.tracking import Tracker
from tests import conftest
from tests.stores import register


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    conftest.git(tmp_path, "init", "--quiet", "--initial-branch=main")
    (tmp_path / "params.yaml").write_text("gates:\n  fid_own: {max: 40}\n")
    return Project(tmp_path)


@pytest.fixture
def three(tracker: Tracker, package: Package) -> Tracker:
    """Three versions with FID 30, 20 and 50; the last one is the candidate."""
    for fid in (30.0, 20.0, 50.0):
        register(tracker, package, fid=fid)
    return tracker


def gates(project: Project) -> Block:
    return load(project.params).child("gates")


def promote(project: Project, tracker: Tracker, version: int | None, **more: Any) -> promotion.PromotionResult:
    return promotion.promote(project, tracker, "vae-digits", gates=gates(project), version=version, actor="ann", reason="better", **more)


def rollback(project: Project, tracker: Tracker, **more: Any) -> promotion.PromotionResult:
    return promotion.rollback(project, tracker, "vae-digits", actor="ann", reason="complaints", **more)


def aliases(tracker: Tracker) -> tuple[int | None, int | None]:
    return tracker.alias("vae-digits", "champion"), tracker.alias("vae-digits", "previous")


def test_a_version_that_passes_becomes_champion_and_the_former_one_is_kept(project: Project, three: Tracker) -> None:
    assert promote(project, three, 1).outcome == "done"
    result = promote(project, three, 2)
    assert (result.outcome, result.ok, result.from_version, result.to_version) == ("done", True, 1, 2)
    assert result.message == "vae-digits/2 is the champion now: fid_own is 20, as asked at most 40."
    assert aliases(three) == (2, 1)
    written = ledger.read(project, "vae-digits")
    assert [(one.kind, one.state, one.from_version, one.to_version) for one in written] == [
        ("promote", "intent", None, 1),
        ("promote", "done", None, 1),
        ("promote", "intent", 1, 2),
        ("promote", "done", 1, 2),
    ]
    last = written[-1]
    version = three.model_version("vae-digits", 2)
    assert (last.who, last.reason, last.data_version, last.run_id) == ("ann", "better", "digits@v1", version.run_id)
    assert last.package_sha256 == version.tag("package_sha256")
    assert [(row.rule, row.value, row.verdict) for row in last.gates] == [("fid_own", 20.0, "passed")]


def test_the_registry_mirrors_the_ledger(project: Project, three: Tracker) -> None:
    promote(project, three, 1)
    last = ledger.read(project)[-1]
    assert mirrors(three) == [ledger.Mirror("vae-digits", last.number, last.sha256)]
    assert three.model_version("vae-digits", 1).tag("promotion") == f"promoted by ann at {last.when}, record 2: better"


def test_the_candidate_is_what_is_promoted_by_default_and_a_refusal_is_recorded(project: Project, three: Tracker) -> None:
    result = promote(project, three, None)
    assert (result.outcome, result.ok, result.to_version) == ("refused", False, 3)
    assert "fid_own is 50, not at most 40" in result.message
    assert aliases(three) == (None, None)
    assert [one.state for one in ledger.read(project)] == ["refused"]


def test_a_dry_run_writes_nothing(project: Project, three: Tracker) -> None:
    assert promote(project, three, 2, dry_run=True).outcome == "dry-run"
    assert not promote(project, three, 3, dry_run=True).ok
    assert aliases(three) == (None, None)
    assert ledger.read(project) == []


def test_promoting_the_champion_again_changes_nothing(project: Project, three: Tracker) -> None:
    promote(project, three, 1)
    assert promote(project, three, 1).outcome == "unchanged"
    assert len(ledger.read(project)) == 2


def test_rollback_goes_back_step_by_step_and_is_recorded(project: Project, three: Tracker) -> None:
    (project.root / "params.yaml").write_text("gates: {}\n")
    for version in (1, 2, 3):
        promote(project, three, version)
    assert aliases(three) == (3, 2)
    assert rollback(project, three).message == "vae-digits/2 is the champion again, after vae-digits/3."
    assert aliases(three) == (2, 1)
    rollback(project, three)
    assert aliases(three) == (1, None)
    assert [one.kind for one in ledger.history(project, "vae-digits")] == ["rollback", "rollback", "promote", "promote", "promote"]
    with pytest.raises(UserError, match="no champion before version 1"):
        rollback(project, three)


def test_a_dry_rollback_writes_nothing(project: Project, three: Tracker) -> None:
    promote(project, three, 1)
    promote(project, three, 2)
    assert rollback(project, three, dry_run=True).to_version == 1
    assert aliases(three) == (2, 1)
    assert len(ledger.read(project)) == 4


def test_rollback_without_a_champion_says_what_to_do(project: Project, three: Tracker) -> None:
    with pytest.raises(UserError, match="no champion, so there is nothing to roll back: `genmill promote vae-digits`"):
        rollback(project, three)
    with pytest.raises(UserError, match="no model 'vae-digit'"):
        promotion.rollback(project, three, "vae-digit", actor="ann")


def test_a_champion_moved_past_the_ledger_is_named_and_a_promotion_sets_it_right(project: Project, three: Tracker) -> None:
    promote(project, three, 1)
    three.set_alias("vae-digits", "champion", 3)
    with pytest.raises(UserError, match="stands on version 3, but the ledger says 1"):
        rollback(project, three)
    promote(project, three, 2)
    assert aliases(three) == (2, 1)


def test_an_unknown_version_shows_what_there_is(project: Project, three: Tracker) -> None:
    with pytest.raises(UserError, match=r"(?s)vae-digits has no version 9; there are:\n  vae-digits/3  candidate  digits@v1"):
        promote(project, three, 9)
    with pytest.raises(UserError, match=r"(?s)no model 'vae-digit'; did you mean 'vae-digits'\?"):
        promotion.promote(project, three, "vae-digit", gates=gates(project), actor="ann")


def test_a_gate_on_a_figure_that_was_not_measured_is_refused(project: Project, three: Tracker) -> None:
    (project.root / "params.yaml").write_text("gates:\n  fid_owm: {max: 40}\n")
    with pytest.raises(UserError, match=r"did you mean 'fid_own'\?"):
        promote(project, three, 1)
    assert ledger.read(project) == []


def kill_at(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, after: bool) -> None:
    """End the process when ``target.name`` is called, before or after it did its work."""
    real = getattr(target, name)

    def dying(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(target, name, real)
        if after:
            real(*args, **kwargs)
        raise Killed

    monkeypatch.setattr(target, name, dying)


def test_a_kill_before_the_alias_moved_is_undone(project: Project, three: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    promote(project, three, 1)
    kill_at(monkeypatch, Tracker, "set_alias", after=False)
    with pytest.raises(Killed):
        promote(project, three, 2)
    assert aliases(three) == (1, None)
    assert recover(project, three) == ["Undid an interrupted promote of vae-digits to version 2 (record 3)."]
    assert aliases(three) == (1, None)
    assert [one.state for one in ledger.read(project)] == ["intent", "done", "intent", "undone"]
    assert recover(project, three) == []


def test_a_kill_after_the_alias_moved_is_finished(project: Project, three: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    promote(project, three, 1)
    kill_at(monkeypatch, Tracker, "set_alias", after=True)
    with pytest.raises(Killed):
        promote(project, three, 2)
    assert aliases(three) == (2, None)
    assert recover(project, three) == ["Finished an interrupted promote of vae-digits to version 2 (record 3)."]
    assert aliases(three) == (2, 1)
    assert ledger.champions(ledger.read(project)) == [1, 2]
    assert ledger.verify(project, mirrors(three)) == []


def test_a_kill_in_a_rollback_is_finished_by_the_next_promotion(project: Project, three: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    promote(project, three, 1)
    promote(project, three, 2)
    kill_at(monkeypatch, Tracker, "set_alias", after=True)
    with pytest.raises(Killed):
        rollback(project, three)
    assert aliases(three) == (1, 1)
    promote(project, three, 2)
    assert aliases(three) == (2, 1)
    assert [(one.kind, one.state) for one in ledger.read(project)][-4:] == [
        ("rollback", "intent"),
        ("rollback", "done"),
        ("promote", "intent"),
        ("promote", "done"),
    ]


def test_a_kill_before_the_registry_was_told_leaves_a_sound_ledger(project: Project, three: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    kill_at(monkeypatch, Tracker, "set_model_tag", after=False)
    with pytest.raises(Killed):
        promote(project, three, 1)
    assert ledger.verify(project, mirrors(three)) == []
    assert recover(project, three) == []
    assert promote(project, three, 2).outcome == "done"
    assert aliases(three) == (2, 1)
