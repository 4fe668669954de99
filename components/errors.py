"""The one exception for what the user can mend."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user's: one clear sentence that ends with the fix; the command line exits with 2.

    ``resume`` is the exact command that goes on from here, where there is one.
    """

    exit_code = 2

    def __init__(self, message: str, *, resume: str | None = None) -> None:
        super().__init__(message)
        self.resume = resume


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or the list of what is known when nothing is near."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(names)}." if names else "nothing is defined there yet."
