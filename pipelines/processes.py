"""Whether a process that was noted down still runs."""

import psutil


def still_runs(pid: int, created: float) -> bool:
    """Whether the process ``pid`` that began at ``created`` (seconds) runs; the time tells it from another that has its number by now."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - created) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
