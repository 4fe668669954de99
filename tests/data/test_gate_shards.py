"""Validation over many shards says what it would say of one table."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.data.failure import ValidationFailed
from components.data.gate.metadata import metadata_files
from components.data.publish import publish
from components.data.result import RuleResult, ValidationResult, read_result
from components.data.stages import STAGES, probe, run_stage
from components.data.stamp import read_stamp
from components.data.validate import validate
from components.project import Project
from tests.conftest import make_project
from tests.data.workbench import files, folder_project, run, set_params

pytestmark = pytest.mark.slow
DRIFT = "little_drift_since_the_version_before"
RULES: tuple[dict[str, Any], ...] = (
    {"rule": "expect_column_values_to_be_between", "column": "num_chars", "max_value": 60, "mostly": 0.9},
    {"rule": "expect_column_values_to_be_between", "column": "num_chars", "max_value": 60, "mostly": 0.95},
    {"rule": "expect_column_mean_to_be_between", "column": "num_chars", "min_value": 40, "max_value": 60},
    {"rule": "expect_column_median_to_be_between", "column": "num_chars", "min_value": 100},
    {"rule": "expect_column_distinct_values_to_equal_set", "column": "label", "value_set": ["0", "1", "2"]},
    {"rule": "expect_column_distinct_values_to_be_in_set", "column": "label", "value_set": ["0", "1"]},
    {"rule": "expect_column_values_to_be_unique", "column": "title"},
    {"rule": "expect_column_values_to_not_be_null", "column": "label", "mostly": 0.5},
    {"rule": "expect_column_values_to_not_be_null", "column": "parent_id"},
    {"rule": "expect_column_pair_values_a_to_be_greater_than_b", "column_A": "num_chars", "column_B": "num_words"},
    {"rule": "expect_compound_columns_to_be_unique", "column_list": ["label", "title"]},
    {"rule": "expect_table_row_count_to_be_between", "min_value": 100, "max_value": 100},
    {"rule": "expect_table_columns_to_match_set", "column_set": ["id"], "exact_match": False},
    {"rule": "expect_column_to_exist", "column": "nothing"},
    {"rule": "expect_column_value_z_scores_to_be_less_than", "column": "num_chars", "threshold": 2, "double_sided": True},
    {"rule": "expect_column_values_to_match_regex", "column": "tilte", "regex": "x"},
)


def project_of(tmp_path: Path) -> Project:
    """100 texts, of which every twelfth is long, one title stands twice and a third has the label 2 as nothing."""
    project = folder_project(tmp_path, "text", expect=[{**rule, "severity": "warning"} for rule in RULES])
    lines = []
    for index in range(100):
        text = f"The {index}th of a hundred short texts is here" + ", and goes on for much longer than all of the others do" * (index % 12 == 0)
        lines.append(f'"{text}",{min(index, 98)},{index % 3 if index % 4 else ""}')
    (files(project) / "rows.csv").write_text("text,title,label\n" + "\n".join(lines) + "\n")
    return project


def judged(project: Project) -> list[RuleResult]:
    run(project)
    result = validate(project, read_stamp(project, "mine", "validate"))
    return [rule for rule in result.rules if rule.origin == "user"]


def test_many_shards_are_judged_as_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    whole = judged(project_of(tmp_path / "one"))
    monkeypatch.setattr("components.data.collect.SHARD_ROWS", 9)
    monkeypatch.setattr("components.data.gate.expectations._ROWS_AT_ONCE", 1)
    shards = judged(project_of(tmp_path / "many"))
    assert [rule.success for rule in whole] == [
        True, False, True, False, True, False, False, True, False, True, True, True, True, False, False, False,
    ]  # fmt: skip
    for one, many in zip(whole, shards, strict=True):
        assert (many.rule, many.success, many.observed, many.checked, many.unexpected) == (one.rule, one.success, one.observed, one.checked, one.unexpected)
        assert bool(many.samples) == bool(one.samples)
        assert many.problem == one.problem


def test_mostly_is_a_share_of_all_rows_and_not_of_each_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.data.collect.SHARD_ROWS", 10)
    monkeypatch.setattr("components.data.gate.expectations._ROWS_AT_ONCE", 1)
    project = folder_project(tmp_path, "text", expect=[{"rule": "expect_column_values_to_be_between", "column": "num_chars", "max_value": 60, "mostly": 0.9}])
    texts = [f"short text {index}" if index >= 10 else f"long text {index} " * 10 for index in range(110)]  # one shard has nothing but long ones
    (files(project) / "rows.csv").write_text("text\n" + "\n".join(texts) + "\n")
    (rule,) = judged(project)
    assert rule.success
    assert (rule.unexpected, rule.checked) == (10, 110)
    set_params(project, expect=[{"rule": "expect_column_values_to_be_between", "column": "num_chars", "max_value": 60, "mostly": 0.95}])
    with pytest.raises(ValidationFailed, match="10 of 110 rows break it"):
        judged(project)


def test_metadata_of_a_shard_that_is_known_is_not_read_again(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    manifest = run(project)
    before = {path: path.stat().st_mtime_ns for path in metadata_files(project, manifest)}
    assert {path: path.stat().st_mtime_ns for path in metadata_files(project, manifest)} == before


def test_a_rule_that_great_expectations_only_names_is_refused_with_its_line(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    set_params(project, expect=[{"rule": "expect_multicolumn_values_to_be_unique", "column_list": ["id"]}])
    with pytest.raises(Exception, match=r"params.yaml line \d+: .*does not implement it"):
        judged(project)
    assert read_result(project, "mine") is None


def test_drift_against_the_version_before_is_a_warning_with_its_figure_and_the_same_when_validated_again(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", yaml.safe_dump({"datasets": {"mine": {"modality": "text", "source": {"kind": "folder", "path": "../files"}}}}))
    (tmp_path / "files").mkdir()

    def published(texts: list[str]) -> ValidationResult:
        (files(project) / "rows.csv").write_text("text\n" + "\n".join(texts) + "\n")
        for stage in STAGES:
            probe(project, "mine")
            run_stage(project, "mine", stage)
        publish(project, "mine", actor="ann")
        found = read_result(project, "mine")
        assert found is not None
        return found

    short = [f"a short text and the {index}th" for index in range(200)]
    first = published(short)
    assert not [rule for rule in first.rules if rule.rule == DRIFT]
    second = published(short[:60] + [f"number {index} of the texts " + "is very much longer " * 30 for index in range(140)])
    (drift,) = [rule for rule in second.rules if rule.rule == DRIFT]
    assert (drift.success, drift.severity, second.outcome) == (False, "warning", "warnings")
    assert float(drift.observed.split()[1].rstrip(",")) > 1
    assert drift.observed.endswith("against mine@v1")
    probe(project, "mine")
    assert validate(project, read_stamp(project, "mine", "validate")) == second
