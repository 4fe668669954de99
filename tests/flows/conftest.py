"""One small project, built once by the real command line with real servers, for every test of the joined story."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.workshop import Workshop, make_workshop


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workshop, subprocess.CompletedProcess[str]]]:
    """The project after its first `genmill run`; its servers are stopped at the end."""
    workshop = make_workshop(tmp_path_factory.mktemp("built") / "project")
    try:
        yield workshop, workshop.run("run")
    finally:
        workshop.run("down", code=None)
        shutil.rmtree(workshop.root, ignore_errors=True)


@pytest.fixture
def shop(built: tuple[Workshop, subprocess.CompletedProcess[str]]) -> Workshop:
    return built[0]
