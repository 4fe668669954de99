"""The audit of a model that was trained on drawn data goes back to the version that drew it, and to the real rows beside."""

from pathlib import Path

import pytest

from components.data.dataset import Manifest
from components.data.result import ValidationResult
from components.project import Project
from components.registry.audit.generation import generation_rows
from components.registry.package import Package
from components.tracking import ModelVersion, Tracker
from tests.conftest import make_project
from tests.stores import published_as, register, tracker_in

Trained = tuple[Project, Tracker, ModelVersion]


@pytest.fixture
def trained(tmp_path: Path, empty_store: Path, package: Package) -> Trained:
    """A version that says it was trained on `more`: rows drawn by itself beside those of digits."""
    project = make_project(tmp_path / "project")
    tracker = tracker_in(project, empty_store)
    version = register(tracker, package)
    publish(project, Manifest(name="digits", modality="image", stage="augment", shards=()))
    return project, tracker, version


def publish(project: Project, manifest: Manifest) -> str:
    result = ValidationResult(name=manifest.name, outcome="passed", manifest_sha256=manifest.sha256, rows={}, dropped={}, rules=())
    return published_as(project, manifest, result, "v1").sha256


def links(trained: Trained, **changes: str) -> dict[str, bool | None]:
    """What the audit says of a version trained on data whose source is as recorded but for ``changes``."""
    project, tracker, version = trained
    digits = Manifest(name="digits", modality="image", stage="augment", shards=()).sha256
    source = {
        "kind": "synthetic", "model": version.ref, "package_sha256": version.tag("package_sha256"), "trained_on": "digits@v1", "data_sha256": digits,
        "real": "digits", "real_sha256": digits, "path": "data/generated/vae-digits", **changes,
    }  # fmt: skip
    more = publish(project, Manifest(name="more", modality="image", stage="augment", shards=(), source=source))
    on_more = version.model_copy(update={"tags": {**version.tags, "genmill.dataset": "more", "genmill.data_version": "v1", "genmill.data_sha256": more}})
    return {row.link: row.ok for row in generation_rows(project, tracker, on_more)}


def test_the_version_that_drew_its_data_and_the_real_rows_are_named_and_hold(trained: Trained) -> None:
    ref = trained[2].ref
    assert links(trained) == {f"drawn by {ref}, package": True, f"data of {ref}: digits@v1": True, "real rows: digits@v1": True}


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"package_sha256": "0" * 64}, "drawn by"),
        ({"model": "vae-digits/7"}, "drawn by vae-digits/7"),
        ({"data_sha256": "0" * 64}, "data of"),
        ({"real_sha256": "0" * 64}, "real rows: digits@?"),
    ],
)
def test_what_is_no_longer_as_recorded_is_a_broken_link(trained: Trained, changes: dict[str, str], broken: str) -> None:
    assert [link for link, ok in links(trained, **changes).items() if not ok and link.startswith(broken)]


def test_data_that_nothing_drew_has_no_such_rows(trained: Trained) -> None:
    assert links(trained, kind="folder") == {}
