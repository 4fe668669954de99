"""Stage 4: the gate. Great Expectations looks at the metadata table (never at pixels or texts); the result decides what may be published.

The page and the JSON are written first; then a critical failure ends the stage with an error. So `dvc repro` by hand shows it too,
DVC does not record the stage as done and tries it again next time, and because its output is persistent the report stays.
"""

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from components.data.config import Rule, SplitConfig, dataset_block
from components.data.dataset import SPLITS, Manifest, checked_shard, read_manifest, stage_folder
from components.data.dataset_rules import NUM_SAMPLES, dataset_rules
from components.data.failure import ValidationFailed
from components.data.modalities import Modality, find_modality
from components.data.profile import profile_of
from components.data.result import REPORT, RESULT, Outcome, RuleResult, ValidationResult, result_folder
from components.data.shards import OutputFolder
from components.data.stamp import Stamp
from components.data.validation_page import render_page
from components.errors import UserError, nearest
from components.params import Block, load
from components.project import Project

if TYPE_CHECKING:
    import pandas as pd

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
    block = dataset_block(load(project.params), name)
    frame = metadata_table(project, manifest, modality)
    built_in = [Rule.from_params(dict(rule)) for rule in (*_ALWAYS, *modality.suite(limits, manifest.class_names))]
    user = [Rule.from_params(rule) for rule in stamp.params["expect"]]
    rules = dataset_rules(manifest, frame, split, limits) + _judge(frame.drop(columns="content_sha256"), built_in, user, block)
    result = ValidationResult(
        name=name, outcome=_outcome(rules), manifest_sha256=manifest.sha256, rows=manifest.rows_by_split(), dropped=manifest.dropped, rules=tuple(rules),
        profile=profile_of(frame),
    )  # fmt: skip
    output = OutputFolder(project.root, result_folder(project, name))
    output.write_bytes(RESULT, (result.model_dump_json(indent=1) + "\n").encode())
    output.write_bytes(REPORT, render_page(project, manifest, result, modality).encode())
    output.prune()
    if result.outcome == "failed":
        raise _failure(result, project)
    return result


def metadata_table(project: Project, manifest: Manifest, modality: Modality) -> "pd.DataFrame":
    """One line per row of every split: the modality's metadata and a digest of the content."""
    import pandas as pd
    import pyarrow.parquet as pq

    columns = modality.metadata_columns()
    frames = [modality.metadata(pq.read_table(checked_shard(project, shard), columns=columns), manifest.class_names) for shard in manifest.shards]
    return pd.concat(frames, ignore_index=True)


def _judge(frame: "pd.DataFrame", built_in: Sequence[Rule], user: Sequence[Rule], block: Block) -> list[RuleResult]:
    """Every rule against the table, in order."""
    # Read when it is imported; by hand (`dvc repro`) nobody else has set it.
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    with warnings.catch_warnings():
        # Importing it warns of its own use of a deprecated module; nothing there is ours to mend.
        warnings.simplefilter("ignore", DeprecationWarning)
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

    expectations = [_expectation(rule, number, None, block) for number, rule in enumerate(built_in)]
    expectations += [_expectation(rule, len(built_in) + number, number, block) for number, rule in enumerate(user)]
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("metadata").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    form = {"result_format": "SUMMARY", "partial_unexpected_count": NUM_SAMPLES, "unexpected_index_column_names": ["id"]}
    found = batch.validate(gx.ExpectationSuite(name="rules", expectations=expectations), result_format=form)
    answers: list[dict[str, Any]] = [dict(answer.to_json_dict()) for answer in found.results]
    by_number = {answer["expectation_config"]["meta"]["number"]: answer for answer in answers}
    return [_rule_result(rule, by_number[number], frame, "user" if number >= len(built_in) else "genmill") for number, rule in enumerate([*built_in, *user])]


def _expectation(rule: Rule, number: int, position: int | None, block: Block) -> Any:
    """The rule as Great Expectations has it. ``position`` is its place in `expect:`, None for our own."""
    from great_expectations.expectations.registry import get_expectation_impl

    kind = get_expectation_impl(rule.rule)
    arguments = dict(rule.arguments)
    if arguments.get("column") == "label" and isinstance(arguments.get("value_set"), list):
        arguments["value_set"] = [str(value) for value in arguments["value_set"]]  # labels are class names, and YAML makes 0 a number
    try:
        return kind(**arguments, meta={"number": number})
    except (ValueError, TypeError) as error:
        if position is None:
            raise  # a rule of our own
        raise _bad_arguments(rule, error, position, block, list(kind.__fields__)) from None


def _bad_arguments(rule: Rule, error: Exception, position: int, block: Block, known: Sequence[str]) -> UserError:
    details: list[dict[str, Any]] = getattr(error, "errors", list)()
    for detail in details:
        key = str(detail["loc"][0])
        if detail["type"] == "value_error.extra":
            return block.error(f"expect: {rule.rule} has no argument {key!r}; {nearest(key, known)}", "expect", position, key)
    for detail in details:
        if detail["type"] == "value_error.missing":
            return block.error(f"expect: {rule.rule} needs the argument {detail['loc'][0]!r}: add it.", "expect", position)
    text = f"{details[0]['loc'][0]}: {details[0]['msg']}" if details else str(error)
    return block.error(f"expect: {rule.rule} has a wrong argument ({text}): mend it.", "expect", position, str(details[0]["loc"][0]) if details else "rule")


def _rule_result(rule: Rule, answer: dict[str, Any], frame: "pd.DataFrame", origin: Any) -> RuleResult:
    result, column = answer["result"], str(rule.arguments.get("column", ""))
    return RuleResult(
        rule=rule.rule,
        column=column,
        severity=rule.severity,
        success=answer["success"],
        expected=", ".join(f"{key} {_short(value)}" for key, value in rule.arguments.items() if key != "column"),
        observed=_observed(result),
        checked=int(result.get("element_count", len(frame))),
        unexpected=int(result.get("unexpected_count") or 0),
        samples=() if answer["success"] else _samples(result, column, frame),
        problem=_problem(answer["exception_info"], frame),
        origin=origin,
    )


def _observed(result: dict[str, Any]) -> str:
    missing = result.get("partial_missing_list")
    if missing:
        return f"no row with {_short(missing)}"
    value = result.get("observed_value")
    if value is not None:
        return _short(value)
    return f"{result['unexpected_count']:,} that break it" if "unexpected_count" in result else ""


def _samples(result: dict[str, Any], column: str, frame: "pd.DataFrame") -> tuple[str, ...]:
    """Up to three rows that break the rule."""
    rows = result.get("partial_unexpected_index_list")
    if rows:
        return tuple(f"{row['id']}: {_short(row.get(column, ''))}" for row in rows[:NUM_SAMPLES])
    values = result.get("partial_unexpected_list")
    if values and column in frame:
        found = frame[frame[column].isin(values)].head(NUM_SAMPLES)
        return tuple(f"{row['id']}: {_short(row[column])}" for _, row in found.iterrows())
    return ()


def _problem(info: dict[str, Any], frame: "pd.DataFrame") -> str:
    """Why a rule could not be applied: a missing column is no exception there, only a note in ``info``."""
    for part in [info, *(value for value in info.values() if isinstance(value, dict))]:
        message = part.get("exception_message")
        if str(part.get("raised_exception")) == "True" and message:
            if "does not exist" in message:
                wanted = message.split('"')[1] if '"' in message else ""
                return f"there is no column {wanted!r} in the metadata table; {nearest(wanted, list(frame.columns))}"
            return f"could not be applied ({message})"
    return ""


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


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if len(text) <= 80 else text[:77] + "…"
