"""Wall and processor time of the verbs that read: what a person waits for.

    python -m benchmarks.reads --project DIR [REF REF …]

Each verb runs as a process of its own, three times, and the fastest counts: the others waited for the disk or for somebody else. Two references
or more are compared; the newest versions in the registry where none are named.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

GENMILL = (sys.executable, "-m", "genmill")
TIMES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("refs", nargs="*")
    parser.add_argument("--project", type=Path, required=True)
    arguments = parser.parse_args()
    refs = arguments.refs or registered(arguments.project)
    if len(refs) < 2:
        sys.exit(f"{arguments.project} has {len(refs)} models, and comparing takes two: run `genmill run` there first.")
    report("import mlflow", (sys.executable, "-c", "from mlflow import MlflowClient"))
    report("import, no verb", (*GENMILL, "--help"))
    report(f"compare, {len(refs)} references", (*GENMILL, "compare", *refs, "--project", arguments.project))
    report("history", (*GENMILL, "history", refs[0].partition("/")[0], "--project", arguments.project))
    report("audit --no-rehash", (*GENMILL, "audit", refs[0], "--no-rehash", "--project", arguments.project))
    report("audit", (*GENMILL, "audit", refs[0], "--project", arguments.project))


def registered(project: Path) -> list[str]:
    """The candidates, and the champions where those are others."""
    told = subprocess.run([*GENMILL, "models", "--json", "--project", project], check=True, capture_output=True, text=True).stdout
    found = [f"{model['model']}/{model[alias]}" for model in json.loads(told) for alias in ("candidate", "champion") if model[alias]]
    return list(dict.fromkeys(found))[:5]


def report(what: str, command: tuple[str | Path, ...]) -> None:
    wall_s, core_s = min(once(command) for _ in range(TIMES))
    print(f"{what}: {wall_s:.2f} s, {core_s:.2f} s of processor time", flush=True)


def once(command: tuple[str | Path, ...]) -> tuple[float, float]:
    """Wall and processor seconds of ``command``, which must succeed."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
