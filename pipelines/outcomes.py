"""Small frozen values that flows hand to each other, to the report and to the terminal."""

from typing import Literal

from components.data.publish import DataVersion
from components.errors import UserError
from components.evaluation.protocol import Figure
from components.params import Strict
from components.registry.gates import describe
from components.registry.verdicts import GatesTable


class ModelOutcome(Strict):
    """What became of one model in a build; its evidence stands in MLflow under ``run_id``."""

    model: str
    family: str
    size: str
    dataset: str
    data_version: str
    status: Literal["trained", "resumed", "reused", "failed"]
    identity: str
    run_id: str = ""
    version: int | None = None
    """Version in the model registry; None where nothing was registered."""
    primary: str
    figures: tuple[Figure, ...] = ()
    gates: GatesTable | None = None
    """The verdicts on the version; None where there is none."""
    promotion: str = ""
    """What became of its automatic promotion, one sentence."""
    train_s: float = 0.0
    evaluate_s: float = 0.0
    message: str = ""
    """Why it failed, one sentence."""

    @property
    def verdict(self) -> str:
        """One line: whether the candidate passed its gates, and why not."""
        if self.gates is None:
            return ""
        return "passed its gates" if self.gates.passed else f"did not pass its gates: {describe(self.gates.rows)}"

    def figure(self, name: str) -> Figure | None:
        return next((figure for figure in self.figures if figure.name == name), None)


class DatasetOutcome(Strict):
    """What became of one dataset in a build."""

    version: DataVersion
    changed: bool
    """Whether any stage had work to do."""
    dropped: dict[str, int] = {}
    """Quarantined rows by reason."""
    seconds: float = 0.0


class BuildFailed(RuntimeError):
    """Some models of a build failed; ``outcomes`` has what became of all."""

    def __init__(self, outcomes: list[ModelOutcome]) -> None:
        self.outcomes = outcomes
        failed = [outcome for outcome in outcomes if outcome.status == "failed"]
        super().__init__(f"{len(failed)} of {len(outcomes)} models failed: {'; '.join(f'{one.model}: {one.message}' for one in failed)}")


class WatchFailed(RuntimeError):
    """Some datasets could not be prepared; ``failed`` says why, by name."""

    def __init__(self, failed: dict[str, str], num: int) -> None:
        self.failed = failed
        super().__init__(f"{len(failed)} of {num} datasets failed: {'; '.join(f'{name}: {why}' for name, why in failed.items())}")


class RunFailed(UserError):
    """A run's process ended without a model; ``resume`` goes on from its last checkpoint."""


class RunInterrupted(UserError):
    """Stopped by Ctrl-C or SIGTERM; ``resume`` goes on from the last checkpoint."""

    exit_code = 130
