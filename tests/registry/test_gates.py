"""Absolute thresholds of params.yaml."""

import math
from pathlib import Path

import pytest

from components.errors import UserError
from components.params import Block, load
from components.registry.gates import Limit, describe, evaluate_gates, have_passed, load_gates
from tests.stores import figure


def block(tmp_path: Path, text: str) -> Block:
    path = tmp_path / "params.yaml"
    path.write_text(f"gates:\n{text}")
    return load(path).child("gates")


def test_a_figure_at_its_limit_passes_and_one_beyond_it_fails() -> None:
    gates = {"fid_own": Limit(max=10), "active_units": Limit(min=5)}
    assert have_passed(evaluate_gates(gates, [figure(value=10), figure("active_units", 5)]))
    rows = evaluate_gates(gates, [figure(value=10.01), figure("active_units", 9)])
    assert [row.verdict for row in rows] == ["failed", "passed"]
    assert describe(rows) == "fid_own is 10.01, not at most 10"


def test_a_figure_that_is_not_a_number_never_passes() -> None:
    assert not have_passed(evaluate_gates({"fid_own": Limit(max=10)}, [figure(value=math.nan)]))
    assert not have_passed(evaluate_gates({"fid_own": Limit(min=0)}, [figure(value=math.nan)]))


def test_a_gate_that_names_no_figure_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"gate 'fid_own' names no figure of this model; did you mean 'fid_own2'\?"):
        evaluate_gates({"fid_own": Limit(max=1)}, [figure("fid_own2")])


def test_no_gates_pass_and_say_so() -> None:
    rows = evaluate_gates({}, [figure()])
    assert have_passed(rows)
    assert describe(rows) == "no gates are set in params.yaml"


def test_gates_are_read_from_params(tmp_path: Path) -> None:
    assert load_gates(block(tmp_path, "  fid_own: {max: 40}\n  active_units: {min: 2, max: 16}\n")) == {
        "fid_own": Limit(max=40),
        "active_units": Limit(min=2, max=16),
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("  fid_own: {maximum: 40}\n", r"line 2: unknown key 'maximum' in gates.fid_own; did you mean 'max'\?"),
        ("  fid_own: {}\n", "line 2: .*min, max or both"),
        ("  fid_own: 40\n", "line 2: gates.fid_own must be a mapping"),
        ("  a: {max: 1}\n  b: {max: low}\n", "line 3: gates.b.max"),
    ],
)
def test_a_mistake_in_a_gate_is_named_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load_gates(block(tmp_path, text))
