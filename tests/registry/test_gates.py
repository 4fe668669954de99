"""Rules of params.yaml on figures, by themselves and beside the champion's."""

import math
from pathlib import Path

import pytest

from components.errors import UserError
from components.evaluation.protocol import Figure
from components.models.family import family_names, find_family
from components.params import Block, load
from components.registry.gates import (
    Champion,
    ChampionRule,
    GateRow,
    Gates,
    Limit,
    champion_rows,
    describe,
    figure_rows,
    have_passed,
    load_gates,
    require_measured,
)
from tests.stores import figure


def block(tmp_path: Path, text: str) -> Block:
    path = tmp_path / "params.yaml"
    path.write_text(f"gates:\n{text}")
    return load(path).child("gates")


def limited(**limits: Limit) -> Gates:
    return Gates(limits=limits, places=dict.fromkeys(limits, "params.yaml line 2"))


def spread(value: float, deviation: float, **more: object) -> Figure:
    return figure(value=value).model_copy(update={"spread": deviation, **more})


def beside(candidate: Figure, *champion: Figure, spreads: float = 2.0) -> GateRow:
    (row,) = champion_rows(ChampionRule(spreads=spreads), ["fid_own"], [candidate], Champion("vae-digits/1", champion))
    return row


def test_a_figure_at_its_limit_passes_and_one_beyond_it_fails() -> None:
    gates = limited(fid_own=Limit(max=10), active_units=Limit(min=5))
    assert have_passed(figure_rows(gates, [figure(value=10), figure("active_units", 5)]))
    rows = figure_rows(gates, [figure(value=10.01), figure("active_units", 9)])
    assert [row.verdict for row in rows] == ["failed", "passed"]
    assert describe(rows) == "fid_own is 10.01, not at most 10"


def test_a_figure_that_is_not_a_number_never_passes() -> None:
    assert not have_passed(figure_rows(limited(fid_own=Limit(max=10)), [figure(value=math.nan)]))
    (row,) = figure_rows(limited(fid_own=Limit(min=0)), [figure(value=math.nan)])
    assert (row.verdict, row.value, str(row)) == ("failed", None, "fid_own: not a number")


def test_a_gate_that_names_no_figure_fails_and_is_refused_with_its_line_and_the_nearest_name() -> None:
    gates, figures = limited(fid_own=Limit(max=1)), [figure("fid_own2")]
    (row,) = figure_rows(gates, figures)
    assert (row.verdict, row.note) == ("failed", "names no figure of this model, see params.yaml line 2; did you mean 'fid_own2'?")
    with pytest.raises(UserError, match=r"params.yaml line 2: the gate 'fid_own' names no figure of this model; did you mean 'fid_own2'\?"):
        require_measured(gates, figures)


def test_a_limit_of_the_family_holds_only_for_figures_that_there_are() -> None:
    gates = load_gates({"fid_own": {"max": 10}, "recall_own": {"min": 0.1}})
    assert [row.figure for row in figure_rows(gates, [figure(value=3)])] == ["fid_own"]
    require_measured(gates, [figure(value=3)])


def test_the_nearer_place_wins_and_false_turns_a_rule_off(tmp_path: Path) -> None:
    whole = tmp_path / "params.yaml"
    whole.write_text("a:\n  fid_own: {max: 50}\n  champion: {spreads: 3}\n  data: false\nb:\n  recall_own: false\n  champion: false\n  data: true\n")
    family = {"fid_own": {"max": 100.0}, "recall_own": {"min": 0.1}}
    gates = load_gates(family, load(whole).child("a"), load(whole).child("b"))
    assert (gates.limits, gates.champion, gates.data, gates.lineage) == ({"fid_own": Limit(max=50)}, None, True, True)
    assert load_gates(family, load(whole).child("a")).champion == ChampionRule(spreads=3)
    assert load_gates(family).champion == ChampionRule(spreads=2)


def test_collapse_and_memorisation_are_rules_without_being_asked_for() -> None:
    rows = figure_rows(Gates(), [figure("coverage_own", 0.1), figure("neighbour_ratio", 0.6), figure("other", 0.0)])
    assert [(row.rule, row.figure, row.verdict) for row in rows] == [
        ("collapse", "coverage_own", "failed"),
        ("memorisation", "neighbour_ratio", "failed"),
    ]
    assert figure_rows(Gates(collapse=False, memorisation=False), [figure("coverage_own", 0.1)]) == []


def test_a_candidate_may_be_worse_by_two_deviations_of_the_difference_and_no_more() -> None:
    champion = spread(10.0, 0.3)
    assert beside(spread(10.99, 0.4), champion).verdict == "passed"
    row = beside(spread(11.01, 0.4), champion)
    assert (row.verdict, row.limit, row.note) == ("failed", "at most 11", "vae-digits/1 has 10 ± 0.3")
    assert beside(spread(10.51, 0.4), champion, spreads=1).verdict == "failed"
    assert beside(spread(1.0, 0.4), champion).verdict == "passed"


def test_of_a_figure_that_shall_be_high_the_candidate_may_be_lower_by_as_much() -> None:
    champion = spread(0.5, 0.03, goal="max")
    assert beside(spread(0.41, 0.04, goal="max"), champion).verdict == "passed"
    assert beside(spread(0.39, 0.04, goal="max"), champion).verdict == "failed"


def test_several_trainings_count_for_more_than_several_samplings() -> None:
    champion = spread(10.0, 0.0, trainings=(10.0, 12.0, 11.0))
    assert beside(spread(11.9, 0.0), champion).verdict == "passed"
    assert beside(spread(12.1, 0.0), champion).verdict == "failed"


def test_what_was_measured_otherwise_is_not_compared_and_the_note_names_the_field() -> None:
    candidate, champion = figure(value=3), figure(value=30, num_samples=100)
    row = beside(candidate, champion)
    assert (row.verdict, row.limit) == ("failed", "comparable with vae-digits/1")
    assert row.note == "vae-digits/1 was scored with another num_samples; promoting scores it again under this protocol, where it can be"
    assert beside(candidate, champion, figure(value=30)).verdict == "passed"


def test_a_headline_figure_that_only_the_champion_has_fails() -> None:
    champion = Champion("vae-digits/1", (figure(value=3), figure("active_units", 9)))
    rows = champion_rows(ChampionRule(), ["fid_own", "active_units", "other"], [figure(value=3)], champion)
    assert [(row.figure, row.verdict) for row in rows] == [("fid_own", "passed"), ("active_units", "failed")]


def test_no_rules_pass_and_say_so() -> None:
    rows = figure_rows(Gates(), [figure()])
    assert have_passed(rows)
    assert describe(rows) == "no gates are set in params.yaml"


def test_rows_of_old_records_are_read() -> None:
    row = GateRow.model_validate({"rule": "fid_own", "value": 20.0, "limit": "at most 40", "verdict": "passed"})
    assert (row.rule, row.figure, row.note) == ("limit", "fid_own", "")
    assert GateRow.model_validate(row.model_dump()) == row


@pytest.mark.parametrize("family", family_names())
def test_every_family_has_gates_on_its_headline_figures(family: str) -> None:
    found = find_family(family)
    assert set(load_gates(found.gates).limits) & {found.primary, *found.guards}
    assert set(found.gates) <= {found.primary, *found.guards, "recall_own"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("  fid_own: {maximum: 40}\n", r"line 2: unknown key 'maximum' in gates.fid_own; did you mean 'max'\?"),
        ("  fid_own: {}\n", "line 2: .*min, max or both"),
        ("  fid_own: 40\n", "line 2: gates.fid_own must be a mapping"),
        ("  a: {max: 1}\n  b: {max: low}\n", "line 3: gates.b.max"),
        ("  a: {max: 1}\n  colapse: false\n", r"line 3: 'colapse' is neither a rule nor a figure with a limit here; did you mean 'collapse'\?"),
        ("  champoin: {spreads: 3}\n", r"line 2: 'champoin' is neither .*; did you mean 'champion'\?"),
        ("  champion: {spread: 3}\n", r"line 2: unknown key 'spread' in gates.champion; did you mean 'spreads'\?"),
        ("  champion: {spreads: -1}\n", "line 2: gates.champion.spreads"),
        ("  data: often\n", "line 2: gates.data must be true or false"),
    ],
)
def test_a_mistake_in_a_gate_is_named_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load_gates({}, block(tmp_path, text))


def in_tokens(name: str, vocabulary: str, **identity: object) -> Figure:
    """A figure that counts in the tokens of ``vocabulary``."""
    one = figure(name)
    return one.model_copy(update={"identity": one.identity.model_copy(update={"extractor": "tokenizer", "extractor_sha256": vocabulary * 64, **identity})})


def test_a_figure_in_the_models_own_tokens_is_left_out_while_another_one_compares() -> None:
    champion = Champion("bert-pydocs/1", (in_tokens("masked_perplexity", "a"), figure("probe_accuracy", 0.5, goal="max")))
    candidate = [in_tokens("masked_perplexity", "b"), figure("probe_accuracy", 0.6, goal="max")]
    headline = ["masked_perplexity", "probe_accuracy"]
    rows = champion_rows(ChampionRule(), headline, candidate, champion)
    assert [(row.figure, row.verdict) for row in rows] == [("masked_perplexity", "left out"), ("probe_accuracy", "passed")]
    assert rows[0].note == "bert-pydocs/1 counts in the tokens of another vocabulary"
    assert have_passed(rows)
    worse = champion_rows(ChampionRule(), headline, [candidate[0], figure("probe_accuracy", 0.4, goal="max")], champion)
    assert not have_passed(worse)


def test_where_no_headline_figure_compares_the_rule_fails_and_says_what_to_do() -> None:
    champion = Champion("word2vec-pydocs/1", (in_tokens("context_perplexity", "a"),))
    rows = champion_rows(ChampionRule(), ["context_perplexity"], [in_tokens("context_perplexity", "b")], champion)
    assert [row.verdict for row in rows] == ["left out", "failed"]
    assert "set `champion: false` for the model" in rows[1].note


def test_text_that_is_copied_or_repeats_itself_fails_unless_real_text_does_too() -> None:
    def verdicts(**values: tuple[float, float]) -> dict[str, str]:
        figures = [figure(name, value, floor=floor) for name, (value, floor) in values.items()]
        return {f"{row.rule} {row.figure}": row.verdict for row in figure_rows(Gates(), figures)}

    assert verdicts(copy_rate=(0.9, 0.1), repetition=(0.1, 0.0)) == {"memorisation copy_rate": "failed", "collapse repetition": "passed"}
    assert verdicts(copy_rate=(0.9, 0.95), repetition=(0.8, 0.1)) == {"memorisation copy_rate": "passed", "collapse repetition": "failed"}
    assert figure_rows(Gates(collapse=False, memorisation=False), [figure("copy_rate", 1.0), figure("repetition", 1.0)]) == []
