"""Runs, metrics, pictures and the model registry: the only package that talks to MLflow (besides the packaged model).

Only `MlflowClient` with explicit run ids is used; the fluent calls would open stray runs in threads. The embedded
store is SQLite under the project's mlflow/ folder; the variable MLFLOW_TRACKING_URI names another one.
"""

from components.tracking.records import (
    ANIMATIONS_FOLDER,
    ENVIRONMENT_ARTIFACT,
    EVIDENCE_KEYS,
    FIGURES_ARTIFACT,
    GATES_ARTIFACT,
    NOTES_ARTIFACT,
    PICTURE_KEYS,
    PICTURES_FOLDER,
    PREFIX,
    PROCESS_TAG,
    RESCORED_FOLDER,
    SPEC_ARTIFACT,
    TEXTS_FOLDER,
    MetricPoint,
    ModelVersion,
    RunRecord,
)
from components.tracking.store import embedded_uri
from components.tracking.tracker import DESCRIPTION_LENGTH, Tracker
from components.tracking.view import Chart, Section, View, attribute, metric, param, tag

__all__ = [
    "ANIMATIONS_FOLDER",
    "DESCRIPTION_LENGTH",
    "ENVIRONMENT_ARTIFACT",
    "EVIDENCE_KEYS",
    "FIGURES_ARTIFACT",
    "GATES_ARTIFACT",
    "NOTES_ARTIFACT",
    "PICTURES_FOLDER",
    "PICTURE_KEYS",
    "PREFIX",
    "PROCESS_TAG",
    "RESCORED_FOLDER",
    "SPEC_ARTIFACT",
    "TEXTS_FOLDER",
    "Chart",
    "MetricPoint",
    "ModelVersion",
    "RunRecord",
    "Section",
    "Tracker",
    "View",
    "attribute",
    "embedded_uri",
    "metric",
    "param",
    "tag",
]
