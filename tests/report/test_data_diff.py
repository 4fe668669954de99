"""Data versions are compared from what was kept when they were published."""

from pathlib import Path

import pytest

from components.data.dataset import Dataset, Manifest
from components.data.profile import Profile
from components.data.publish import DataVersion
from components.data.result import ValidationResult
from components.project import Project
from components.report.data_diff import data_diff
from tests.conftest import make_project
from tests.data.workbench import metadata_frame, profile_of_frame
from tests.stores import published_as


@pytest.fixture
def versions(dataset_project: Project, tmp_path: Path) -> Project:
    """A project with real digits as v1, those of the classes 0 to 4 as v2, and v3 without a profile."""
    manifest = Dataset.open(dataset_project, "digits").manifest
    frame = metadata_frame(dataset_project, manifest)
    some = frame[frame["label"].isin(list("01234"))]
    project = make_project(tmp_path / "project")
    fewer = manifest.model_copy(update={"shards": manifest.shards[1:], "dropped": {"duplicate": 7}})
    publish(project, manifest, profile_of_frame(frame), "v1")
    publish(project, fewer, profile_of_frame(some), "v2")
    publish(project, manifest, Profile(), "v3")
    return project


def publish(project: Project, manifest: Manifest, profile: Profile, version: str) -> DataVersion:
    result = ValidationResult(
        name="digits", outcome="passed", manifest_sha256=manifest.sha256, rows=manifest.rows_by_split(), dropped=manifest.dropped, rules=(), profile=profile
    )
    return published_as(project, manifest, result, version)


def test_rows_and_dropped_rows_that_differ_are_listed_by_version(versions: Project) -> None:
    rows = dict(data_diff(versions, [("digits", "v1", ""), ("digits", "v2", ""), ("digits", "v1", "")]).rows)
    assert rows["dropped, duplicate"] == ("", "7")
    assert rows["rows, train"][0] != rows["rows, train"][1]
    assert "rows, test" not in rows
    assert "licence" not in rows


def test_classes_and_lengths_are_counted_from_the_rows_themselves(versions: Project) -> None:
    diff = data_diff(versions, [("digits", "v1", ""), ("digits", "v2", "")])
    classes, lengths = diff.distributions
    assert classes.bins == tuple("0123456789")
    assert all(count > 100 for count in classes.counts[0])
    assert classes.counts[1][:5] == classes.counts[0][:5]
    assert classes.counts[1][5:] == (0,) * 5
    assert lengths.title == "digits: rows by num_bytes"
    assert [sum(counts) for counts in lengths.counts] == [sum(counts) for counts in classes.counts]
    assert "rows by class" in classes.chart({"digits@v1": 0, "digits@v2": 1})


def test_a_version_from_before_there_were_profiles_says_so(versions: Project) -> None:
    diff = data_diff(versions, [("digits", "v1", ""), ("digits", "v3", "")])
    assert diff.distributions == ()
    assert diff.notes == ("digits@v3 was validated before distributions were kept: a version published from now on has them.",)


def test_a_version_that_is_not_here_is_named(versions: Project) -> None:
    (note,) = data_diff(versions, [("digits", "v1", ""), ("digits", "v9", "")]).notes
    assert note == "digits@v9 is not in this project's git, so its rows are not compared."
