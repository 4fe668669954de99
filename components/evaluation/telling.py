"""What an evaluation tells people while it works: what it does, and how far it has come."""

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Teller(Protocol):
    """Whoever passes it on."""

    def say(self, message: str) -> None:
        """One line that stays."""

    def progress(self, message: str, done: int, total: int) -> None:
        """``done`` of ``total`` parts of ``message`` are behind us; asked often."""


class Silent:
    """Passes nothing on."""

    def say(self, message: str) -> None:
        pass

    def progress(self, message: str, done: int, total: int) -> None:
        pass


SILENT = Silent()


def counted(items: Sequence[Item], message: str, tell: Teller) -> Iterator[Item]:
    """``items`` one by one, told before each and at the end."""
    for done, item in enumerate(items):
        tell.progress(message, done, len(items))
        yield item
    tell.progress(message, len(items), len(items))
