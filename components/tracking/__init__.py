"""Runs, metrics, pictures and the model registry: the only package that talks to MLflow (besides the packaged model).

Only `MlflowClient` with explicit run ids is used; the fluent calls would open stray runs in threads. The embedded
store is SQLite under the project's mlflow/ folder; the variable MLFLOW_TRACKING_URI names another one.
"""

from components.tracking.records import (
    ANIMATIONS_FOLDER,
    ENVIRONMENT_ARTIFACT,
    FIGURES_ARTIFACT,
    GATES_ARTIFACT,
    NOTES_ARTIFACT,
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
from components.tracking.tracker import Tracker

__all__ = [
    "ANIMATIONS_FOLDER",
    "ENVIRONMENT_ARTIFACT",
    "FIGURES_ARTIFACT",
    "GATES_ARTIFACT",
    "NOTES_ARTIFACT",
    "PICTURES_FOLDER",
    "PREFIX",
    "PROCESS_TAG",
    "RESCORED_FOLDER",
    "SPEC_ARTIFACT",
    "TEXTS_FOLDER",
    "MetricPoint",
    "ModelVersion",
    "RunRecord",
    "Tracker",
    "embedded_uri",
]
