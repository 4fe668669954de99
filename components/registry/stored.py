"""What a run stored of its evaluation, read back: the source of every comparison, so that nothing is measured twice."""

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from components.evaluation.evidence import Evidence
from components.evaluation.protocol import Figure
from components.tracking import (
    ANIMATIONS_FOLDER,
    EVIDENCE_KEYS,
    FIGURES_ARTIFACT,
    NOTES_ARTIFACT,
    PICTURES_FOLDER,
    RESCORED_FOLDER,
    TEXTS_FOLDER,
    MetricPoint,
    Tracker,
)


def store_evidence(tracker: Tracker, run_id: str, evidence: Evidence) -> None:
    """Log ``evidence`` as the artifacts that `stored_evidence` reads."""
    for name, png in evidence.pictures.items():
        tracker.log_bytes(run_id, png, f"{PICTURES_FOLDER}/{name}.png")
    for name, gif in evidence.animations.items():
        tracker.log_bytes(run_id, gif, f"{ANIMATIONS_FOLDER}/{name}.gif")
    for name, text in evidence.texts.items():
        tracker.log_text(run_id, text, f"{TEXTS_FOLDER}/{name}.txt")
    tracker.log_text(run_id, json.dumps(evidence.notes), NOTES_ARTIFACT)
    store_figures(tracker, run_id, evidence.figures)


def store_figures(tracker: Tracker, run_id: str, figures: Sequence[Figure]) -> None:
    tracker.log_text(run_id, _dumped(figures), FIGURES_ARTIFACT)


def show_evidence(tracker: Tracker, run_id: str, evidence: Evidence, *, cost: Mapping[str, float], now_ms: int) -> None:
    """Log figures, their floors and ``cost`` as metrics, and the pictures, so that the charts of the UI compare runs."""
    values = {f"test/{figure.name}": figure.value for figure in evidence.figures}
    values |= {f"test/{figure.name}_floor": figure.floor for figure in evidence.figures if figure.floor is not None}
    values |= {f"cost/{name}": value for name, value in cost.items()}
    # At step 0 the UI draws bars, one per run; from step 1 on it would draw curves, of a single point here.
    tracker.log_metrics(run_id, [MetricPoint(key, value, 0, now_ms) for key, value in values.items()])
    for name, png in evidence.pictures.items():
        tracker.log_image(run_id, EVIDENCE_KEYS + name, png, 0)
        # The page that compares two runs previews only what lies beside the folders.
        tracker.log_bytes(run_id, png, f"{name}.png")


def stored_figures(tracker: Tracker, run_id: str) -> tuple[Figure, ...]:
    """The figures of a run; none where it stored none."""
    data = tracker.read_artifact(run_id, FIGURES_ARTIFACT)
    return tuple(Figure.model_validate(figure) for figure in json.loads(data)) if data else ()


def every_stored_figure(tracker: Tracker, run_id: str) -> tuple[Figure, ...]:
    """The figures of a run under every protocol: those of its own evaluation, and those that it was scored on again later."""
    again = [tracker.read_artifact(run_id, path) or b"[]" for path in tracker.list_artifacts(run_id, RESCORED_FOLDER)]
    return (*stored_figures(tracker, run_id), *(Figure.model_validate(figure) for data in again for figure in json.loads(data)))


def store_rescored(tracker: Tracker, run_id: str, name: str, figures: Sequence[Figure]) -> None:
    """Keep what a later evaluation measured beside the figures of the run's own."""
    tracker.log_text(run_id, _dumped(figures), f"{RESCORED_FOLDER}/{name}.json")


def stored_evidence(tracker: Tracker, run_id: str) -> Evidence:
    """Everything of a run's final evaluation; empty where the run stored none."""
    pictures, animations, texts = (_files(tracker, run_id, folder) for folder in (PICTURES_FOLDER, ANIMATIONS_FOLDER, TEXTS_FOLDER))
    notes = json.loads(tracker.read_artifact(run_id, NOTES_ARTIFACT) or b"[]")
    words = {name: text.decode("utf-8") for name, text in texts.items()}
    return Evidence(stored_figures(tracker, run_id), pictures, words, tuple(notes), animations)


def _dumped(figures: Sequence[Figure]) -> str:
    return json.dumps([figure.model_dump() for figure in figures], indent=1)


def _files(tracker: Tracker, run_id: str, folder: str) -> dict[str, bytes]:
    """The files of an artifact folder by their names without ending."""
    return {PurePosixPath(path).stem: tracker.read_artifact(run_id, path) or b"" for path in tracker.list_artifacts(run_id, folder)}
