"""What is refused before any data is prepared."""

from pathlib import Path

import pytest

from components.errors import UserError
from components.project import Project
from components.registry.package import Package
from components.tracking import Tracker
from pipelines.catalog import ModelEntry, load_catalog
from pipelines.plan import check_starts, start_of
from tests.stores import register

PARAMS = """\
datasets:
  digits:
    modality: image
    source: {kind: digits}
models:
  first:
    family: gan
    dataset: digits
  second:
    family: gan
    dataset: digits
    init_from: BEGINNING
run: [first]
"""


def entries(tmp_path: Path, beginning: str) -> tuple[Project, list[ModelEntry]]:
    project = Project(tmp_path)
    project.params.write_text(PARAMS.replace("BEGINNING", beginning))
    return project, load_catalog(project).choose(["first", "second"])


def test_weights_of_another_family_are_refused_before_the_data_is_prepared(tmp_path: Path, tracker: Tracker, package: Package) -> None:
    register(tracker, package)
    project, chosen = entries(tmp_path, "vae-digits/1")
    with pytest.raises(UserError, match="second is of the family gan and cannot begin with vae-digits/1, which is of the family vae: choose one of gan"):
        check_starts(project, tracker, chosen)


def test_weights_that_the_same_build_makes_are_waited_for_and_others_are_not(tmp_path: Path, tracker: Tracker) -> None:
    project, chosen = entries(tmp_path, "first@candidate")
    check_starts(project, tracker, chosen)
    with pytest.raises(UserError, match="first"):
        check_starts(project, tracker, chosen[1:])


def test_a_model_goes_on_from_a_version_of_its_own_that_must_be_there(tmp_path: Path, tracker: Tracker, package: Package) -> None:
    project, chosen = entries(tmp_path, "second@champion")
    assert [entry.name for entry in chosen] == ["first", "second"]
    with pytest.raises(UserError, match="second"):
        check_starts(project, tracker, chosen)
    project.params.write_text(PARAMS.replace("BEGINNING", "vae-digits/1").replace("second", "vae-digits").replace("family: gan", "family: vae"))
    register(tracker, package)
    (entry,) = load_catalog(project).choose(["vae-digits"])
    check_starts(project, tracker, [entry])
    start = start_of(project, tracker, entry)
    assert start is not None
    assert start.ref == "vae-digits/1"
