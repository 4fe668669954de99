"""Altered documents: cut into passages, in another order, with words hidden."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import Field

from components.data.modalities import Additions, rng_seed

if TYPE_CHECKING:
    import numpy as np

BLANK_LINES = re.compile(r"(\n(?:[ \t]*\n)+)")
HIDDEN = "_"
"""What stands in place of a word, at load time of a token, that is hidden: a byte, which every vocabulary of byte pairs has as one token."""
_WORD = re.compile(r"\S+")


class PassageChanges(Additions):
    """How documents are altered."""

    chunk_chars: int | None = Field(2000, ge=1)
    """A document is cut at line ends into passages of at most this many characters; null leaves it whole."""
    shuffle: bool = True
    """The passages of all documents get a new order; at load time another one each epoch."""
    mask: float = Field(0.0, ge=0, lt=1)
    """Share of the words that are hidden, each behind a `_`; at load time of the tokens. Fit for models that fill gaps: one that goes on with a text
    learns to write them."""
    mask_words: int = Field(3, ge=1)
    """Words in a row that are hidden together."""

    @property
    def alters(self) -> bool:
        return self.chunk_chars is not None or self.shuffle or self.mask > 0


def passages(text: str, limit: int | None) -> Iterator[str]:
    """As many whole lines as fit into ``limit`` characters; a longer line is cut anywhere."""
    if limit is None:
        yield text
        return
    passage = ""
    for piece in (part for paragraph in BLANK_LINES.split(text) for part in paragraph.splitlines(keepends=True)):
        if passage.strip() and len(passage) + len(piece) > limit:
            yield passage.strip("\n")
            passage = ""
        whole = len(piece) // limit * limit if len(piece) > limit else 0
        yield from (piece[start : start + limit] for start in range(0, whole, limit))
        passage += piece[whole:]
    if passage.strip():
        yield passage.strip("\n")


def masked(text: str, config: PassageChanges, *name: object) -> str:
    """``text`` with some of its words hidden, as its ``name`` draws them; what lies between words stays."""
    if not config.mask:
        return text
    hidden = iter(hidden_spans(len(_WORD.findall(text)), config, rng_seed(config.seed, *name, "mask")).tolist())
    return _WORD.sub(lambda word: HIDDEN if next(hidden) else word[0], text)


def hidden_spans(num: int, config: PassageChanges, seed: int) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Of ``num`` words in a row which are hidden: spans of ``mask_words`` that begin anywhere, together about a share ``mask``."""
    import numpy as np

    # A word stays when none of the spans that could cover it begins: (1 - p) ** words of a span.
    begins = np.random.default_rng(seed).random(num) < 1 - (1 - config.mask) ** (1 / config.mask_words)
    ends = np.cumsum(begins)
    before = np.concatenate([np.zeros(config.mask_words, dtype=ends.dtype), ends])[:num]
    return ends > before
