"""Two figures compare only under the same protocol, and what differs is named."""

import math

import pytest

from components.evaluation.evidence import Evidence
from components.evaluation.protocol import Figure, Identity, Recorded, differ_by_vocabulary, find_comparable, mismatch

IDENTITY = Identity(metric="fid_own", num_samples=100, reference_sha256="a" * 64, split="test", extractor="own", extractor_sha256="b" * 64)


def figure(**changes: object) -> Figure:
    return Figure(name="fid_own", value=1.0, goal="min", identity=IDENTITY.model_copy(update=changes))


def test_figures_of_one_protocol_compare_though_seed_and_sampler_differ() -> None:
    other = figure().model_copy(update={"value": 2.0, "recorded": Recorded(seed=7, sampler="heun", steps=20)})
    assert mismatch(figure(), other) is None


@pytest.mark.parametrize("field", list(Identity.model_fields))
def test_the_field_that_differs_is_named(field: str) -> None:
    changed = 7 if field == "num_samples" else "other"
    assert mismatch(figure(), figure(**{field: changed})) == field


def test_a_figure_survives_being_written_as_json() -> None:
    whole = Figure(name="x", value=0.5, goal="max", identity=IDENTITY, floor=0.1, floor_name="real", spread=0.01, spread_over="3 seeds", unit="dB", note="n")
    assert Figure.model_validate_json(whole.model_dump_json()) == whole


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_figure_that_is_no_number_comes_back_as_what_it_was(value: float) -> None:
    again = Figure.model_validate_json(figure().model_copy(update={"value": value}).model_dump_json())
    assert repr(again.value) == repr(value)


def test_evidence_adds_up() -> None:
    both = Evidence((figure(),), {"a": b"1"}, notes=("one",)).plus(Evidence((figure(),), {"b": b"2"}, {"t": "x"}, ("two",)))
    assert len(both.figures) == 2
    assert both.pictures == {"a": b"1", "b": b"2"}
    assert both.texts == {"t": "x"}
    assert both.notes == ("one", "two")


def test_the_uncertainty_is_that_over_trainings_where_there_were_several_and_over_samples_else() -> None:
    alone = figure().model_copy(update={"spread": 0.1})
    assert alone.uncertainty == 0.1
    assert alone.model_copy(update={"trainings": (1.0, 2.0, 3.0)}).uncertainty == 1.0
    assert figure().uncertainty is None


def test_what_may_stand_beside_a_figure_is_found_by_its_protocol_and_not_by_its_name() -> None:
    others = (figure(num_samples=7), figure(split="validation"), figure().model_copy(update={"value": 3.0}))
    found = find_comparable(figure(), others)
    assert found is not None
    assert found.value == 3.0
    assert find_comparable(figure(extractor="another"), others) is None


def test_only_the_vocabulary_keeps_two_figures_apart_that_count_in_the_tokens_of_their_models() -> None:
    def counted(vocabulary: str, **changes: object) -> Figure:
        return figure(extractor="tokenizer", extractor_sha256=vocabulary, **changes)

    assert differ_by_vocabulary(counted("a"), counted("b"))
    assert not differ_by_vocabulary(counted("a"), counted("a")), "they compare"
    assert not differ_by_vocabulary(counted("a"), counted("b", split="validation"))
    assert not differ_by_vocabulary(figure(extractor_sha256="a"), figure(extractor_sha256="b")), "an extractor of features is not the model's own"
