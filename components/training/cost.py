"""What a process has used up so far."""

import resource
import sys
from pathlib import Path


def core_seconds() -> float:
    """CPU seconds of this process and of the workers it has waited for."""
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_memory_bytes() -> int:
    """Most memory that this process or one of its workers held at once.

    Not their sum: a child that was only started and ended counts with all that its parent held then, before it became another program.
    """
    return max(_own_peak(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * _unit())


def _own_peak() -> int:
    status = Path("/proc/self/status")
    if status.is_file():
        # The kernel's maxrss starts from what the parent held when it forked; this figure is the process's own.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _unit()


def _unit() -> int:
    return 1 if sys.platform == "darwin" else 1024
