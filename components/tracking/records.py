"""Runs and model versions as plain values, and the names under which a run stores its artifacts.

- ``SPEC_ARTIFACT``: the RunSpec of the run as JSON; ``ENVIRONMENT_ARTIFACT``: every installed distribution as `name==version`, a line each;
- ``FIGURES_ARTIFACT``: a JSON list of `Figure` dumps; ``NOTES_ARTIFACT``: a JSON list of sentences on what was left out;
- ``RESCORED_FOLDER``/NAME.json: the same of a later evaluation of the version under another protocol (a new data version, another extractor);
- ``GATES_ARTIFACT``: the verdicts of the gates on the version, as JSON: model, version, passed, and rows of rule, figure, value, limit, verdict, note;
- ``PICTURES_FOLDER``/NAME.png, ``ANIMATIONS_FOLDER``/NAME.gif and ``TEXTS_FOLDER``/NAME.txt: the evidence of the final evaluation, drawn from fixed seeds;
- ``images/``: MLflow's own names for the pictures of each step, see `Tracker.log_image`. The keys of those drawn while training begin with
  ``PICTURE_KEYS``. Those of the final evaluation are there once more with keys that begin with ``EVIDENCE_KEYS``, all at step 0: the UI puts only
  pictures of the same step side by side, and runs train for different numbers of steps.
"""

from typing import NamedTuple

from components.params import Strict

FIGURES_ARTIFACT = "evaluation/figures.json"
RESCORED_FOLDER = "evaluation/rescored"
NOTES_ARTIFACT = "evaluation/notes.json"
GATES_ARTIFACT = "evaluation/gates.json"
SPEC_ARTIFACT = "run.json"
ENVIRONMENT_ARTIFACT = "environment.txt"
PICTURES_FOLDER = "evaluation/pictures"
ANIMATIONS_FOLDER = "evaluation/animations"
PICTURE_KEYS = "pictures/"
EVIDENCE_KEYS = "evidence/"
TEXTS_FOLDER = "evaluation/texts"

PREFIX = "genmill."
PROCESS_TAG = "genmill.process"


class RunRecord(Strict):
    """One MLflow run as plain values."""

    run_id: str
    experiment: str
    name: str
    status: str
    """RUNNING, FINISHED, FAILED or KILLED."""
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    artifact_uri: str
    start_ms: int
    end_ms: int | None

    def tag(self, name: str) -> str:
        """The value of our tag ``name`` (without its prefix), or the empty string."""
        return self.tags.get(PREFIX + name, "")


class MetricPoint(NamedTuple):
    key: str
    value: float
    step: int
    timestamp_ms: int


class ModelVersion(Strict):
    """One version of a registered model."""

    name: str
    version: int
    run_id: str
    source: str
    """URI of the package's folder in the artifact store."""
    tags: dict[str, str]
    aliases: tuple[str, ...]
    created_ms: int
    description: str = ""

    def tag(self, name: str) -> str:
        """The value of our tag ``name`` (without its prefix), or the empty string."""
        return self.tags.get(PREFIX + name, "")

    @property
    def ref(self) -> str:
        return f"{self.name}/{self.version}"
