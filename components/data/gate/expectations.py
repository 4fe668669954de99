"""The only file that talks to Great Expectations: rules on single rows shard by shard with their sums, all others on the columns that they name.

So no rule needs all rows in memory at once; what compares rows with each other gets the few that repeat, or one column of all.
"""

import functools
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data.config import Rule
from components.data.gate.dataset_rules import NUM_SAMPLES
from components.data.gate.metadata import CONTENT
from components.data.result import RuleResult
from components.errors import UserError, nearest
from components.params import Block

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

_ROWS_AT_ONCE = 50_000
_OF_ALL_ROWS = (
    "expect_column_value_z_scores_to_be_less_than",
    "expect_column_values_to_be_decreasing",
    "expect_column_values_to_be_increasing",
    "expect_column_values_to_not_be_outliers",
)
"""Rules on single rows whose verdict depends on the others."""
_ON_REPEATED = ("expect_column_values_to_be_unique", "expect_compound_columns_to_be_unique")
_ON_DISTINCT = (
    "expect_column_distinct_values_to_be_in_set",
    "expect_column_distinct_values_to_contain_set",
    "expect_column_distinct_values_to_equal_set",
    "expect_column_unique_value_count_to_be_between",
)
_ON_COLUMNS = ("expect_column_to_exist", "expect_column_type_to_be", "expect_table_column")
_COUNTS_NULLS = ("expect_column_values_to_be_null", "expect_column_values_to_not_be_null")
_COLUMN_ARGUMENTS = ("column", "column_A", "column_B", "column_list")


def judge(connection: "duckdb.DuckDBPyConnection", files: Sequence[Path], built_in: Sequence[Rule], user: Sequence[Rule], block: Block) -> list[RuleResult]:
    """Every rule against the view `metadata`, whose files are ``files``, in order.

    Raises:
        UserError: a rule of the user's has wrong arguments.
    """
    rules = [*built_in, *user]
    expectations = [_expectation(rule, number, number - len(built_in) if number >= len(built_in) else None, block) for number, rule in enumerate(rules)]
    by_row = [number for number, rule in enumerate(rules) if _judges_single_rows(expectations[number], rule)]
    columns = [name for name, *_ in connection.execute("DESCRIBE metadata").fetchall() if name != CONTENT]
    ((total,),) = connection.execute("SELECT count(*) FROM metadata").fetchall()
    answers: dict[int, dict[str, Any]] = {}
    for frame in _frames(files):
        for number, answer in _validated(frame, [expectations[number] for number in by_row]).items():
            answers[number] = _summed(answers.get(number), answer)
    for number in by_row:
        answers[number]["success"] = _holds(rules[number], answers[number])
    for number in sorted(set(range(len(rules))) - set(by_row)):
        frame = _frame_for(connection, rules[number], columns)
        answers |= _validated(frame, [expectations[number]])
        answers[number]["result"]["element_count"] = total
    return [
        _rule_result(rule, answers[number], connection, columns, total, "user" if number >= len(built_in) else "genmill") for number, rule in enumerate(rules)
    ]


def _expectation(rule: Rule, number: int, position: int | None, block: Block) -> Any:
    """The rule as Great Expectations has it. ``position`` is its place in `expect:`, None for our own."""
    # Read when it is imported; by hand (`dvc repro`) nobody else has set it.
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    with warnings.catch_warnings():
        # Importing it warns of its own use of a deprecated module; nothing there is ours to mend.
        warnings.simplefilter("ignore", DeprecationWarning)
        import great_expectations  # noqa: F401 - registers the rules
        from great_expectations.exceptions.exceptions import ExpectationNotFoundError
        from great_expectations.expectations.registry import get_expectation_impl

    try:
        kind = get_expectation_impl(rule.rule)
    except ExpectationNotFoundError:
        assert position is not None, "a rule of our own"
        message = f"expect: Great Expectations has the name {rule.rule} but does not implement it: take another rule."
        raise block.error(message, "expect", position, "rule") from None
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


def _judges_single_rows(expectation: Any, rule: Rule) -> bool:
    from great_expectations.expectations.expectation import ColumnMapExpectation, ColumnPairMapExpectation, MulticolumnMapExpectation

    kinds = (ColumnMapExpectation, ColumnPairMapExpectation, MulticolumnMapExpectation)
    return isinstance(expectation, kinds) and rule.rule not in (*_OF_ALL_ROWS, *_ON_REPEATED)


def _frames(files: Sequence[Path]) -> "Iterator[pd.DataFrame]":
    """All rows, some shards at a time: a call of Great Expectations costs as much as thousands of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables: list[pa.Table] = []
    for number, file in enumerate(files, 1):
        tables.append(pq.read_table(file).drop_columns([CONTENT]))
        if number == len(files) or sum(table.num_rows for table in tables) >= _ROWS_AT_ONCE:
            yield pa.concat_tables(tables, promote_options="permissive").to_pandas()
            tables = []


@functools.cache
def _batches() -> Any:
    """Makes a batch of a table of rows. Nothing of it is on the disk: by itself Great Expectations would leave a folder for pages behind."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults, ProgressBarsConfig

    context = gx.get_context(mode="ephemeral", project_config=DataContextConfig(store_backend_defaults=InMemoryStoreBackendDefaults()))
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context.data_sources.add_pandas("metadata").add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")


def _validated(frame: "pd.DataFrame", expectations: Sequence[Any]) -> dict[int, dict[str, Any]]:
    """The answers by the rules' numbers."""
    import great_expectations as gx

    if not expectations:
        return {}
    form: dict[str, Any] = {"result_format": "SUMMARY", "partial_unexpected_count": NUM_SAMPLES}
    if "id" in frame:
        form["unexpected_index_column_names"] = ["id"]
    suite = gx.ExpectationSuite(name="rules", expectations=list(expectations))
    found = _batches().get_batch({"dataframe": frame}).validate(suite, result_format=form)
    answers: list[dict[str, Any]] = [dict(answer.to_json_dict()) for answer in found.results]
    return {answer["expectation_config"]["meta"]["number"]: answer for answer in answers}


def _summed(before: dict[str, Any] | None, answer: dict[str, Any]) -> dict[str, Any]:
    """Counts added up, the first samples kept; what could not be applied stays so."""
    if before is None:
        return answer
    if _raised(before["exception_info"]):
        return before
    if _raised(answer["exception_info"]):
        return answer
    old, new = before["result"], answer["result"]
    counts = {name: int(old.get(name) or 0) + int(new.get(name) or 0) for name in ("element_count", "missing_count", "unexpected_count")}
    lists = {name: ((old.get(name) or []) + (new.get(name) or []))[:NUM_SAMPLES] for name in ("partial_unexpected_index_list", "partial_unexpected_list")}
    return {**before, "result": {**old, **counts, **lists}}


def _holds(rule: Rule, answer: Mapping[str, Any]) -> bool:
    """Whether enough of all rows follow the rule: `mostly` is a share of the total, not of each shard."""
    if _raised(answer["exception_info"]):
        return False
    result = answer["result"]
    judged = int(result["element_count"]) - (0 if rule.rule in _COUNTS_NULLS else int(result.get("missing_count") or 0))
    unexpected = int(result["unexpected_count"])
    return not unexpected or 1 - unexpected / judged >= float(rule.arguments.get("mostly", 1.0))


def _raised(info: Mapping[str, Any]) -> bool:
    return any(str(part.get("raised_exception")) == "True" for part in [info, *(value for value in info.values() if isinstance(value, dict))])


def _frame_for(connection: "duckdb.DuckDBPyConnection", rule: Rule, columns: Sequence[str]) -> "pd.DataFrame":
    """As few rows and columns as the rule's verdict needs."""
    named = [name for key in _COLUMN_ARGUMENTS if (value := rule.arguments.get(key)) for name in (value if isinstance(value, list) else [value])]
    known = [name for name in named if name in columns]
    quoted = ", ".join(f'"{name}"' for name in known)
    if rule.rule.startswith(_ON_COLUMNS):
        query = f"SELECT * EXCLUDE ({CONTENT}) FROM metadata LIMIT 1000"
    elif not known or len(known) < len(named):
        query = "SELECT 0 AS row FROM metadata"  # the number of rows, or a column that is not there
    elif rule.rule in _ON_DISTINCT:
        query = f"SELECT DISTINCT {quoted} FROM metadata ORDER BY ALL"
    elif rule.rule in _ON_REPEATED:
        query = f"SELECT id AS id, * EXCLUDE (id) FROM (SELECT {_with_id(known)} FROM metadata QUALIFY count(*) OVER (PARTITION BY {quoted}) > 1) ORDER BY id"
    else:
        query = f"SELECT {_with_id(known) if rule.rule in _OF_ALL_ROWS else quoted} FROM metadata"
    return connection.sql(query).to_arrow_table().to_pandas()


def _with_id(columns: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in dict.fromkeys(["id", *columns]))


def _rule_result(rule: Rule, answer: dict[str, Any], connection: "duckdb.DuckDBPyConnection", columns: Sequence[str], total: int, origin: Any) -> RuleResult:
    result, column = answer["result"], str(rule.arguments.get("column", ""))
    return RuleResult(
        rule=rule.rule,
        column=column,
        severity=rule.severity,
        success=answer["success"],
        expected=", ".join(f"{key} {_short(value)}" for key, value in rule.arguments.items() if key != "column"),
        observed=_observed(result),
        checked=int(result.get("element_count", total)),
        unexpected=int(result.get("unexpected_count") or 0),
        samples=() if answer["success"] else _samples(result, column, connection, columns),
        problem=_problem(answer["exception_info"], columns),
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


def _samples(result: dict[str, Any], column: str, connection: "duckdb.DuckDBPyConnection", columns: Sequence[str]) -> tuple[str, ...]:
    """Up to three rows that break the rule."""
    rows = result.get("partial_unexpected_index_list")
    if rows:
        return tuple(f"{row['id']}: {_short(row.get(column, ''))}" for row in rows[:NUM_SAMPLES])
    values = result.get("partial_unexpected_list")
    if values and column in columns:
        query = f'SELECT id, "{column}" FROM metadata WHERE "{column}"::VARCHAR IN (SELECT unnest(?::VARCHAR[])) LIMIT {NUM_SAMPLES}'
        return tuple(f"{row_id}: {_short(value)}" for row_id, value in connection.execute(query, [[str(value) for value in values]]).fetchall())
    return ()


def _problem(info: dict[str, Any], columns: Sequence[str]) -> str:
    """Why a rule could not be applied: a missing column is no exception there, only a note in ``info``."""
    for part in [info, *(value for value in info.values() if isinstance(value, dict))]:
        message = part.get("exception_message")
        if str(part.get("raised_exception")) == "True" and message:
            if "does not exist" in message:
                wanted = message.split('"')[1] if '"' in message else ""
                return f"there is no column {wanted!r} in the metadata table; {nearest(wanted, columns)}"
            return f"could not be applied ({message})"
    return ""


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if len(text) <= 80 else text[:77] + "…"
