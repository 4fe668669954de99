"""Runs one function over many tasks: here when the work is small, else in a pool of local processes.

The functions are a module's own, and tasks and results are picklable and name files rather than hold rows: so another engine can run the same ones.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

POOL_FROM_BYTES = 8 * 2**20
"""Below this a pool costs more (about a second to start) than it saves."""


class Executor(Protocol):
    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """``function(task)`` for every task, in order. Tasks are drawn as they are needed."""
        ...


class Here:
    """In this process, one after the other."""

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        return map(function, tasks)


class LocalProcesses:
    """In processes of this machine."""

    def __init__(self, pool: ProcessPoolExecutor, workers: int) -> None:
        self._pool = pool
        self._ahead = workers + 1
        """Tasks handed out at a time: one waits for the first process that is free."""

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        running: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                running.append(self._pool.submit(function, task))
                if len(running) >= self._ahead:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


@contextmanager
def executor_for(num_bytes: int, num_tasks: int) -> Iterator[Executor]:
    """The engine for work of ``num_bytes`` in ``num_tasks`` tasks; its processes end with the block."""
    workers = min(num_tasks, os.cpu_count() or 1)
    if workers < 2 or num_bytes < POOL_FROM_BYTES:
        yield Here()
        return
    # spawn: a fork would copy the locks of Arrow's threads.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield LocalProcesses(pool, workers)
