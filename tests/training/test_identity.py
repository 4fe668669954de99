"""A run's identity changes with what its result depends on, and with nothing else."""

from pathlib import Path

import pytest

from components.evaluation.config import EvaluationConfig
from components.models.gpt.config import GptConfig
from components.training.identity import code_of, library_versions, params_sha256, run_identity
from components.training.start import Lora, Start

SAME = {
    "family": "gpt", "config": GptConfig(), "size": "tiny", "seed": 0, "evaluation": EvaluationConfig(), "batches": "text", "data_sha256": "a" * 64,
}  # fmt: skip
START = Start(ref="gpt-pydocs/3", sha256="c" * 64, folder=Path("here"))


def test_is_the_same_for_the_same_run() -> None:
    assert run_identity(**{**SAME, "config": GptConfig(), "evaluation": EvaluationConfig()}) == run_identity(**SAME)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"config": GptConfig(dropout=0.11)},
        {"seed": 1},
        {"size": "small"},
        {"evaluation": EvaluationConfig(seed=1)},
        {"data_sha256": "b" * 64},
        {"precision": "bf16-mixed"},
        {"family": "vae", "batches": "image"},
        {"start": START},
        {"start": START.model_copy(update={"lora": Lora()})},
        {"augment": {"when": "load", "flip": True}},
    ],
)
def test_changes_with_each_thing_that_counts(change: dict[str, object]) -> None:
    assert run_identity(**{**SAME, **change}) != run_identity(**SAME)  # type: ignore[arg-type]


def test_where_the_weights_that_it_begins_with_lie_does_not_count() -> None:
    first, moved, other = START, START.model_copy(update={"folder": Path("there"), "ref": "gpt-pydocs/4"}), START.model_copy(update={"lora": Lora()})
    assert run_identity(**{**SAME, "start": first}) == run_identity(**{**SAME, "start": moved}) != run_identity(**{**SAME, "start": other})  # type: ignore[arg-type]


def test_how_rows_are_altered_when_they_are_drawn_counts_and_none_is_as_before() -> None:
    first, second = ({"when": "load", "flip": True, "seed": seed} for seed in (0, 1))
    assert len({run_identity(**{**SAME, "augment": augment}) for augment in (None, first, second)}) == 3  # type: ignore[arg-type]
    assert run_identity(**{**SAME, "augment": {}}) == run_identity(**SAME)  # type: ignore[arg-type]


def test_code_and_params_have_digests_of_their_own() -> None:
    assert code_of("gpt", "text") != code_of("vae", "image")
    assert params_sha256(GptConfig(), 0, EvaluationConfig()) != params_sha256(GptConfig(), 1, EvaluationConfig())


def test_names_the_libraries_that_matter() -> None:
    assert library_versions()["torch"].startswith("2.13.0")
