"""Promotion and rollback: gates, aliases, ledger, two at once, and a kill at any point."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components.errors import UserError
from components.project import Project
from components.registry import ledger, promotion
from components.registry.checks import check_gates, still_holds
from components.registry.gates import ChampionRule, Gates, Limit
from components.registry.moves import mend, recover
from components.registry.package import Package
from components.registry.promotion import PromotionResult, mirrors
from components.registry.verdicts import GATES_TAG, store_table, stored_table
from components.tracking import Tracker
from tests import conftest
from tests.stores import FIGURES_ALONE, register
from tests.stores import promote as promote_with

UNDER_40 = FIGURES_ALONE.model_copy(update={"limits": {"fid_own": Limit(max=40)}})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    conftest.git(tmp_path, "init", "--quiet", "--initial-branch=main")
    return Project(tmp_path)


@pytest.fixture
def three(tracker: Tracker, package: Package) -> Tracker:
    """Three versions with FID 30, 20 and 50; the last one is the candidate."""
    for fid in (30.0, 20.0, 50.0):
        register(tracker, package, fid=fid)
    return tracker


def promote(project: Project, tracker: Tracker, version: int | None, *, rules: Gates = UNDER_40, **more: Any) -> PromotionResult:
    return promote_with(project, tracker, version=version, rules=rules, **more)


def rollback(project: Project, tracker: Tracker) -> PromotionResult:
    return promotion.rollback(project, tracker, promotion.begin_rollback(project, tracker, "vae-digits", actor="ann", reason="complaints"))


def aliases(tracker: Tracker) -> tuple[int | None, int | None]:
    found = tracker.aliases("vae-digits")
    return found.get("champion"), found.get("previous")


def states(project: Project) -> list[str]:
    return [one.state for one in ledger.read(project)]


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
    assert [(row.figure, row.value, row.verdict) for row in last.gates] == [("fid_own", 20.0, "passed")]


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


def test_a_preview_says_what_would_happen_and_writes_nothing(project: Project, three: Tracker) -> None:
    outcomes = []
    for version, force in ((2, False), (3, False), (3, True)):
        request = promotion.begin(project, three, "vae-digits", version=version, actor="ann", reason="why", force=force)
        table = check_gates(project, three, three.model_version("vae-digits", version), UNDER_40)
        outcomes.append(promotion.preview(project, three, request, table))
    assert [(one.outcome, one.ok, one.forced) for one in outcomes] == [("dry-run", True, False), ("dry-run", False, False), ("dry-run", True, True)]
    assert aliases(three) == (None, None)
    assert ledger.read(project) == []


def test_promoting_the_champion_again_changes_nothing(project: Project, three: Tracker) -> None:
    promote(project, three, 1)
    assert promote(project, three, 1).outcome == "unchanged"
    assert len(ledger.read(project)) == 2


@pytest.mark.slow
def test_force_needs_a_reason_and_the_record_keeps_what_failed(project: Project, three: Tracker) -> None:
    with pytest.raises(UserError, match="say why with --reason"):
        promote(project, three, 3, force=True, reason=" ")
    promote(project, three, 1)
    result = promote(project, three, 3, force=True, reason="the demo is tonight")
    assert (result.outcome, result.ok, result.forced) == ("done", True, True)
    last = ledger.history(project, "vae-digits")[0]
    assert (last.forced, last.why_not) == (True, "fid_own is 50, not at most 40")
    assert "promoted by force by ann" in three.model_version("vae-digits", 3).tag("promotion")
    assert not promote(project, three, 2, force=True).forced, "gates that pass need no force"
    rollback(project, three)
    assert rollback(project, three).message == "vae-digits/1 is the champion again, after vae-digits/3."


def test_a_candidate_that_is_worse_than_the_champion_stays_out(project: Project, three: Tracker) -> None:
    rules = UNDER_40.model_copy(update={"champion": ChampionRule()})
    assert promote(project, three, 2, rules=rules).outcome == "done"
    result = promote(project, three, 1, rules=rules)
    assert (result.outcome, result.ok) == ("refused", False)
    assert result.message == "vae-digits/1 stays out of production: fid_own is 30, not at most 20 (vae-digits/2 has 20)."
    assert aliases(three) == (2, None)


def test_the_verdicts_are_kept_with_run_and_version_and_hold_until_rules_or_champion_change(project: Project, three: Tracker) -> None:
    version = three.model_version("vae-digits", 2)
    assert stored_table(three, version.run_id) is None
    table = check_gates(project, three, version, UNDER_40)
    store_table(three, version, table)
    assert stored_table(three, version.run_id) == table
    assert three.model_version("vae-digits", 2).tag(GATES_TAG) == three.get_run(version.run_id).tag(GATES_TAG) == "passed"
    assert still_holds(table, UNDER_40, None)
    assert not still_holds(table, UNDER_40, 1)
    assert not still_holds(table, FIGURES_ALONE, None)


def test_nobodys_yes_and_somebodys_no_are_records(project: Project, three: Tracker) -> None:
    request = promotion.begin(project, three, "vae-digits", version=2, actor="ann", reason="better")
    table = check_gates(project, three, three.model_version("vae-digits", 2), UNDER_40)
    silent = promotion.reject(project, three, request, table, note="nobody answered within 24 h")
    assert (silent.outcome, silent.ok, silent.message) == ("refused", False, "vae-digits/2 stays out of production: nobody answered within 24 h.")
    assert promotion.reject(project, three, request, table, approval="rejected by bob: blurry").outcome == "rejected"
    assert [(one.state, one.why_not) for one in ledger.read(project)] == [("refused", "nobody answered within 24 h"), ("rejected", "rejected by bob: blurry")]
    assert aliases(three) == (None, None)


@pytest.mark.slow
def test_the_same_refusal_is_recorded_once_where_nobody_asked(project: Project, three: Tracker) -> None:
    assert [promote(project, three, 3, auto=True).outcome for _ in range(2)] == ["refused", "refused"]
    assert len(ledger.read(project)) == 1
    promote(project, three, 3)
    assert len(ledger.read(project)) == 2


def test_whoever_comes_second_is_told_who_came_first_and_nothing_is_lost(project: Project, three: Tracker) -> None:
    late = promotion.begin(project, three, "vae-digits", version=1, actor="bob")
    table = check_gates(project, three, three.model_version("vae-digits", 1), UNDER_40)
    promote(project, three, 2)
    result = promotion.promote(project, three, late, table)
    assert (result.outcome, result.ok) == ("overtaken", False)
    assert result.message.startswith("ann promoted vae-digits/2 meanwhile (record 2), so the promote to vae-digits/1 was left undone")
    assert aliases(three) == (2, None)
    assert states(project) == ["intent", "done", "refused"]


def test_an_alias_moved_past_the_ledger_meanwhile_is_told(project: Project, three: Tracker) -> None:
    late = promotion.begin(project, three, "vae-digits", version=1, actor="bob")
    table = check_gates(project, three, three.model_version("vae-digits", 1), UNDER_40)
    three.set_alias("vae-digits", "champion", 3)
    assert "became version 3 meanwhile, past Genmill" in promotion.promote(project, three, late, table).message
    assert aliases(three) == (3, None)


def test_a_retry_of_what_was_done_already_says_that_it_is_done(project: Project, three: Tracker) -> None:
    request = promotion.begin(project, three, "vae-digits", version=2, actor="ann")
    table = check_gates(project, three, three.model_version("vae-digits", 2), UNDER_40)
    first = promotion.promote(project, three, request, table)
    assert promotion.promote(project, three, request, table) == first
    assert states(project) == ["intent", "done"]


@pytest.mark.slow
def test_rollback_goes_back_step_by_step_and_is_recorded(project: Project, three: Tracker) -> None:
    for version in (1, 2, 3):
        promote(project, three, version, rules=FIGURES_ALONE)
    assert aliases(three) == (3, 2)
    assert rollback(project, three).message == "vae-digits/2 is the champion again, after vae-digits/3."
    assert aliases(three) == (2, 1)
    rollback(project, three)
    assert aliases(three) == (1, None)
    assert [one.kind for one in ledger.history(project, "vae-digits")] == ["rollback", "rollback", "promote", "promote", "promote"]
    with pytest.raises(UserError, match="no champion before version 1"):
        rollback(project, three)


def test_rollback_without_a_champion_says_what_to_do(project: Project, three: Tracker) -> None:
    with pytest.raises(UserError, match="no champion, so there is nothing to roll back: `genmill promote vae-digits`"):
        rollback(project, three)
    with pytest.raises(UserError, match="no model 'vae-digit'"):
        promotion.begin_rollback(project, three, "vae-digit", actor="ann")


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
        promotion.begin(project, three, "vae-digit", actor="ann")


KILLED_AT = {
    "after the intent": "Tracker.set_alias = lambda *args: die()",
    "after the alias": "real = Tracker.set_alias; Tracker.set_alias = lambda *args: (real(*args), die())",
    "before the closing record": "real = ledger.append; ledger.append = lambda project, record: die() if record.state == 'done' else real(project, record)",
}
CHILD = """
import os, signal, sys
from pathlib import Path
from components.project import Project
from components.registry import ledger, moves, promotion
from components.registry.checks import check_gates
from components.tracking import Tracker
from tests.stores import FIGURES_ALONE
def die(): os.kill(os.getpid(), signal.SIGKILL)
project = Project(Path(sys.argv[1]))
tracker = Tracker.of(project)
request = promotion.begin(project, tracker, "vae-digits", version=int(sys.argv[2]), actor=sys.argv[3])
table = check_gates(project, tracker, tracker.model_version("vae-digits", request.version), FIGURES_ALONE)
"""


def start_child(project: Project, version: int, actor: str, patch: str = "") -> subprocess.Popen[str]:
    code = f"{CHILD}\n{patch}\nprint(promotion.promote(project, tracker, request, table).message)"
    command = [sys.executable, "-c", code, str(project.root), str(version), actor]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], env=dict(os.environ))


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "version"), [*zip(KILLED_AT, (None, 2, 2), strict=True)])
def test_a_promotion_killed_by_the_kernel_is_finished_or_undone_by_the_next_start(project: Project, three: Tracker, moment: str, version: int | None) -> None:
    promote(project, three, 1)
    child = start_child(project, 2, "bob", KILLED_AT[moment])
    _, stderr = child.communicate(timeout=300)
    assert child.returncode == -signal.SIGKILL, stderr
    assert states(project) == ["intent", "done", "intent"]
    (told,) = mend(project, three)
    assert told == f"{'Finished' if version else 'Undid'} an interrupted promote of vae-digits to version 2 (record 3)."
    assert aliases(three) == ((2, 1) if version else (1, None))
    assert ledger.champions(ledger.read(project))[-1] == (version or 1)
    assert ledger.verify(project, mirrors(three)) == []
    assert mend(project, three) == []
    assert promote(project, three, 2).outcome == ("unchanged" if version else "done")


@pytest.mark.slow
def test_of_two_processes_that_promote_at_once_one_wins_and_the_other_is_told(project: Project, three: Tracker) -> None:
    with project.lock("promotion", "the starter's gun"):
        environment = os.environ.pop("GENMILL_LOCK_PROMOTION")
        children = [start_child(project, 1, "bob"), start_child(project, 2, "eve")]
        os.environ["GENMILL_LOCK_PROMOTION"] = environment
        waited = [child.stderr.readline() for child in children if child.stderr is not None]
        assert all("Waiting for `the starter's gun`" in line for line in waited), waited
    told = [child.communicate(timeout=300)[0] for child in children]
    winner = three.alias("vae-digits", "champion")
    assert winner in (1, 2)
    name = {1: "bob", 2: "eve"}[winner]
    assert f"vae-digits/{winner} is the champion now" in told[winner - 1]
    assert f"{name} promoted vae-digits/{winner} meanwhile (record 2)" in told[2 - winner]
    assert states(project) == ["intent", "done", "refused"]
    assert ledger.verify(project, mirrors(three)) == []


class Killed(Exception):
    """Stands for the end of the process."""


def kill_at(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, after: bool) -> None:
    """End the process when ``target.name`` is called, before or after it did its work."""
    real = getattr(target, name)

    def dying(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(target, name, real)
        if after:
            real(*args, **kwargs)
        raise Killed

    monkeypatch.setattr(target, name, dying)


@pytest.mark.slow
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
