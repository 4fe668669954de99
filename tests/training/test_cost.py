"""What a run is said to have taken is what it took."""

import subprocess
import sys

import pytest

HOLD = "held = bytearray(300 * 2**20); held[::4096] = bytes(len(held[::4096]))"
PRINT = "from components.training.cost import peak_memory_bytes; print(peak_memory_bytes() // 2**20)"


def peak_mib(*lines: str) -> int:
    """What a process that does ``lines`` says of its memory."""
    return int(subprocess.run([sys.executable, "-c", "\n".join(["import subprocess, sys", *lines, PRINT])], check=True, capture_output=True, text=True).stdout)


def test_a_small_child_does_not_count_with_what_its_parent_holds() -> None:
    assert 300 <= peak_mib(HOLD, "subprocess.run(['true'])") < 450


@pytest.mark.parametrize("where", ["here", "child"])
def test_what_was_held_for_a_moment_counts_in_this_process_and_in_a_child(where: str) -> None:
    assert 300 <= peak_mib(HOLD, "del held") < 450 if where == "here" else 300 <= peak_mib(f"subprocess.run([sys.executable, '-c', {HOLD!r}])") < 450
