"""What this machine has, and how a run makes use of it. Every choice is logged with the run."""

import os
from pathlib import Path

import torch

from components.errors import UserError, nearest
from components.params import Strict

BF16_FROM_PARAMETERS = 4_000_000
"""Below this bfloat16 is slower than float32 on a CPU: the casts cost more than the products save."""
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "32-true", "bf16-mixed")


class Hardware(Strict):
    """How a run uses the machine; every field becomes a param of the MLflow run."""

    device: str
    """`cpu`, `cuda` or `mps`."""
    device_name: str
    precision: str
    """As Lightning names it: `32-true` or `bf16-mixed`."""
    matmul: str
    """What float32 matrix products may use inside: `highest` is float32 throughout, `high` TF32, `medium` bfloat16."""
    threads: int
    workers: int = 0
    """Processes that load data; 0 while everything is held in memory."""

    def apply(self) -> None:
        """Set torch's process-wide switches."""
        torch.set_num_threads(self.threads)
        torch.set_float32_matmul_precision(self.matmul)


def choose(device: str, precision: str, num_parameters: int) -> Hardware:
    """The hardware settings for a model of ``num_parameters``.

    Raises:
        UserError: a device or precision that is unknown or not here.
    """
    for value, known, what in ((device, DEVICES, "device"), (precision, PRECISIONS, "precision")):
        if value not in known:
            raise UserError(f"There is no {what} {value!r}; {nearest(value, known)}")
    chosen = _device(device)
    return Hardware(
        device=chosen,
        device_name=torch.cuda.get_device_name() if chosen == "cuda" else chosen,
        precision=_precision(chosen, num_parameters) if precision == "auto" else precision,
        matmul="high" if chosen == "cuda" else "medium",
        threads=usable_cores(),
    )


def usable_cores() -> int:
    """Cores that this process may use: by its affinity, the quota of its control group, and OMP_NUM_THREADS where that is set."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, period = quota.read_text().split()
        if limit != "max":
            cores = min(cores, max(1, round(int(limit) / int(period))))
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, max(1, int(asked))) if asked.isdigit() else cores


def _device(wanted: str) -> str:
    here = ["cpu"]
    if torch.cuda.is_available():
        here.insert(0, "cuda")
    if torch.backends.mps.is_available():
        here.insert(0, "mps")
    if wanted == "auto":
        return here[0]
    if wanted not in here:
        raise UserError(f"This machine has no {wanted} device: set device to 'auto' or 'cpu'.")
    return wanted


def _precision(device: str, num_parameters: int) -> str:
    if device == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    if device == "cpu" and num_parameters > BF16_FROM_PARAMETERS and torch.cpu._is_amx_tile_supported():
        return "bf16-mixed"
    return "32-true"
