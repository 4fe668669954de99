"""Automatic promotion goes on behind a mistake."""

import dataclasses
from pathlib import Path

import pytest

from components.project import Project
from components.registry.package import Package
from components.tracking import Tracker
from pipelines.catalog import PromotionSettings, load_catalog
from pipelines.console import LogListener, listening
from pipelines.promote import promote, promote_automatically
from tests import conftest
from tests.stores import register

PARAMS = """\
datasets:
  digits:
    modality: image
    source: {kind: digits}
models:
  vae-digits:
    family: vae
    dataset: digits
    gates: {fid_onw: {max: 40}}
    promotion: {auto: true}
run: [vae-digits]
"""


class Heard(LogListener):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def test_a_mistake_in_the_gates_of_one_model_keeps_no_other_from_its_turn(
    tmp_path: Path, tracker: Tracker, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    conftest.git(tmp_path, "init", "--quiet", "--initial-branch=main")
    register(tracker, package)
    project = Project(tmp_path)
    project.params.write_text(PARAMS)
    mistaken = load_catalog(project).model("vae-digits")
    other = dataclasses.replace(mistaken, promotion=PromotionSettings(auto=True, approval="required"))
    monkeypatch.setattr("pipelines.promote.promote", promote.fn)  # the same function without a server; it fails before its first task
    heard = Heard()
    with listening(heard):
        (result,) = promote_automatically(project, [mistaken, other])
    assert (result.outcome, result.ok, result.to_version) == ("failed", False, 1)
    assert "vae-digits was not promoted" in result.message
    assert "the gate 'fid_onw' names no figure of this model" in result.message
    assert result.message in heard.lines[0]
    assert "waits for `genmill promote vae-digits`" in heard.lines[1]
