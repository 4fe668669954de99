"""A small dataset of images in three published versions, made in this process: some seconds, once per session."""

import shutil
from pathlib import Path

import pytest

from components.data.publish import DataVersion, publish
from components.data.stamp import read_stamp
from components.data.validate import validate
from components.project import Project
from tests.data.workbench import files, folder_project, png, run, write_images

SPLIT = {"method": "hash", "train": 0.5, "validation": 0.2, "test": 0.3}


def prepare_here(project: Project, name: str = "mine") -> None:
    """Every stage and the gate in this process, and what they made in DVC's cache and in dvc.lock: as a flow leaves it, in a tenth of the time."""
    from dvc.repo import Repo

    run(project, name)
    validate(project, read_stamp(project, name, "validate"))
    with Repo(str(project.root)) as repo:
        repo.commit(force=True)


def publish_here(project: Project, name: str = "mine", actor: str = "tester") -> DataVersion:
    prepare_here(project, name)
    return publish(project, name, actor=actor)


def change_files(project: Project) -> None:
    """One image is another one, one is gone, and three are new."""
    paths = sorted(files(project).rglob("*.png"))
    paths[0].write_bytes(png(1000))
    paths[1].unlink()
    write_images(project, 3, start=100)


@pytest.fixture(scope="session")
def unpublished_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """READ ONLY. `mine`, of 24 images, prepared and not published; its files lie beside it in `files`."""
    project = folder_project(tmp_path_factory.mktemp("unpublished"), "image", split=SPLIT)
    write_images(project, 24)
    prepare_here(project)
    return project


@pytest.fixture(scope="session")
def versions_project(unpublished_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """READ ONLY. `mine` as v1; as v2, where one row of 24 is changed, one gone and three added; and as v3 with three more. v3 is what is prepared."""
    project = copied(unpublished_project, tmp_path_factory.mktemp("versions"))
    publish(project, "mine", actor="ann")
    change_files(project)
    publish_here(project, actor="ben")
    write_images(project, 3, start=200)
    publish_here(project, actor="ben")
    return project


@pytest.fixture
def unpublished(unpublished_project: Project, tmp_path: Path) -> Project:
    """A copy of `unpublished_project` to do with as you like."""
    return copied(unpublished_project, tmp_path)


@pytest.fixture
def versioned(versions_project: Project, tmp_path: Path) -> Project:
    """A copy of `versions_project` to do with as you like."""
    return copied(versions_project, tmp_path)


def copied(project: Project, to: Path) -> Project:
    """A copy of the project and of the files beside it."""
    shutil.copytree(project.root.parent, to, symlinks=True, dirs_exist_ok=True)
    return Project(to.resolve() / project.root.name)
