"""Figures stand side by side only under one protocol, and one is called the best only beyond the spread."""

from typing import Any

import pytest

from components.evaluation.protocol import Figure, Identity
from components.report.figure_rows import HEADLINE, figure_rows, refusals
from tests.stores import figure

LABELS = ("vae-digits/1", "vae-digits/2", "gan-digits/1")
OTHER: dict[str, Any] = {
    "metric": "fid_of_old_code", "num_samples": 500, "reference_sha256": "e" * 64, "split": "validation", "extractor": "inception",
    "extractor_sha256": "f" * 64, "preprocessing": "8x8",
}  # fmt: skip


def under(field: str, value: Any, measured: Figure | None = None) -> Figure:
    """``measured`` under a protocol that differs in ``field``."""
    measured = measured or figure()
    return measured.model_copy(update={"identity": measured.identity.model_copy(update={field: value})})


def spread(value: float, uncertainty: float | None, **more: Any) -> Figure:
    return figure(value=value).model_copy(update={"spread": uncertainty, **more})


@pytest.mark.parametrize("field", Identity.model_fields)
def test_figures_that_differ_in_any_field_of_the_protocol_are_refused_and_the_field_is_named(field: str) -> None:
    sides = [[figure()], [under(field, OTHER[field])]]
    assert figure_rows(sides) == ()
    (refused,) = refusals(LABELS[:2], sides, {})
    assert refused.names == ("fid_own",)
    assert [difference.field for difference in refused.differences] == [field]
    assert f"fid_own of vae-digits/1 and vae-digits/2 are not compared: {field} differs: " in refused.sentence
    assert refused.sentence.count("`genmill promote vae-digits`") == 1


def test_data_versions_are_named_and_figures_with_the_same_reason_share_a_sentence() -> None:
    first = [figure(), figure("recall_own", goal="max")]
    second = [under("reference_sha256", "e" * 64, one) for one in first]
    (refused,) = refusals(LABELS[:2], [first, second], {"d" * 64: "digits@v1", "e" * 64: "digits@v2"})
    assert refused.names == ("fid_own", "recall_own")
    assert "reference_sha256 differs: digits@v1 / digits@v2. Train both on one data version" in refused.sentence


def test_between_two_models_no_promotion_is_advised() -> None:
    (refused,) = refusals(("vae-digits/1", "gan-digits/1"), [[figure()], [under("num_samples", 5)]], {})
    assert "promote" not in refused.sentence
    assert "num_samples differs: 700 / 5" in refused.sentence


def test_long_texts_are_shown_where_they_part() -> None:
    head = "a very long description of what was done before to every picture, "
    a, b = under("preprocessing", f"{head}8x8"), under("preprocessing", f"{head}32x32")
    (refused,) = refusals(LABELS[:2], [[a], [b]], {})
    assert refused.differences[0].values == ("…icture, 8x8", "…icture, 32x32")


def test_a_figure_of_a_later_evaluation_is_used_where_it_matches() -> None:
    old, again, new = figure(value=9), under("num_samples", 500, figure(value=8)), under("num_samples", 500, figure(value=4))
    sides = [[old, again], [new]]
    (row,) = figure_rows(sides)
    assert [one.value for one in row.values if one] == [8, 4]
    assert refusals(LABELS[:2], sides, {}) == ()


def test_two_protocols_with_two_sides_each_are_two_rows_and_never_one() -> None:
    a, b = figure(value=1), under("split", "validation", figure(value=2))
    rows = figure_rows([[a], [b], [a], [b]])
    assert [[one and one.value for one in row.values] for row in rows] == [[1, None, 1, None], [None, 2, None, 2]]


def test_across_families_shared_figures_compare_and_the_others_have_a_dash() -> None:
    vae, gan = [figure(value=2), figure("bits_per_dim", 1.8)], [figure(value=3)]
    rows = figure_rows([vae, gan], headline=["bits_per_dim"])
    assert [(row.name, row.group, row.best) for row in rows] == [("bits_per_dim", HEADLINE, None), ("fid_own", "Measured without an extractor", 0)]
    assert rows[0].values[1] is None
    assert refusals(LABELS[:2], [vae, gan], {}) == ()


@pytest.mark.parametrize(
    ("first", "second", "verdict", "best"),
    [
        (spread(10, 1.0), spread(7, 1.0), "best", 1),  # 3 is more than twice sqrt(2)
        (spread(10, 1.0), spread(7.5, 1.0), "within the spread", None),
        (spread(10, None), spread(7, 2.0), "within the spread", None),
        (spread(10, None), spread(7, None), "spread unknown", 1),
        (spread(7, 1.0), spread(7, 1.0), "equal", None),
        (spread(float("nan"), 1.0), spread(7, 1.0), "", None),
        (spread(10, 0.1, trainings=(10, 14, 6)), spread(7, 0.1), "within the spread", None),  # over trainings it varies far more
    ],
)  # fmt: skip
def test_the_spread_decides_what_is_the_best(first: Figure, second: Figure, verdict: str, best: int | None) -> None:
    (row,) = figure_rows([[first], [second]])
    assert (row.verdict, row.best) == (verdict, best)


def test_the_higher_is_the_best_where_that_is_the_goal() -> None:
    (row,) = figure_rows([[figure("recall_own", value, goal="max")] for value in (0.5, 0.9, 0.7)])
    assert row.best == 1


def test_the_floor_stands_once_where_all_share_it() -> None:
    same, other = ([[figure(floor=5.0)], [figure(floor=floor)]] for floor in (5.0, 6.0))
    assert figure_rows(same)[0].floor is not None
    assert figure_rows(other)[0].floor is None
