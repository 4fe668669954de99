"""What a stage depends on: its own code, params and source, and nothing else."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import make_project

REPOSITORY = Path(__file__).resolve().parents[2]
_CODE = """
import json, sys
from pathlib import Path
from components.data.config import load_project_datasets
from components.data.stamp import STAGES, make_stamp
from components.project import Project
project = Project(Path(sys.argv[1]))
configs = load_project_datasets(project)
print(json.dumps({f"{stage}@{name}": make_stamp(config, stage, project.root).code for name, config in configs.items() for stage in STAGES}))
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the code that may be changed."""
    shutil.copytree(REPOSITORY / "components", tmp_path / "tree" / "components", ignore=shutil.ignore_patterns("__pycache__", "*.yaml"))
    return tmp_path / "tree"


def digests(tree: Path, tmp_path: Path) -> dict[str, str]:
    project = tmp_path / "project"
    if not project.exists():
        make_project(project)
    done = subprocess.run([sys.executable, "-c", _CODE, str(project)], cwd=tree, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("data/sources/pydocs.py", {"collect@pydocs"}),
        ("data/modalities/image.py", {f"{stage}@digits" for stage in ("collect", "clean", "augment", "validate")}),
        ("data/gate/dataset_rules.py", {"validate@digits", "validate@pydocs"}),
        ("data/publish.py", set()),
        ("models/family.py", set()),
    ],
)
def test_a_change_of_code_changes_the_stages_that_use_it(tree: Path, tmp_path: Path, file: str, stages: set[str]) -> None:
    before = digests(tree, tmp_path)
    path = tree / "components" / file
    path.write_text(path.read_text() + "\n_ADDED = 1\n")
    after = digests(tree, tmp_path)
    assert {key for key in after if after[key] != before[key]} == stages


def test_a_comment_changes_nothing(tree: Path, tmp_path: Path) -> None:
    before = digests(tree, tmp_path)
    path = tree / "components" / "data" / "clean.py"
    path.write_text("# a word\n" + path.read_text())
    assert digests(tree, tmp_path) == before
