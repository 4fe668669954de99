"""The parent's side of a run: starts its process, passes events and signals on, and brings the result back."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from components.code import PACKAGE_ROOT
from components.errors import UserError
from components.training.files import checkpoint_folder, last_checkpoint
from components.training.spec import Exit, RunResult, RunSpec
from components.training.stopping import UNTIL_STDIN_CLOSES

Event = dict[str, Any]
RUN_JSON, RESULT_JSON, LOG = "RUN.json", "RESULT.json", "log.txt"
STOP_WAIT_S = 10.0
FAST = {
    # A waiting thread spins briefly, then sleeps: as fast as the default on an idle machine, and 5 to 8 times faster beside one busy process.
    "GOMP_SPINCOUNT": "10000",
    # glibc keeps freed memory: by default each large tensor is mapped and faulted in anew at every step. Those above 64 MiB are whole splits.
    "MALLOC_MMAP_THRESHOLD_": str(2**26),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**26),
}
"""Settings that the libraries read when they are loaded; what the user has set stays."""


def launch(spec: RunSpec, on_event: Callable[[Event], None]) -> RunResult:
    """Do a run in a process of its own, in its own session; ``on_event`` gets each JSON line that it writes.

    SIGINT and SIGTERM of this process stop the run behind a checkpoint, and are raised here afterwards. When this process dies, however it
    dies, the run's stdin closes and it stops in the same way. From a thread that is not the main one signals cannot be taken over: there the end of
    this process is what stops the run.

    Raises:
        UserError: the run cannot be done as it is; nothing was trained.
    """
    code, received = follow(spec.run_dir, spec.model_dump_json(indent=1), on_event)
    result = _result(spec, spec.run_dir / RESULT_JSON, code, spec.run_dir / LOG)
    if code == Exit.USER_ERROR:
        raise UserError(result.message)
    if received:
        # The handlers of this process are back in place: it is stopped as it would have been.
        signal.raise_signal(received[0])
    return result


def follow(run_dir: Path, run_json: str, on_event: Callable[[Event], None], *, code: Path = PACKAGE_ROOT, threads: int | None = None) -> tuple[int, list[int]]:
    """Do the run that ``run_json`` describes; ``code`` and ``threads`` as for `in_process`."""
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / RUN_JSON).write_text(run_json, encoding="utf-8")
    (run_dir / RESULT_JSON).unlink(missing_ok=True)
    return in_process("components.training", run_dir / RUN_JSON, run_dir / LOG, on_event, code=code, threads=threads)


def in_process(
    module: str, request: Path, log: Path, on_event: Callable[[Event], None], *, code: Path = PACKAGE_ROOT, threads: int | None = None
) -> tuple[int, list[int]]:
    """Run `python -m MODULE REQUEST` in a session of its own; returns its exit code, and the signals that were passed on to it.

    ``on_event`` gets each JSON line that it writes, and the file ``log`` its stderr. Its package `components` is that of the folder ``code``;
    ``threads`` are those that it may use, where that is not left to the machine.
    """
    with log.open("ab") as errors, _process(module, request, errors, code, threads) as process, _forwarded(process) as received:
        assert process.stdout is not None
        for line in process.stdout:
            on_event(_event(line))
        return process.wait(), received


def _event(line: str) -> Event:
    """The event of a line; what a library printed becomes a line for people."""
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        event = None
    return event if isinstance(event, dict) and "event" in event else {"event": "say", "message": line.rstrip()}


@contextlib.contextmanager
def _process(module: str, request: Path, errors: Any, code: Path, threads: int | None) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", module, str(request), UNTIL_STDIN_CLOSES]
    paths = [str(code), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**FAST, **os.environ, "PYTHONPATH": os.pathsep.join(paths), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8", env=environment, start_new_session=True,
        cwd=None if code == PACKAGE_ROOT else code,  # the folder that one stands in comes first on the path
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()


@contextlib.contextmanager
def _forwarded(process: "subprocess.Popen[str]") -> Iterator[list[int]]:
    """Pass SIGINT and SIGTERM on to ``process``; which ones came is noted in the list."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _result(spec: RunSpec, result_json: Path, code: int, log: Path) -> RunResult:
    if result_json.is_file():
        return RunResult.model_validate_json(result_json.read_text(encoding="utf-8"))
    _, steps = last_checkpoint(checkpoint_folder(spec.run_dir))
    if code == Exit.INTERRUPTED:
        return RunResult(status="interrupted", message="interrupted in the middle of a step", mlflow_run_id=spec.mlflow_run_id, steps=steps)
    how = f"was killed by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
    return RunResult(status="failed", message=f"The run's process {how} and left no result; its log is {log}.", mlflow_run_id=spec.mlflow_run_id, steps=steps)
