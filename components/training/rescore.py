"""Scores a registered version anew, on another data version or with another extractor, so that its figures may stand beside a newer one's.

`rescore` starts `python -m components.training.rescore REQUEST.json`: like a run, the evaluation has a process of its own. What it
measures is stored in the version's run, beside the figures of its own evaluation.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import ValidationError

from components.data.published import find_trained_on
from components.data.restore import dataset_at
from components.errors import UserError
from components.evaluation.config import EvaluationConfig
from components.evaluation.protocol import Figure, differ_by_vocabulary, find_comparable
from components.params import Strict
from components.project import Project
from components.registry.loading import package_folder
from components.registry.stored import every_stored_figure, store_rescored, stored_figures
from components.tracking import SPEC_ARTIFACT, ModelVersion, Tracker
from components.training.launch import Event, in_process
from components.training.spec import Exit, RunSpec

DRAWN_BY = ("sampling_steps", "sampler", "guidance")
"""How a model draws is its own affair and stays: it is recorded beside a figure and need not match."""


class Request(Strict):
    """What a scoring process is to do."""

    version: str
    """Reference of the version, e.g. `vae-digits/3`."""
    package: Path
    project: Path
    tracking_uri: str
    run_id: str
    """MLflow run of the version."""
    dataset: str
    data_version: str
    data_sha256: str
    evaluation: EvaluationConfig

    @property
    def name(self) -> str:
        """Of the stored figures: one evaluation under one protocol stands there once."""
        return f"{self.data_version}-{hashlib.sha256(json.dumps(self.evaluation.identity(), sort_keys=True).encode()).hexdigest()[:12]}"


def incomparable(tracker: Tracker, version: ModelVersion, like: ModelVersion, names: Iterable[str]) -> list[str]:
    """Which of the figures ``names`` of ``like`` have none of ``version`` beside which they may stand, though scoring that again would give one."""
    known, wanted = every_stored_figure(tracker, version.run_id), set(names)
    missing = [figure for figure in stored_figures(tracker, like.run_id) if figure.name in wanted and find_comparable(figure, known) is None]
    return [figure.name for figure in missing if not any(differ_by_vocabulary(figure, other) for other in known)]


def rescore(project: Project, tracker: Tracker, version: ModelVersion, like: ModelVersion, on_event: Callable[[Event], None]) -> None:
    """Score ``version`` under the protocol of ``like``: on its data version, with its evaluation settings; ``on_event`` gets what the process tells.

    Raises:
        UserError: it cannot be scored so, and why.
    """
    theirs, own = _evaluation_of(tracker, like), _evaluation_of(tracker, version)
    request = Request(
        version=version.ref, package=package_folder(project, tracker, version), project=project.root, tracking_uri=tracker.uri, run_id=version.run_id,
        dataset=like.tag("dataset"), data_version=like.tag("data_version"), data_sha256=like.tag("data_sha256"),
        evaluation=theirs.model_copy(update={name: getattr(own, name) for name in DRAWN_BY}),
    )  # fmt: skip
    folder = project.state / "rescored" / f"{version.name}-{version.version}-{request.name}"
    folder.mkdir(parents=True, exist_ok=True)
    file, log, sentence = folder / "REQUEST.json", folder / "log.txt", folder / "ERROR.txt"
    file.write_text(request.model_dump_json(indent=1), encoding="utf-8")
    sentence.unlink(missing_ok=True)
    code, received = in_process("components.training.rescore", file, log, on_event)
    if received:
        raise KeyboardInterrupt
    if code != Exit.FINISHED:
        why = sentence.read_text(encoding="utf-8") if sentence.is_file() else f"its process ended with exit code {code}; its log is {log}"
        raise UserError(f"{version.ref} cannot be scored on {request.dataset}@{request.data_version} as {like.ref} was: {why}")


def _evaluation_of(tracker: Tracker, version: ModelVersion) -> EvaluationConfig:
    stored = tracker.read_artifact(version.run_id, SPEC_ARTIFACT)
    try:
        return RunSpec.model_validate_json(stored or b"").evaluation
    except ValidationError:
        raise UserError(f"The run of {version.ref} does not say how it was scored: train it again.") from None


def score(request: Request) -> None:
    """The work of the process."""
    from components.evaluation.evaluate import evaluate, require_enough, require_scorable
    from components.evaluation.extractor_files import located
    from components.registry.reopening import reopen
    from components.training.hardware import choose
    from components.training.progress import Telling

    project = Project(request.project)
    dataset = dataset_at(project, find_trained_on(project, request.dataset, request.data_version, request.data_sha256))
    assert dataset.manifest.sha256 == request.data_sha256, "a version's digest never changes"
    model, data_spec = reopen(request.package)
    if data_spec.class_names != dataset.class_names:
        raise UserError(f"it knows {len(data_spec.class_names)} classes and this data has {len(dataset.class_names)}, or others: train it again.")
    require_enough(dataset)
    config = located(request.evaluation, project.root)
    require_scorable(model, dataset, data_spec, config)
    hardware = choose("auto", "auto", sum(parameter.numel() for parameter in model.parameters()))
    hardware.apply()
    evidence = evaluate(model.to(hardware.device), dataset, data_spec, config=config, cache=project.cache, tell=Telling("score"))
    store_rescored(Tracker(request.tracking_uri), request.run_id, request.name, _noted(evidence.figures, request))


def _noted(figures: Iterable[Figure], request: Request) -> list[Figure]:
    said = f"scored again on {request.dataset}@{request.data_version}"
    return [figure.model_copy(update={"note": f"{figure.note}; {said}" if figure.note else said}) for figure in figures]


def main(arguments: list[str]) -> int:
    from components.training.progress import emit
    from components.training.run import attempt
    from components.training.stopping import UNTIL_STDIN_CLOSES, StopRequest

    StopRequest().listen(until_stdin_closes=UNTIL_STDIN_CLOSES in arguments)
    emit("started", pid=os.getpid())
    file = Path(arguments[0])
    request = Request.model_validate_json(file.read_text(encoding="utf-8"))
    _, status, message = attempt(lambda: score(request))
    if status != Exit.FINISHED:
        file.with_name("ERROR.txt").write_text(message, encoding="utf-8")
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
