"""How a flow tells whoever started it what is going on, without knowing who that is."""

import contextlib
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Protocol


class Listener(Protocol):
    """Told of everything a person would want to see while they wait."""

    def say(self, message: str) -> None:
        """One line that stays."""

    def progress(self, label: str, done: float, total: float, detail: str) -> None:
        """How far ``label`` is; ``done`` == ``total`` ends it."""


class LogListener:
    """Used where nobody waits: what is told goes into the flow run's log, where the Prefect UI shows it."""

    def say(self, message: str) -> None:
        _logger().info(plain(message))

    def progress(self, label: str, done: float, total: float, detail: str) -> None:
        pass


_STYLES = re.compile(r"\[/?(?:green|red|yellow|bold|dim)?\]")
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send what flows tell to ``listener`` for the length of this context."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def say(message: str) -> None:
    (_listener.get() or LogListener()).say(message)


def progress(label: str, done: float, total: float, detail: str = "") -> None:
    (_listener.get() or LogListener()).progress(label, done, total, detail)


def plain(message: str) -> str:
    """Without the marks of style."""
    return _STYLES.sub("", message)


def _logger() -> Any:
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_logger, get_run_logger

    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("genmill")


def events_of(model: str) -> Callable[[dict[str, Any]], None]:
    """What shows the events of the process that trains ``model``."""

    def on_event(event: dict[str, Any]) -> None:
        if event.get("event") == "progress":
            total = float(event.get("max_steps") or 1)
            what = f"{event['detail']} " if event.get("detail") else ""
            loss = f"loss {event['loss']:.4g} " if event.get("loss") is not None else ""
            left = f"{event['eta_s']:.0f} s left" if event.get("eta_s") is not None else ""
            progress(f"{event['phase']} {model}", float(event.get("step") or 0), total, f"{what}{loss}{left}")
        elif event.get("event") == "say":
            say(f"  {event['message']}")

    return on_event
