"""The environment that every tool must see before it is imported: local homes, silence, no telemetry."""

import os
import sys
import warnings
from pathlib import Path

from components.project import Project

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GIT_PYTHON_REFRESH": "quiet",
    "TOKENIZERS_PARALLELISM": "true",
    "PYTHONWARNINGS": "ignore",
}


def quiet_tools() -> None:
    """Turn off the telemetry and the chatter of every tool, for this process and its children."""
    for key, value in QUIET.items():
        os.environ.setdefault(key, value)
    warnings.filterwarnings("ignore")


def project_environment(project: Project) -> dict[str, str]:
    """What `eval "$(genmill env)"` exports: where this project's Prefect and MLflow live."""
    from components.tracking import Tracker
    from pipelines.servers import find_server

    server = find_server(project, "prefect")
    prefect = os.environ.get("PREFECT_API_URL") or (f"{server.url}/api" if server else "")
    found = {
        "PREFECT_HOME": os.environ["PREFECT_HOME"],
        "PREFECT_API_URL": prefect,
        "MLFLOW_TRACKING_URI": Tracker.of(project).uri,
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # `mlflow models serve` runs `uvicorn` by its bare name.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), *os.environ.get("PATH", "").split(os.pathsep)]),
    }
    return {key: value for key, value in found.items() if value}


def prepare_environment(project: Project) -> None:
    """Point Prefect at this project's home; call before `prefect` is first imported."""
    quiet_tools()
    os.environ.setdefault("PREFECT_HOME", str(project.state / "prefect"))
    os.environ.setdefault("PREFECT_LOGGING_SETTINGS_PATH", str(Path(__file__).with_name("logging.yml")))
