"""A text as it grows, token by token: what of it can be shown already, and where it ends."""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

OnText = Callable[[str], None]
"""Takes each further piece of a text."""
_HALF_A_CHARACTER = "\ufffd"
"""What bytes that are no whole character yet are decoded to."""


class GrowingText:
    """The text of a continuation, which ends before the first of ``stop``; ``on_text`` gets its pieces as soon as nothing can change them."""

    def __init__(self, tokenizer: "Tokenizer", stop: Sequence[str], on_text: OnText | None = None) -> None:
        self._tokenizer, self._stop, self._on_text = tokenizer, stop, on_text
        self._told = 0

    def ends(self, tokens: Sequence[int]) -> bool:
        """Whether the text of ``tokens``, all that there are by now, holds a stop string."""
        if not self._stop and self._on_text is None:
            return False
        text = self._tokenizer.decode(list(tokens))
        ended = before_stop(text, self._stop)
        self._tell(ended if ended != text else settled(text, self._stop))
        return ended != text

    def finished(self, tokens: Sequence[int]) -> str:
        """The whole text; what was held back of it is told."""
        text = before_stop(self._tokenizer.decode(list(tokens)), self._stop)
        self._tell(text)
        return text

    def _tell(self, text: str) -> None:
        if self._on_text is not None and len(text) > self._told:
            self._on_text(text[self._told :])
            self._told = len(text)


def before_stop(text: str, stop: Sequence[str]) -> str:
    """``text`` up to the first place where one of ``stop`` begins."""
    found = re.search("|".join(map(re.escape, stop)), text) if stop else None
    return text[: found.start()] if found else text


def settled(text: str, stop: Sequence[str]) -> str:
    """The beginning of ``text`` that stays whatever follows: without half a character, and without what may be the beginning of a stop string."""
    text = text.rstrip(_HALF_A_CHARACTER)
    begun = max((length for one in stop for length in range(1, len(one)) if text.endswith(one[:length])), default=0)
    return text[: len(text) - begun]
