"""A version is scored anew under the protocol of another one, in a real process, or it is said why it cannot be."""

from pathlib import Path

import pytest

from components.data.publish import DataVersion, find_version, publish
from components.data.restore import dataset_at
from components.errors import UserError
from components.evaluation.config import EvaluationConfig
from components.evaluation.evidence import Evidence
from components.evaluation.protocol import Figure, Identity
from components.project import Project
from components.registry.stored import every_stored_figure, stored_figures
from components.tracking import SPEC_ARTIFACT, ModelVersion, Tracker
from components.training.launch import Event
from components.training.rescore import incomparable, rescore
from components.training.spec import RunSpec
from tests.conftest import PARAMS, make_project, prepare
from tests.stores import register, tracker_in, write_digits_package

pytestmark = pytest.mark.slow
SAMPLES = 64


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Digits as v1 of 400 rows and v2 of 600, which is the one that is prepared."""
    project = make_project(tmp_path_factory.mktemp("grown") / "project")
    for rows in (400, 600):
        project.params.write_text(PARAMS.replace("rows: 1797", f"rows: {rows}"))
        prepare(project, "digits")
        publish(project, "digits", actor="tester")
    return project


@pytest.fixture(scope="module")
def tracker(grown: Project, empty_store: Path) -> Tracker:
    return tracker_in(grown, empty_store)


def registered(project: Project, tracker: Tracker, folder: Path, number: int, *, seed: int, code: str = "") -> ModelVersion:
    """An untrained model of version ``number`` of the digits, with a run that says how it was scored; ``code`` is added to a file of its package."""
    data = find_version(project, "digits", f"v{number}")
    package = write_digits_package(folder / "model", seed=seed, data_version=data.version, data_sha256=data.sha256)
    if code:
        _as_of_other_code(package.folder, code)
    version = register(tracker, package, tags={"data_version": data.version, "data_sha256": data.sha256})
    tracker.log_text(version.run_id, _spec(project, tracker, data, number).model_dump_json(), SPEC_ARTIFACT)
    return version


def _spec(project: Project, tracker: Tracker, data: DataVersion, seed: int) -> RunSpec:
    return RunSpec(
        model="vae-digits", family="vae", size="tiny", seed=seed, config={}, evaluation=EvaluationConfig(num_samples=SAMPLES), dataset="digits",
        batches="image", data_version=data.version, data_sha256=data.sha256, identity="0" * 64, project=project.root, run_dir=project.runs,
        tracking_uri=tracker.uri, experiment="digits", mlflow_run_id="",
    )  # fmt: skip


def _as_of_other_code(folder: Path, code: str) -> None:
    """Make the package one whose own code differs from the code that stands here."""
    import json

    from components.code import code_digest

    spec = folder / "artifacts/spec.json"
    told = json.loads(spec.read_text())
    model = folder / "code/components/models/vae/model.py"
    model.write_text(model.read_text() + code)
    assert told["code_sha256"] == code_digest(*told["modules"])
    spec.write_text(json.dumps({**told, "code_sha256": "f" * 64}))


def test_a_version_is_scored_on_the_data_of_another_and_its_own_figures_stay(grown: Project, tracker: Tracker, tmp_path: Path) -> None:
    old = registered(grown, tracker, tmp_path / "old", 1, seed=1)
    new = registered(grown, tracker, tmp_path / "new", 2, seed=2)
    before = stored_figures(tracker, old.run_id)
    events: list[Event] = []
    rescore(grown, tracker, old, new, events.append)
    assert "score" in {event.get("phase") for event in events}
    assert stored_figures(tracker, old.run_id) == before
    again = {figure.name: figure for figure in every_stored_figure(tracker, old.run_id) if figure not in before}
    identity = again["fid_own"].identity
    assert (identity.reference_sha256, identity.num_samples) == (find_version(grown, "digits", "v2").sha256, SAMPLES)
    assert again["fid_own"].note.endswith("scored again on digits@v2")
    rescore(grown, tracker, new, new, events.append)
    assert incomparable(tracker, old, new, ["kid_own"]) == []


def test_what_cannot_be_compared_is_named(grown: Project, tracker: Tracker, tmp_path: Path) -> None:
    old, new = (registered(grown, tracker, tmp_path / str(number), number, seed=number + 2) for number in (1, 2))
    assert incomparable(tracker, old, new, ["fid_own"]) == []  # both stored the same one by hand
    rescore(grown, tracker, new, new, lambda event: None)
    assert "recall_own" not in {figure.name for figure in every_stored_figure(tracker, old.run_id)}


def test_an_older_version_of_the_data_is_restored_beside_the_prepared_one(grown: Project) -> None:
    for number in (1, 2):
        version = find_version(grown, "digits", f"v{number}")
        dataset = dataset_at(grown, version)
        assert dataset.manifest.sha256 == version.sha256
        assert dataset.table("test").num_rows > 0


def test_a_package_of_other_code_that_answers_alike_is_scored_with_the_code_at_hand(grown: Project, tracker: Tracker, tmp_path: Path) -> None:
    old = registered(grown, tracker, tmp_path / "old", 1, seed=5, code="\n\nUNUSED = 1\n")
    new = registered(grown, tracker, tmp_path / "new", 2, seed=6)
    rescore(grown, tracker, old, new, lambda event: None)
    assert len(every_stored_figure(tracker, old.run_id)) > 1


def test_a_package_of_other_code_that_answers_otherwise_is_refused(grown: Project, tracker: Tracker, tmp_path: Path) -> None:
    dark = "\n\ndraw = Vae.sample_images\nVae.sample_images = lambda self, *args, **kwargs: draw(self, *args, **kwargs) / 2\n"
    old = registered(grown, tracker, tmp_path / "old", 1, seed=7, code=dark)
    new = registered(grown, tracker, tmp_path / "new", 2, seed=8)
    with pytest.raises(UserError, match=r"cannot be scored on digits@v2 as vae-digits/\d+ was: .* \(it answers differently\): train it again"):
        rescore(grown, tracker, old, new, lambda event: None)


def test_what_only_another_vocabulary_keeps_apart_is_not_scored_again(grown: Project, tracker: Tracker, tmp_path: Path) -> None:
    def counted(vocabulary: str, reference: str) -> Figure:
        identity = Identity(metric="perplexity", num_samples=9, reference_sha256=reference, split="test", extractor="tokenizer", extractor_sha256=vocabulary)
        return Figure(name="perplexity", value=5.0, goal="min", identity=identity)

    package = write_digits_package(tmp_path / "model", seed=9)
    old, elsewhere, new = (register(tracker, package, evidence=Evidence((counted(*what),))) for what in (("a", "1"), ("a", "0"), ("b", "1")))
    assert incomparable(tracker, old, new, ["perplexity"]) == []
    assert incomparable(tracker, elsewhere, new, ["perplexity"]) == ["perplexity"]
