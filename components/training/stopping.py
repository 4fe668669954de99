"""How a run's process is asked to stop: SIGTERM, SIGINT, or the end of its parent."""

import os
import signal
import sys
import threading
from types import FrameType

from components.training.spec import Exit

GRACE_S = 3.0
UNTIL_STDIN_CLOSES = "--until-stdin-closes"
"""Argument of a run's process: the end of its stdin means that its parent is gone."""


class Interrupted(BaseException):
    """The run was asked to stop; what it had reached is kept. No `except Exception` on its way may swallow it."""


class StopRequest:
    """Training looks at ``requested`` after each step, to stop behind a checkpoint; other phases are left at once.

    A step that outlasts the grace is cut off: then the run goes on from its last checkpoint.
    """

    def __init__(self) -> None:
        self.requested = False
        self.between_steps_only = False
        """While set, a request waits for the end of the step."""

    def listen(self, *, until_stdin_closes: bool) -> None:
        """Take the signals of this process over; with ``until_stdin_closes`` the end of stdin counts as one."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        if until_stdin_closes:
            threading.Thread(target=_watch_stdin, name="life-line", daemon=True).start()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            return
        self.requested = True
        timer = threading.Timer(GRACE_S, os._exit, [int(Exit.INTERRUPTED)])
        timer.daemon = True
        timer.start()
        if not self.between_steps_only:
            raise Interrupted


def _watch_stdin() -> None:
    """The parent holds the other end of stdin and never writes: it closes when the parent ends, however it ends."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
