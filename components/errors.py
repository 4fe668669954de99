"""The one exception for what the user can mend."""

import difflib
import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class UserError(Exception):
    """A mistake of the user's: one clear sentence that ends with the fix; the command line exits with 2.

    ``resume`` is the exact command that goes on from here, where there is one.
    """

    exit_code = 2

    def __init__(self, message: str, *, resume: str | None = None) -> None:
        super().__init__(message)
        self.resume = resume


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what keeps ``path`` from being written, but for a full disk, into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise UserError(f"{path} cannot be written ({error.strerror}): name a place where you may write.") from None


def first_line(error: BaseException) -> str:
    """What ``error`` says, short enough for a sentence; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or the list of what is known when nothing is near."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(names)}." if names else "nothing is defined there yet."
