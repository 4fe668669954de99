"""What it takes to run by itself: seconds until `up` and `deploy` are done and a reused scheduled run is finished, and the memory of what idles.

    python -m benchmarks.services --project DIR

Everything of the project is stopped first and at the end. The first model of its default set must be trained already, so that the scheduled run reuses it.
"""

import argparse
import json
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil

GENMILL = (sys.executable, "-m", "genmill")
TIMES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--schedule", default="nightly", help="of params.yaml")
    arguments = parser.parse_args()
    project = arguments.project.resolve()
    verb(project, "down")
    print(f"up: {median([timed(project, 'up', before='down') for _ in range(TIMES)]):.1f} s")
    print(f"deploy: {median([timed(project, 'deploy') for _ in range(TIMES)]):.1f} s")
    time.sleep(20)  # what starts with the servers has settled by then
    memory = {row["name"]: pss_mib(row["process"]) for row in json.loads(verb(project, "status", "--json")) if row["process"]}
    print(f"idle: {sum(memory.values()):.0f} MiB PSS ({', '.join(f'{name} {mib:.0f}' for name, mib in memory.items())})")
    runs = [scheduled(project, arguments.schedule) for _ in range(TIMES)]
    print(f"a scheduled run that reuses everything: {median([taken for _, taken in runs]):.1f} s from Running to finished, begun", end=" ")
    print(f"{median([waited for waited, _ in runs]):.1f} s after it was due")
    verb(project, "down")


def verb(project: Path, *arguments: str) -> str:
    return subprocess.run([*GENMILL, *arguments, "--project", project], check=True, capture_output=True, text=True).stdout


def timed(project: Path, name: str, *, before: str | None = None) -> float:
    if before:
        verb(project, before)
    began = time.monotonic()
    verb(project, name)
    return time.monotonic() - began


def pss_mib(pid: int) -> float:
    """Of a process and all that it started."""
    root = psutil.Process(pid)
    return sum(process.memory_full_info().pss for process in [root, *root.children(recursive=True)]) / 2**20


def scheduled(project: Path, name: str) -> tuple[float, float]:
    """Seconds that a run of the schedule ``name`` waited for its worker to begin it, and that it took from then on."""
    run_id = json.loads(verb(project, "trigger", name, "--json"))["flow_run_id"]
    address = json.loads((project / ".genmill" / "servers" / "prefect.json").read_text())["url"]
    run: dict[str, Any] = {"state_type": "SCHEDULED"}
    while run["state_type"] in ("SCHEDULED", "PENDING", "RUNNING"):
        time.sleep(0.2)
        run = httpx.get(f"{address}/api/flow_runs/{run_id}").raise_for_status().json()
    if not (run["state"]["message"] or "").startswith("Nothing changed"):
        sys.exit(f"The run of {name} did not reuse everything ({run['state']['name']}): `genmill run` first.")
    due, began, ended = (datetime.fromisoformat(run[key]) for key in ("expected_start_time", "start_time", "end_time"))
    return (began - due).total_seconds(), (ended - began).total_seconds()


if __name__ == "__main__":
    main()
