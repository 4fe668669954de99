"""The shape of the repository that everything else relies on."""

import importlib
import inspect
import subprocess
import sys
import tomllib
from importlib.metadata import distributions, version
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def test_the_store_folder_does_not_hide_the_mlflow_package() -> None:
    assert not list((ROOT / "mlflow").glob("*.py"))
    found = subprocess.run([sys.executable, "-c", "import mlflow; print(mlflow.__version__)"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == version("mlflow")


def test_torch_is_the_pinned_version() -> None:
    assert version("torch").split("+")[0] == "2.13.0"


def test_every_installed_package_is_pinned_in_the_lock() -> None:
    pins = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().split())
    pins = {name.lower().replace("_", "-").replace(".", "-"): pin for name, pin in pins.items()}
    brought_by_torch_or_python = ("nvidia-", "cuda-", "triton", "genmill", "pip", "wheel")
    loose = []
    for found in distributions():
        name = found.metadata["Name"].lower().replace("_", "-").replace(".", "-")
        if name.startswith(brought_by_torch_or_python):
            continue
        if pins.get(name) != found.version.split("+")[0]:
            loose.append(f"{name} {found.version} (lock: {pins.get(name)})")
    assert not loose


def test_no_dependency_that_replaces_or_breaks_torch_is_pinned() -> None:
    pins = {line.split("==")[0] for line in (ROOT / "requirements.lock").read_text().split()}
    assert not pins & {"torchvision", "torch-fidelity", "lpips", "timm", "open-clip-torch", "clean-fid"}


def test_sqlalchemy_stays_below_the_version_that_breaks_prefects_scheduler() -> None:
    assert tuple(map(int, version("sqlalchemy").split(".")[:2])) < (2, 1)


def test_fastapi_stays_below_the_version_that_breaks_prefect() -> None:
    assert tuple(map(int, version("fastapi").split(".")[:2])) < (0, 151)


def test_a_new_project_starts_from_the_same_files_as_the_clone() -> None:
    assert (ROOT / "genmill" / "template" / "params.yaml").resolve() == ROOT / "params.yaml"
    assert (ROOT / "components" / "data" / "templates" / "dvc.yaml").resolve() == ROOT / "dvc.yaml"


def test_every_package_folder_is_shipped() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert config["tool"]["setuptools"]["packages"]["find"]["include"] == ["genmill*", "pipelines*", "components*"]
    folders = {file.parent for top in ("genmill", "pipelines", "components") for file in (ROOT / top).rglob("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_prefect_yaml_deploys_flows_that_exist_with_parameters_they_take() -> None:
    found = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    assert found["prefect-version"] == version("prefect")
    assert len(found["deployments"]) == 3
    for deployment in found["deployments"]:
        module, _, function = deployment["entrypoint"].rpartition(".")
        flow = getattr(importlib.import_module(module), function)
        assert set(deployment["parameters"]) <= set(inspect.signature(flow.fn).parameters)
        assert deployment["work_pool"] == {"name": "genmill"}
