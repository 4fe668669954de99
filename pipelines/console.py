"""How a flow tells whoever started it what is going on, without knowing who that is."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Protocol


class Listener(Protocol):
    """Told of everything a person would want to see while they wait."""

    def say(self, message: str) -> None:
        """One line that stays."""

    def progress(self, label: str, done: float, total: float, detail: str) -> None:
        """How far ``label`` is; ``done`` == ``total`` ends it."""


class Silent:
    """Used where nobody waits: a worker's log gets the flow's log lines anyway."""

    def say(self, message: str) -> None:
        pass

    def progress(self, label: str, done: float, total: float, detail: str) -> None:
        pass


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
    (_listener.get() or Silent()).say(message)


def progress(label: str, done: float, total: float, detail: str = "") -> None:
    (_listener.get() or Silent()).progress(label, done, total, detail)


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
