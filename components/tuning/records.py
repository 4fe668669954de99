"""What a search is about and what its trials left, as small frozen values."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from components.evaluation.protocol import Figure
from components.models.family import TrainingConfig, find_family
from components.params import Strict
from components.training.identity import code_of
from components.training.spec import RunSpec
from components.tuning.space import Choices, Range

RUNGS = 5
"""Validations of a trial at least, so that a hopeless one can be stopped early."""
FORMAT = 1
"""Of what a study stores; a new one begins new studies."""


class Search(Strict):
    """A model as it stands, and what is sought for it."""

    spec: RunSpec
    """Of the model with its present settings; what belongs to one run alone is empty in it."""
    space: dict[str, Range | Choices]
    steps: int
    """Of each trial; the confirmation trains as long as the model itself."""
    validation: str
    """Outcome of the gate of the data version."""

    @property
    def model(self) -> str:
        return self.spec.model

    @property
    def parts(self) -> dict[str, str]:
        """By name the digests of all that the trials depend on: where one differs, their figures do not belong together."""
        spec = self.spec
        return {
            "data": spec.data_sha256,
            "space": _digest({name: part.model_dump(mode="json") for name, part in self.space.items()}),
            "code": code_of(spec.family, spec.batches),
            "params": _digest(
                {
                    "config": spec.config,
                    "seed": spec.seed,
                    "evaluation": spec.evaluation.identity(),
                    "start": spec.start and spec.start.identity(),
                    "augment": spec.augment,
                }
            ),
            "steps": str(self.steps),
            "format": str(FORMAT),
        }

    @property
    def study(self) -> str:
        """Name of the study: the same for the same parts."""
        return f"{self.model}-{_digest(self.parts)[:12]}"

    @property
    def folder(self) -> Path:
        """Where the trials of the study train."""
        return self.spec.project / ".genmill" / "tuning" / self.study

    @property
    def config(self) -> TrainingConfig:
        """The model's present settings."""
        return find_family(self.spec.family).config.model_validate(self.spec.config)

    @property
    def shortened(self) -> TrainingConfig:
        """The same for a trial: as long as trials are, and validated often enough to see early what is hopeless."""
        own = self.config
        return own.model_copy(update={"max_steps": self.steps, "validate_every": min(own.validate_every, max(1, self.steps // RUNGS))})

    @property
    def present(self) -> dict[str, Any]:
        """The present values of what is sought."""
        dumped = self.config.model_dump(mode="json")
        return {name: dumped[name] for name in self.space}


class TrialRecord(Strict):
    """One training of a search, and what became of it."""

    number: int
    """From 0, which has the present settings."""
    params: dict[str, Any]
    status: Literal["finished", "pruned", "diverged", "failed"]
    reason: str = ""
    """Why it did not finish, one sentence."""
    figures: tuple[Figure, ...] = ()
    """Of the validation split."""
    losses: dict[int, float] = {}
    """`validation/loss` by step."""
    seed: int = 0
    run_id: str = ""
    seconds: float = 0.0
    """Its training and evaluation, or its process where it did not come so far."""

    def figure(self, name: str) -> Figure | None:
        return next((figure for figure in self.figures if figure.name == name), None)


class Objectives(Strict):
    """The figures that a search optimises: the family's first, and the first of its guards that is measured."""

    primary: str
    goal: Literal["min", "max"]
    guard: str = ""
    guard_goal: Literal["min", "max"] = "min"

    @property
    def names(self) -> tuple[str, ...]:
        return (self.primary, self.guard) if self.guard else (self.primary,)

    def costs(self, trial: TrialRecord) -> tuple[float, ...] | None:
        """Both as costs, of which less is better; None where one is missing."""
        found = [trial.figure(name) for name in self.names]
        return tuple(one.value if one.goal == "min" else -one.value for one in found if one is not None) if all(found) else None


def objectives_of(family: str, first: TrialRecord) -> Objectives:
    """What is optimised, by what the first trial measured."""
    declared = find_family(family)
    guard = next((found for name in declared.guards if (found := first.figure(name)) is not None), None)
    more = {"guard": guard.name, "guard_goal": guard.goal} if guard else {}
    return Objectives.model_validate({"primary": declared.primary, "goal": declared.goal, **more})


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
