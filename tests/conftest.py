"""Real projects to test on: a git repository with DVC and the two embedded datasets, in a temporary folder."""

import gc
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.data.dvc_repo import ensure_repo
from components.data.publish import publish
from components.data.stages import STAGES, probe, run_stage
from components.project import Project

PARAMS = """\
datasets:
  digits:
    modality: image
    source: {kind: digits, rows: 1797}
    split: {method: hash, train: 0.5, validation: 0.1, test: 0.4}
    clean: {min_size: 8, max_pixels: 4000000}
    augment: {copies: 1, shift: 1, rotate: 10, noise: 0.02}
    expect:
      - rule: expect_column_distinct_values_to_equal_set
        column: label
        value_set: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
        severity: critical
  pydocs:
    modality: text
    source: {kind: pydocs}
    split: {method: hash, train: 0.8, validation: 0.1, test: 0.1, seed: 54}
    clean: {min_chars: 200}
"""
CAPTIONS = """\
  captions:
    modality: image-text
    source: {kind: digits, rows: 200}
    split: {method: hash, train: 0.5, validation: 0.1, test: 0.4}
"""
SCENE = """\
  scene:
    modality: views
    source: {kind: scene, views: 6, validation_views: 2, test_views: 3, size: 16}
    split: {method: given}
"""
QUIET_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_OFFLINE": "1",
    # The models of the tests are too small for a second thread, which on a busy machine only waits in a spin.
    "OMP_NUM_THREADS": "1",
}
pytest_plugins = ["tests.stores", "tests.browser", "tests.s3", "tests.versions"]  # the stores, the package, the browser and small versions as fixtures
# Read once, when torch is loaded, and tests load it before any fixture runs.
os.environ["OMP_NUM_THREADS"] = QUIET_ENVIRONMENT["OMP_NUM_THREADS"]


@pytest.fixture(scope="session", autouse=True)
def quiet_environment() -> Iterator[None]:
    """No tool calls home, and the user's own git settings do not reach the tests."""
    kept = dict(os.environ)
    os.environ.update(QUIET_ENVIRONMENT, GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_NOSYSTEM="1")
    yield
    os.environ.clear()
    os.environ.update(kept)


def make_project(root: Path, params: str = PARAMS, *, commit: bool = True) -> Project:
    """A fresh project at ``root``: git, DVC and ``params``; its files are committed unless ``commit`` is False."""
    root.mkdir(parents=True, exist_ok=True)
    git(root, "init", "--quiet", "--initial-branch=main")
    (root / "params.yaml").write_text(params, encoding="utf-8")
    (root / ".gitignore").write_text("/.genmill/\n/reports/\n/mlflow/*\n/data/*\n/.dvc-remote/\n", encoding="utf-8")
    project = Project(root.resolve())
    ensure_repo(project)
    if commit:
        git(root, "add", "-A")
        git(root, "-c", "user.name=Tester", "-c", "user.email=tester@localhost", "commit", "--quiet", "-m", "A project")
    return project


def git(root: Path, *arguments: str) -> str:
    """What `git` prints in ``root``."""
    return subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True).stdout.strip()


def prepare(project: Project, name: str) -> None:
    """Probe and every stage of one dataset, as the flow does it."""
    probe(project, name)
    for stage in STAGES:
        run_stage(project, name, stage)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A committed project with both datasets defined and nothing prepared."""
    return make_project(tmp_path / "project")


@pytest.fixture(scope="session")
def dataset_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """READ ONLY. Both datasets, captioned digits and a scene, collected, cleaned and augmented in this process (about 2 s): enough for `Dataset.open`."""
    from components.data.augment import augment
    from components.data.clean import clean
    from components.data.collect import collect
    from components.data.stamp import read_stamp

    project = make_project(tmp_path_factory.mktemp("datasets") / "project", PARAMS + CAPTIONS + SCENE)
    for name in ("digits", "pydocs", "captions", "scene"):
        probe(project, name)
        for stage, function in (("collect", collect), ("clean", clean), ("augment", augment)):
            function(project, read_stamp(project, name, stage))
    return project


@pytest.fixture(scope="session")
def published_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """READ ONLY. Both datasets through DVC and the gate and published as v1 (about 20 s, once per session): copy it with `published`."""
    project = make_project(tmp_path_factory.mktemp("published") / "project")
    for name in ("digits", "pydocs"):
        prepare(project, name)
        publish(project, name, actor="tester")
    return project


@pytest.fixture
def published(published_project: Project, tmp_path: Path) -> Project:
    """A copy of `published_project` to do with as you like."""
    return copy_project(published_project, tmp_path / "published")


def copy_project(project: Project, root: Path) -> Project:
    shutil.copytree(project.root, root, symlinks=True)
    return Project(root)


def pytest_collection_finish(session: pytest.Session) -> None:
    """The million objects of the libraries are not gone through again at every collection of garbage: a tenth of the time of the quick tests."""
    gc.collect()
    gc.freeze()
