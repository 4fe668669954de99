"""What a run stored of its evaluation, read back: the source of every comparison, so that nothing is measured twice."""

import json
from pathlib import PurePosixPath

from components.evaluation.evidence import Evidence
from components.evaluation.protocol import Figure
from components.tracking import ANIMATIONS_FOLDER, FIGURES_ARTIFACT, NOTES_ARTIFACT, PICTURES_FOLDER, TEXTS_FOLDER, Tracker


def store_evidence(tracker: Tracker, run_id: str, evidence: Evidence) -> None:
    """Log ``evidence`` as the artifacts that `stored_evidence` reads."""
    for name, png in evidence.pictures.items():
        tracker.log_bytes(run_id, png, f"{PICTURES_FOLDER}/{name}.png")
    for name, gif in evidence.animations.items():
        tracker.log_bytes(run_id, gif, f"{ANIMATIONS_FOLDER}/{name}.gif")
    for name, text in evidence.texts.items():
        tracker.log_text(run_id, text, f"{TEXTS_FOLDER}/{name}.txt")
    tracker.log_text(run_id, json.dumps(evidence.notes), NOTES_ARTIFACT)
    tracker.log_text(run_id, json.dumps([figure.model_dump() for figure in evidence.figures], indent=1), FIGURES_ARTIFACT)


def stored_figures(tracker: Tracker, run_id: str) -> tuple[Figure, ...]:
    """The figures of a run; none where it stored none."""
    data = tracker.read_artifact(run_id, FIGURES_ARTIFACT)
    return tuple(Figure.model_validate(figure) for figure in json.loads(data)) if data else ()


def stored_evidence(tracker: Tracker, run_id: str) -> Evidence:
    """Everything of a run's final evaluation; empty where the run stored none."""
    pictures, animations, texts = (_files(tracker, run_id, folder) for folder in (PICTURES_FOLDER, ANIMATIONS_FOLDER, TEXTS_FOLDER))
    notes = json.loads(tracker.read_artifact(run_id, NOTES_ARTIFACT) or b"[]")
    words = {name: text.decode("utf-8") for name, text in texts.items()}
    return Evidence(stored_figures(tracker, run_id), pictures, words, tuple(notes), animations)


def _files(tracker: Tracker, run_id: str, folder: str) -> dict[str, bytes]:
    """The files of an artifact folder by their names without ending."""
    return {PurePosixPath(path).stem: tracker.read_artifact(run_id, path) or b"" for path in tracker.list_artifacts(run_id, folder)}
