"""Wall time and peak memory of `genmill run` in a fresh project, then of a second run with nothing changed.

    python -m benchmarks.run_cost [--keep] [--all]

Memory is the proportional set size (PSS) of the command's process tree, sampled twice a second; the servers are started before and not counted.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

GENMILL = Path(sys.executable).with_name("genmill")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep the project and its servers")
    parser.add_argument("--all", action="store_true", help="every model of params.yaml, once")
    arguments = parser.parse_args()
    chosen = ["--all"] if arguments.all else []
    folder = Path(tempfile.mkdtemp(prefix="genmill-cost-")) / "project"
    subprocess.run([GENMILL, "init", folder], check=True, stdout=subprocess.DEVNULL)
    titles = ("first run",) if arguments.all else ("first run", "second run, servers up", "third run, servers up")
    for title in titles:
        wall_s, peak_bytes = measure(folder, chosen)
        print(f"{title}: {wall_s:.1f} s, peak {peak_bytes / 2**20:.0f} MiB", flush=True)
    if not arguments.keep:
        subprocess.run([GENMILL, "down", "--project", folder], check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(folder.parent)


def measure(folder: Path, chosen: list[str]) -> tuple[float, int]:
    """Seconds and peak PSS in bytes of one `genmill run`, with the options ``chosen``."""
    started, peak = time.monotonic(), 0
    log = folder.parent / "run.log"
    with log.open("w") as output:
        process = subprocess.Popen([GENMILL, "run", *chosen], cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    root = psutil.Process(process.pid)
    while process.poll() is None:
        peak = max(peak, pss_bytes(root))
        time.sleep(0.5)
    if process.returncode != 0:
        sys.exit(f"genmill run exited with {process.returncode}; what it printed is in {log}")
    return time.monotonic() - started, peak


def pss_bytes(root: psutil.Process) -> int:
    """PSS of ``root`` and its descendants, without the embedded servers."""
    total = 0
    try:
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    servers = {child.pid for process in family if is_server(process) for child in [process, *children(process)]}
    for process in family:
        if process.pid not in servers:
            try:
                total += process.memory_full_info().pss
            except psutil.NoSuchProcess:
                continue
    return total


def is_server(process: psutil.Process) -> bool:
    try:
        words = " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
    return "prefect server" in words or "mlflow server" in words


def children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


if __name__ == "__main__":
    main()
