"""The ledger keeps every record, and shows when one was changed."""

import threading
from pathlib import Path

import pytest

from components import git
from components.errors import UserError
from components.project import Project
from components.registry import ledger
from components.registry.ledger import BRANCH, LEDGER_FILE, Mirror, Record, append, champions, open_intents, read, verify
from tests import conftest

REF = f"refs/heads/{BRANCH}"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A git repository without a commit and without an identity."""
    conftest.git(tmp_path, "init", "--quiet", "--initial-branch=main")
    return Project(tmp_path)


def record(to: int, before: int | None = None, *, kind: ledger.Kind = "promote", state: ledger.State = "done", model: str = "vae-digits") -> Record:
    return Record(who="ann", model=model, kind=kind, state=state, reason="because", from_version=before, to_version=to)


def rewrite(project: Project, old: bytes, new: bytes, *, keep_history: bool) -> None:
    """Replace ``old`` in the ledger as somebody with access to the repository could."""
    head = git.resolve(project.root, REF)
    assert head is not None
    content = git.read_blob(project.root, head, LEDGER_FILE)
    assert old in content
    parents = [git.log(project.root, head)[1][0]] if keep_history else []
    commit = git.commit_tree(project.root, {LEDGER_FILE: content.replace(old, new)}, parents, "x", "mallory")
    git.transaction(project.root, [git.RefUpdate(REF, commit, head)], "x")


def test_records_are_kept_in_order_and_by_model(project: Project) -> None:
    assert read(project) == []
    first = append(project, record(1))
    other = append(project, record(1, model="gpt-pydocs"))
    second = append(project, record(2, 1))
    assert read(project) == [first, other, second]
    assert read(project, "vae-digits") == [first, second]
    assert [one.number for one in read(project)] == [1, 2, 3]
    assert second.previous_sha256 == other.sha256
    assert first.when.endswith("+00:00")
    assert verify(project) == []


OLD_LINE = (
    '{"data_sha256":"","data_version":"digits@v1","from_version":null,"gates":[{"limit":"at most 40","rule":"fid_own","value":20.0,"verdict":"passed"}],'
    '"identity":"","intent":null,"kind":"promote","model":"vae-digits","number":1,"package_sha256":"","previous_sha256":"","previous_version":null,'
    '"reason":"because","run_id":"","state":"done","to_version":1,"when":"2026-01-01T00:00:00+00:00","who":"ann"}'
)
"""A record as it was written before there were rules besides limits."""


def test_an_old_ledger_is_read_and_goes_on_without_a_break(project: Project) -> None:
    git.append_commit(project.root, BRANCH, {LEDGER_FILE: f"{OLD_LINE}\n".encode()}, "old", "ann", None)
    (old,) = read(project)
    assert (old.gates[0].rule, old.gates[0].figure, old.forced) == ("limit", "fid_own", False)
    append(project, record(2, 1))
    append(project, record(3, 2))
    assert verify(project) == []
    assert git.read_blob(project.root, REF, LEDGER_FILE).decode().splitlines()[0] == OLD_LINE
    assert champions(read(project)) == [1, 2, 3]


def test_the_users_branch_and_files_are_left_alone(project: Project) -> None:
    (project.root / "file").write_text("x")
    append(project, record(1))
    assert conftest.git(project.root, "status", "--porcelain") == "?? file"
    assert git.head(project.root) is None


def test_each_record_is_a_commit_by_its_actor(project: Project) -> None:
    append(project, record(1))
    append(project, record(2, 1))
    assert conftest.git(project.root, "log", "--format=%an|%s", BRANCH).splitlines() == [
        "ann|promote vae-digits 1 -> 2: done",
        "ann|promote vae-digits nothing -> 1: done",
    ]


def test_writers_at_the_same_time_lose_nothing(project: Project) -> None:
    threads = [threading.Thread(target=append, args=(project, record(number))) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.to_version for one in read(project)) == [1, 2, 3, 4, 5, 6]
    assert verify(project) == []


def test_a_changed_record_is_named_and_nothing_is_built_on_it(project: Project) -> None:
    for number in (1, 2, 3):
        append(project, record(number))
    rewrite(project, b'"to_version":2', b'"to_version":9', keep_history=True)
    assert "Record 2 was changed after record 3 was written." in verify(project)
    with pytest.raises(UserError, match=r"Record 2 was changed.*git reflog promotions"):
        append(project, record(4))


def test_a_changed_last_record_shows_against_the_registry(project: Project) -> None:
    append(project, record(1))
    last = append(project, record(2, 1))
    mirror = Mirror(last.model, last.number, last.sha256)
    assert verify(project, [mirror]) == []
    rewrite(project, b'"to_version":2', b'"to_version":9', keep_history=True)
    assert verify(project) == []
    assert verify(project, [mirror]) == ["Record 2 is not the one that the registry remembers for vae-digits."]


def test_a_squashed_branch_is_named(project: Project) -> None:
    append(project, record(1))
    append(project, record(2, 1))
    rewrite(project, b"because", b"because", keep_history=False)
    assert verify(project) == [f"Branch {BRANCH} was rewritten: its first commit already holds 2 records."]


def test_a_deleted_branch_is_named(project: Project) -> None:
    last = append(project, record(1))
    conftest.git(project.root, "update-ref", "-d", REF)
    assert verify(project, [Mirror(last.model, 1, last.sha256)]) == ["The registry remembers record 1 of vae-digits, but the ledger ends at 0."]


def test_a_line_that_is_no_record_is_named(project: Project) -> None:
    append(project, record(1))
    append(project, record(2))
    rewrite(project, b'{"approval"', b'{"appro', keep_history=True)
    assert "Record 1 cannot be read." in verify(project)


def test_the_mirror_survives_being_written_as_text() -> None:
    assert Mirror.parse("m", str(Mirror("m", 3, "ab"))) == Mirror("m", 3, "ab")
    assert Mirror.parse("m", "") is None


def test_the_stack_of_champions_follows_promotions_and_rollbacks() -> None:
    done = [record(1), record(2, 1), record(3, 2)]
    assert champions(done) == [1, 2, 3]
    done.append(record(2, 3, kind="rollback"))
    assert champions(done) == [1, 2]
    done.append(record(1, 2, kind="rollback"))
    assert champions(done) == [1]
    assert champions([*done, record(5, 1, state="refused"), record(5, 1, state="intent")]) == [1]


def test_a_champion_that_was_there_before_the_ledger_can_be_returned_to() -> None:
    assert champions([record(4, 3)]) == [3, 4]


def test_an_intent_is_open_until_something_closes_it() -> None:
    intents = [record(1, state="intent").model_copy(update={"number": 1}), record(2, state="intent").model_copy(update={"number": 2})]
    closing = record(1).model_copy(update={"number": 3, "intent": 1})
    assert open_intents([*intents, closing]) == [intents[1]]


def test_the_history_leaves_closed_intents_out(project: Project) -> None:
    intent = append(project, record(1, state="intent"))
    append(project, record(1).model_copy(update={"intent": intent.number}))
    pending = append(project, record(2, 1, state="intent"))
    assert [one.number for one in ledger.history(project, "vae-digits")] == [pending.number, 2]


def test_a_folder_without_git_is_told_the_fix(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="git init"):
        append(Project(tmp_path / "plain"), record(1)) if (tmp_path / "plain").mkdir() is None else None


def test_a_reason_keeps_its_line_separators_and_the_ledger_goes_on(project: Project) -> None:
    """JSON leaves those of Unicode as they are, and Python cuts text there."""
    odd = record(1).model_copy(update={"reason": "pasted\u2028from\u2029a\u0085page\nwith lines"})
    first = append(project, odd)
    second = append(project, record(2, 1))
    assert read(project) == [first, second]
    assert first.reason == odd.reason
    assert verify(project) == []


def test_a_branch_without_its_file_is_a_broken_ledger_and_none_to_begin_anew(project: Project) -> None:
    head = git.commit_tree(project.root, {"other": b"x"}, [], "x", "mallory")
    git.transaction(project.root, [git.RefUpdate(REF, head, None)], "x")
    with pytest.raises(UserError, match=r"promotions.jsonl of commit [0-9a-f]{12} cannot be read\. Restore the branch"):
        append(project, record(1))
    assert "cannot be read" in verify(project)[0]
