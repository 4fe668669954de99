"""How far a long stage is, on stderr: what, how far, how long still. A short one says nothing."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

_QUIET_S = 5.0
"""Nothing is said before, nor again sooner."""


class Progress:
    """Counts the steps of one piece of work."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._started = self._said = time.monotonic()

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """``items`` as they come, each a step."""
        for item in items:
            self.step()
            yield item

    def step(self, number: int = 1) -> None:
        self._done += number
        now = time.monotonic()
        if now - self._said >= _QUIET_S and self._done < self._total:
            self._said = now
            left_s = (now - self._started) / self._done * (self._total - self._done)
            print(f"  {self._what}: {self._done:,} of {self._total:,} shards, about {_duration(left_s)} left", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
