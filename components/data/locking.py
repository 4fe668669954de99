"""The one lock round everything that changes the data or its versions."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from components.project import Project

_THREADS = threading.RLock()
"""The project's lock keeps other processes out; this one keeps this process's threads apart."""


@contextlib.contextmanager
def data_lock(project: Project, purpose: str, say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Held round reproduce, push and publish; whoever comes second waits, and says for whom when that is another process."""
    with _THREADS, project.lock("data", purpose, say):
        yield
