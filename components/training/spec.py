"""What goes into a run's process (RUN.json) and what comes out (RESULT.json)."""

from enum import IntEnum
from pathlib import Path
from typing import Any

from components.evaluation.config import EvaluationConfig
from components.evaluation.protocol import Figure
from components.params import Strict
from components.training.start import Start


class Exit(IntEnum):
    """Exit codes of a run's process."""

    FINISHED = 0
    CRASHED = 1
    USER_ERROR = 2
    INTERRUPTED = 3
    """Stopped by a signal or its parent's end; the last checkpoint is written and the run can go on."""
    DIVERGED = 4
    """The loss stayed non-finite."""
    PRUNED = 5
    """A trial of a search whose validation loss was hopeless."""


class Trial(Strict):
    """What makes a run a trial of a search: it is scored on the validation split, draws nothing while it trains, and is not packaged."""

    prune_above: dict[int, float] = {}
    """By step the lowest validation loss so far above which it stops; empty never stops it."""


class RunSpec(Strict):
    """Everything that a run depends on, resolved."""

    model: str
    """The name in params.yaml and in the registry, e.g. `vae-digits`."""
    family: str
    size: str
    seed: int
    config: dict[str, Any]
    """The resolved family config."""
    start: Start | None = None
    """Weights to begin with; None draws fresh ones from the seed."""
    augment: dict[str, Any] = {}
    """How training rows are altered when they are drawn, resolved, see `Additions`; empty takes them as they are."""
    evaluation: EvaluationConfig = EvaluationConfig()
    dataset: str
    batches: str
    """Kind of the batches it is trained on, a module of `components.training.datamodules`."""
    data_version: str
    """e.g. `v3`."""
    data_sha256: str
    identity: str
    """sha256 that names the run: config, data version and code."""
    project: Path
    run_dir: Path
    """RUN.json, RESULT.json, progress, checkpoints and the package; named by the identity."""
    tracking_uri: str
    experiment: str
    mlflow_run_id: str
    trial: Trial | None = None
    """None where the run makes a model."""
    device: str = "auto"
    precision: str = "auto"


class RunResult(Strict):
    """What a run's process achieved; small enough to pass between tasks."""

    status: str
    """`finished`, `interrupted`, `diverged`, `pruned` or `failed`."""
    message: str = ""
    mlflow_run_id: str
    figures: tuple[Figure, ...] = ()
    package: Path | None = None
    """Folder of the packaged model inside ``run_dir``."""
    package_sha256: str = ""
    pictures: dict[str, Path] = {}
    animations: dict[str, Path] = {}
    texts: dict[str, Path] = {}
    notes: tuple[str, ...] = ()
    steps: int = 0
    train_s: float = 0.0
    evaluate_s: float = 0.0
    package_s: float = 0.0
    core_s: float = 0.0
    """CPU seconds of the process and its workers."""
    peak_memory_bytes: int = 0
    parameters: int = 0
    resumed: bool = False
