"""The gate: what it stops, what it only warns of, and what it says."""

import html
import re
from pathlib import Path
from typing import Any

import pytest

from components.data.failure import ValidationFailed
from components.data.result import REPORT, ValidationResult, read_result, result_folder
from components.data.stamp import read_stamp
from components.data.validate import validate
from components.errors import UserError
from components.project import Project
from tests.data.workbench import files, folder_project, frame_connection, run, set_params, write_images

pytestmark = pytest.mark.slow
NOT_NULL = "expect_column_values_to_not_be_null"


def images(tmp_path: Path, **block: Any) -> Project:
    project = folder_project(tmp_path, "image", **block)
    write_images(project, 60)
    return project


def judge(project: Project) -> ValidationResult:
    run(project)
    return validate(project, read_stamp(project, "mine", "validate"))


def report(project: Project) -> str:
    return (result_folder(project, "mine") / REPORT).read_text()


def test_good_data_passes_and_leaves_a_page_without_outside_links(tmp_path: Path) -> None:
    project = images(tmp_path)
    result = judge(project)
    assert result.outcome == "passed"
    assert result.broken == ()
    assert sum(result.profile.lengths["num_bytes"].bins.values()) == sum(result.rows.values())
    page = report(project)
    assert "data:image/png;base64," in page
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page)


def test_a_critical_failure_names_rule_column_counts_and_three_samples_and_keeps_the_report(tmp_path: Path) -> None:
    project = images(tmp_path, expect=[{"rule": NOT_NULL, "column": "caption"}])
    with pytest.raises(ValidationFailed) as caught:
        judge(project)
    message = str(caught.value)
    assert f"{NOT_NULL} on column 'caption'" in message
    assert "60 of 60 rows break it" in message
    assert message.count(".png: None") == 3
    assert "data/validation/mine/report.html" in message
    result = read_result(project, "mine")
    assert result is not None
    assert result.outcome == "failed"
    assert NOT_NULL in report(project)


def test_the_same_failure_as_a_warning_lets_the_data_pass(tmp_path: Path) -> None:
    result = judge(images(tmp_path, expect=[{"rule": NOT_NULL, "column": "caption", "severity": "warning"}]))
    assert result.outcome == "warnings"
    assert [rule.column for rule in result.broken] == ["caption"]


def test_a_missing_column_is_said_to_be_missing_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(ValidationFailed, match=r"there is no column 'captoin' in the metadata table; did you mean 'caption'\?"):
        judge(images(tmp_path, expect=[{"rule": NOT_NULL, "column": "captoin"}]))


def test_a_rule_that_cannot_be_applied_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValidationFailed, match=r"could not be applied \(.*mean"):
        judge(images(tmp_path, expect=[{"rule": "expect_column_mean_to_be_between", "column": "label", "min_value": 3}]))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"rule": NOT_NULL, "colum": "label"}, r"line \d+: expect: \S+ has no argument 'colum'; did you mean 'column'\?"),
        ({"rule": NOT_NULL}, r"line \d+: expect: \S+ needs the argument 'column': add it"),
        ({"rule": "expect_column_values_to_be_between", "column": "width", "min_value": "wide"}, r"line \d+: expect: \S+ has a wrong argument \(min_value"),
    ],
)
def test_wrong_arguments_are_named_with_their_line(tmp_path: Path, rule: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        judge(images(tmp_path, expect=[rule]))


def test_class_names_may_be_written_as_numbers(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image", expect=[{"rule": "expect_column_distinct_values_to_equal_set", "column": "label", "value_set": [0, 1]}])
    write_images(project, 60, classes=("0", "1"))
    assert judge(project).outcome == "passed"


def test_a_class_that_should_be_there_and_is_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValidationFailed, match=r"distinct_values_to_equal_set on column 'label' .*found no row with c"):
        judge(images(tmp_path, expect=[{"rule": "expect_column_distinct_values_to_equal_set", "column": "label", "value_set": ["a", "b", "c"]}]))


def test_too_many_bad_rows_fail_with_their_reasons(tmp_path: Path) -> None:
    project = images(tmp_path)
    for index in range(20):
        (files(project) / "a" / f"bad{index}.png").write_bytes(f"bad {index}".encode())
    with pytest.raises(ValidationFailed, match=r"few_rows_in_quarantine \(expected at most 10.0% .*: 20 of 80 rows break it"):
        judge(project)
    set_params(project, clean={"max_quarantine": 0.3})
    assert judge(project).outcome == "passed"


def test_a_class_that_a_small_split_lacks_is_a_warning(tmp_path: Path) -> None:
    project = images(tmp_path)
    write_images(project, 2, classes=("rare",), start=300)
    result = judge(project)
    assert result.outcome == "warnings"
    assert all(rule.rule.startswith("every_class_in_") for rule in result.broken)


def test_content_in_two_splits_is_a_leak_that_stops_it(tmp_path: Path) -> None:
    import pandas as pd

    from components.data.config import SplitConfig
    from components.data.dataset import Manifest
    from components.data.gate.dataset_rules import dataset_rules
    from components.data.modalities import Limits
    from components.data.profile import Profile

    frame = pd.DataFrame(
        {
            "id": ["a", "b", "c", "c~1"],
            "split": ["train", "test", "validation", "train"],
            "parent_id": [None, None, None, "c"],
            "content_sha256": ["x", "x", "y", "z"],
        }
    )
    manifest = Manifest(name="mine", modality="text", stage="augment", shards=())
    with frame_connection(frame) as connection:
        rules = dataset_rules(manifest, connection, SplitConfig(), Limits(), Profile(), None)
    broken = {rule.rule: rule for rule in rules if not rule.success}
    assert set(broken) == {"no_content_in_two_splits", "added_rows_are_in_train_beside_their_parent"}
    assert broken["no_content_in_two_splits"].samples == ("a: train", "b: test")
    assert {rule.severity for rule in broken.values()} == {"critical"}


def test_text_of_the_data_is_escaped_on_the_page(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text")
    for index in range(60):
        (files(project) / f"{index}.txt").write_text(f"<script>alert({index})</script> is text here.")
    judge(project)
    page = report(project)
    assert "<script>" not in page
    assert html.escape("<script>alert(") in page


def test_the_same_data_gives_the_same_page_and_result(tmp_path: Path) -> None:
    project = images(tmp_path)
    judge(project)
    first = {path.name: path.read_bytes() for path in result_folder(project, "mine").iterdir()}
    judge(project)
    assert {path.name: path.read_bytes() for path in result_folder(project, "mine").iterdir()} == first
