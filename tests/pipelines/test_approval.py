"""One promotion of a model waits for its answer, and no other takes its note away."""

from pathlib import Path

import pytest

from components.errors import UserError
from components.project import Project
from components.registry.ledger import Record
from components.registry.promotion import Request
from pipelines import approval
from pipelines.approval import Waiting, waiting


def request(actor: str, version: int) -> Request:
    return Request(id=f"wish-of-{actor}", model="vae-digits", version=version, actor=actor, champion=None)


def noted_by(flow_run: str, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", flow_run)


def test_of_two_promotions_past_the_check_the_second_gets_the_sentence_and_the_first_keeps_its_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path)
    noted_by("first", monkeypatch)
    with approval._noted(project, request("ann", 1)):
        noted_by("second", monkeypatch)
        with pytest.raises(UserError, match=r"vae-digits/1 waits for approval already \(asked by ann\)"), approval._noted(project, request("bob", 2)):
            pass
        found = waiting(project, "vae-digits")
        assert found is not None
        assert (found.flow_run_id, found.request) == ("first", "wish-of-ann")
        noted_by("first", monkeypatch)
    assert waiting(project, "vae-digits") is None
    assert not list((project.state / "approvals").iterdir())


def test_a_promotion_that_ends_leaves_the_note_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path)
    noted_by("first", monkeypatch)
    with approval._noted(project, request("ann", 1)):
        first = waiting(project, "vae-digits")
        assert first is not None
        other = Waiting.model_validate({**first.model_dump(), "flow_run_id": "second"})
        (project.state / "approvals" / "vae-digits.json").write_text(other.model_dump_json())
    assert waiting(project, "vae-digits") == other


def test_what_became_of_a_promotion_is_read_from_its_own_records() -> None:
    found = Waiting(flow_run_id="first", request="wish-of-ann", version=2, actor="ann", pid=1, created=0.0)
    own = Record(who="ann", model="vae-digits", kind="promote", state="done", reason="", from_version=1, to_version=2, request="wish-of-ann")
    rollback = own.model_copy(update={"kind": "rollback", "from_version": 2, "to_version": 1, "request": "another"})
    assert approval._settled([own, rollback], found) == own
    assert approval._settled([own.model_copy(update={"state": "intent"}), rollback], found) is None
