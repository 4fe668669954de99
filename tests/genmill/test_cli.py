"""The command line by itself: speed of start, help, and the sentence for what the user can mend."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workshop import GENMILL, clean_environment

VERBS = [
    "init", "doctor", "env", "run", "plan", "models", "compare", "audit", "reproduce", "sample", "export",
    "promote", "approve", "rollback", "history", "up", "down", "status", "deploy", "trigger",
]  # fmt: skip


def genmill(*args: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(GENMILL), *args], cwd=cwd, env={**clean_environment(), "COLUMNS": "200", **(env or {})}, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    done = genmill("init", "shop", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path / "shop"


def test_help_imports_no_heavy_library(tmp_path: Path) -> None:
    code = "import sys, genmill.__main__; print([m for m in ('torch', 'mlflow', 'prefect', 'dvc', 'pandas', 'pytorch_lightning') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str, tmp_path: Path) -> None:
    done = genmill(verb, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"genmill {verb}" in done.stdout.split("Example:")[1]


def test_outside_a_project_the_way_to_make_one_is_named(tmp_path: Path) -> None:
    done = genmill("run", cwd=tmp_path)
    assert done.returncode == 2
    assert "genmill init" in done.stderr
    assert "Traceback" not in done.stderr


def test_init_makes_a_project_with_git_and_dvc_that_doctor_accepts(project: Path) -> None:
    done = genmill("doctor", "--json", cwd=project)
    checks = {row["check"]: row for row in json.loads(done.stdout)}
    assert checks["git repository"]["ok"]
    assert checks["params.yaml"]["ok"]


def test_init_refuses_a_folder_that_is_a_project(project: Path) -> None:
    done = genmill("init", str(project), cwd=project.parent)
    assert done.returncode == 2
    assert "is a project already" in done.stderr


def test_a_misspelt_family_exits_2_with_line_and_word(project: Path) -> None:
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("family: vae", "family: vea", 1))
    done = genmill("plan", cwd=project)
    assert done.returncode == 2
    assert "did you mean 'vae'?" in done.stderr
    assert "params.yaml line" in done.stderr


def test_a_misspelt_model_exits_2_with_the_nearest_word(project: Path) -> None:
    done = genmill("run", "vae-digts", cwd=project)
    assert done.returncode == 2
    assert "did you mean 'vae-digits'?" in done.stderr


def test_force_without_a_reason_and_auto_of_a_model_that_is_not_are_refused(project: Path) -> None:
    done = genmill("promote", "--auto", "vae-digits", cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert "set `promotion: {auto: true}`" in done.stderr
    assert "Name one model" in genmill("promote", cwd=project).stderr


@pytest.mark.slow
def test_promoting_what_does_not_exist_is_refused_before_any_server_starts(project: Path) -> None:
    refused = {"vae-digts": "did you mean 'vae-digits'?", "vae-digits/3": "none is registered yet", "vae-digits/x": "is no model reference"}
    for reference, answer in refused.items():
        done = genmill("promote", reference, cwd=project)
        assert (done.returncode, done.stdout) == (2, "")
        assert answer in done.stderr
        assert "servers" not in done.stderr


def test_a_folder_without_git_is_refused_before_any_work(tmp_path: Path, project: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        (bare / name).write_bytes((project / name).read_bytes())
    done = genmill("run", cwd=bare, env={"GIT_CEILING_DIRECTORIES": str(tmp_path)})
    assert done.returncode == 2
    assert "git init" in done.stderr


def test_a_server_that_is_down_is_named_with_the_fix(project: Path) -> None:
    done = genmill("run", cwd=project, env={"PREFECT_API_URL": "http://127.0.0.1:9/api"})
    assert done.returncode == 2
    assert "PREFECT_API_URL=http://127.0.0.1:9/api does not answer" in done.stderr


def test_env_exports_this_projects_store(project: Path) -> None:
    done = genmill("env", cwd=project)
    assert f"export MLFLOW_TRACKING_URI=sqlite:///{project}/mlflow/mlflow.db" in done.stdout


def test_a_full_disk_is_one_sentence() -> None:
    code = "from genmill import __main__ as m; m.app = lambda: open('/dev/full', 'w', buffering=1).write('x\\n'); m.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "disk is full" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "place"),
    [
        (("sample", "vae-digits"), "/proc/nowhere/digits.png"),
        (("sample", "vae-digits"), "params.yaml/digits.png"),
        (("compare", "vae-digits", "gan-digits"), "params.yaml/page.html"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_sentence_before_the_work(project: Path, asked: tuple[str, ...], place: str) -> None:
    done = genmill(*asked, "--out", place, cwd=project)
    assert done.returncode == 2
    assert f"{place} cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
