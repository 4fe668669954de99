"""Runs one function over many shards: here when the work is small, else in a pool of local processes."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

POOL_FROM_BYTES = 32 * 2**20
"""Below this a pool costs more (about a second to start) than it saves."""


def map_shards(function: Callable[[Task], Result], tasks: Sequence[Task], num_bytes: int) -> Iterator[Result]:
    """``function(task)`` for every task, in order. ``function`` is a module's own, tasks and results are picklable."""
    workers = min(len(tasks), os.cpu_count() or 1)
    if workers < 2 or num_bytes < POOL_FROM_BYTES:
        yield from map(function, tasks)
        return
    # spawn: a fork would copy the locks of Arrow's threads.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(function, tasks)
