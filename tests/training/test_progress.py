"""What a run's process tells its parent while it evaluates."""

import json
import time

import pytest

from components.evaluation.telling import counted
from components.training.progress import Telling


def events(captured: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in captured.readouterr().out.splitlines()]


def test_a_long_part_of_an_evaluation_tells_what_how_far_and_how_long_still(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for _ in counted(range(4), "drawing samples", Telling("evaluate")):
        now += 2.0
    told = events(capsys)
    assert {(event["phase"], event["detail"], event["max_steps"]) for event in told} == {("evaluate", "drawing samples", 4)}
    assert [event["step"] for event in told] == [0, 1, 2, 3, 4]
    assert [event["eta_s"] for event in told] == [None, 6.0, 4.0, 2.0, 0.0]


def test_quick_parts_are_told_at_their_start_and_end_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(counted("abc", "quick", Telling("evaluate"))) == ["a", "b", "c"]
    assert [event["step"] for event in events(capsys)] == [0, 3]
