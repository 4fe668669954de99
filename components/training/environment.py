"""What a run depended on besides its data and code, written down in its own process: the params as they were resolved, the libraries, the machine."""

import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path

from components.tracking import ENVIRONMENT_ARTIFACT, SPEC_ARTIFACT, Tracker
from components.training.spec import RunSpec


def record_inputs(tracker: Tracker, spec: RunSpec) -> None:
    """Store params and environment with the run, and their digests as tags, so that neither can be changed unseen."""
    params, environment = spec.model_dump_json(indent=1), installed()
    tracker.log_text(spec.mlflow_run_id, params, SPEC_ARTIFACT)
    tracker.log_text(spec.mlflow_run_id, environment, ENVIRONMENT_ARTIFACT)
    digests = {"spec_sha256": _sha256(params), "environment_sha256": _sha256(environment)}
    tracker.set_tags(spec.mlflow_run_id, {**digests, "machine": machine(), "python": platform.python_version()})


def installed() -> str:
    """Every distribution that can be imported here as `name==version`, a line each, sorted; of two with one name the first on the path counts.

    What an interrupted removal left behind, a folder of metadata without a name, is none of them.
    """
    versions: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        if name := _name(distribution):
            versions.setdefault(name.lower().replace("_", "-"), distribution.version)
    return "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()))


def _name(distribution: importlib.metadata.Distribution) -> str | None:
    try:
        described = distribution.metadata
    except FileNotFoundError:  # so the backport has it, which finds distributions too wherever it was imported
        return None
    return next(iter(described.get_all("Name", [])), None)


def machine() -> str:
    """System, processor and cores, e.g. `Linux x86_64, Intel(R) Xeon(R) CPU, 8 cores`; never the host's name."""
    return f"{platform.system()} {platform.machine()}, {_processor()}, {os.cpu_count()} cores"


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8", errors="replace").splitlines() if described.is_file() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or "unknown processor"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
