"""Stage 4: the gate. Great Expectations looks at the metadata (never at pixels or texts); the result decides what may be published.

The page and the JSON are written first; then a critical failure ends the stage with an error. So `dvc repro` by hand shows it too,
DVC does not record the stage as done and tries it again next time, and because its output is persistent the report stays.
"""

from collections.abc import Sequence
from typing import Any

from components.data.config import Rule, SplitConfig, dataset_block
from components.data.dataset import SPLITS, read_manifest, stage_folder
from components.data.duck import connect, parquet_view
from components.data.failure import ValidationFailed
from components.data.gate.dataset_rules import dataset_rules
from components.data.gate.expectations import judge
from components.data.gate.metadata import metadata_files
from components.data.gate.page import render_page
from components.data.gate.previous import profile_before
from components.data.modalities import find_modality
from components.data.profile import profile_of
from components.data.result import REPORT, RESULT, Outcome, RuleResult, ValidationResult, result_folder
from components.data.shards import OutputFolder
from components.data.stamp import Stamp
from components.errors import UserError
from components.params import load
from components.project import Project

_ALWAYS: tuple[dict[str, Any], ...] = (
    {"rule": "expect_column_values_to_be_unique", "column": "id"},
    {"rule": "expect_column_values_to_not_be_null", "column": "id"},
    {"rule": "expect_column_values_to_be_in_set", "column": "split", "value_set": list(SPLITS)},
    {"rule": "expect_column_values_to_not_be_null", "column": "source"},
)


def validate(project: Project, stamp: Stamp) -> ValidationResult:
    """Check `data/augmented/NAME` and write `data/validation/NAME/{result.json,report.html}`.

    Raises:
        ValidationFailed: a critical rule does not hold; the files are written all the same.
        UserError: a rule of `expect:` has wrong arguments.
    """
    name, modality = stamp.params["name"], find_modality(stamp.params["modality"])
    manifest = read_manifest(stage_folder(project, name, "augment"))
    if manifest is None:
        raise UserError(f"Dataset {name!r} was not augmented yet: run `genmill run --dataset {name}`.")
    limits, split = modality.CleanConfig.model_validate(stamp.params["clean"]), SplitConfig.model_validate(stamp.params["split"])
    additions = modality.AugmentConfig.model_validate(stamp.params["augment"])
    built_in = [Rule.from_params(dict(rule)) for rule in (*_ALWAYS, *modality.suite(limits, manifest.class_names))]
    user = [Rule.from_params(rule) for rule in stamp.params["expect"]]
    files = metadata_files(project, manifest)
    with connect(project) as connection:
        parquet_view(connection, "metadata", files)
        profile = profile_of(connection)
        rules = dataset_rules(manifest, connection, split, limits, profile, profile_before(project, manifest))
        rules += judge(connection, files, built_in, user, dataset_block(load(project.params), name))
    result = ValidationResult(
        name=name, outcome=_outcome(rules), manifest_sha256=manifest.sha256, rows=manifest.rows_by_split(), dropped=manifest.dropped, rules=tuple(rules),
        profile=profile,
    )  # fmt: skip
    output = OutputFolder(project.root, result_folder(project, name))
    output.write_bytes(RESULT, (result.model_dump_json(indent=1) + "\n").encode())
    output.write_bytes(REPORT, render_page(project, manifest, result, modality, additions).encode())
    output.prune()
    if result.outcome == "failed":
        raise _failure(result, project)
    return result


def _outcome(rules: Sequence[RuleResult]) -> Outcome:
    broken = {rule.severity for rule in rules if not rule.success}
    return "failed" if "critical" in broken else "warnings" if broken else "passed"


def _failure(result: ValidationResult, project: Project) -> ValidationFailed:
    critical = [rule for rule in result.broken if rule.severity == "critical"]
    report = (result_folder(project, result.name) / REPORT).relative_to(project.root)
    more = f" ({len(critical) - 1} more in the report)" if len(critical) > 1 else ""
    return ValidationFailed(
        f"Dataset {result.name!r} failed validation and nothing was published: {critical[0].sentence}{more}. "
        f"See {report}; mend the data, datasets.{result.name}.clean or the rule in {project.params.name}, and run again."
    )
