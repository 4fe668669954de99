"""Texts as rows of tokens of one length: each behind a begin mark and before an end mark, cut or padded."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor


class Marks(NamedTuple):
    """Tokens that stand for no text."""

    names: tuple[str, ...]
    """Of the tokens 0, 1, …"""
    template: str
    """Where they stand round a text `$A`, as `tokenizers.processors.TemplateProcessing` has it."""


PADDING, BEGIN, END, FIRST_OF_TEXT = range(4)
_NAMES = ("<|padding|>", "<|begin|>", "<|end|>")
ROW = Marks(_NAMES, f"{_NAMES[BEGIN]} $A {_NAMES[END]}")
"""Those of a text that is a row of its own; its tokenizer has them as the tokens PADDING, BEGIN and END."""


TEXTS_AT_ONCE, CHARS_AT_ONCE = 2048, 2**20
"""An encoding takes a hundred times the memory of its text, for it has the tokens' names and places too."""


def encodings(tokenizer: Tokenizer, texts: Iterable[str], *, marks: bool = True) -> Iterator[Encoding]:
    """What ``tokenizer`` makes of each of ``texts``, with its marks or without, while it holds those of some texts at a time: take what you need of each."""
    for some in some_at_once(texts):
        yield from tokenizer.encode_batch(some, add_special_tokens=marks)


def some_at_once(texts: Iterable[str]) -> Iterator[list[str]]:
    """``texts``, as many at a time as may be encoded together."""
    some: list[str] = []
    chars = 0
    for text in texts:
        some.append(text)
        chars += len(text)
        if len(some) == TEXTS_AT_ONCE or chars >= CHARS_AT_ONCE:
            yield some
            some, chars = [], 0
    if some:
        yield some


def plain_reader(tokenizer: str) -> Tokenizer:
    """`DataSpec.tokenizer` loaded so that what reads like a mark in a text is text."""
    loaded = Tokenizer.from_str(tokenizer)
    loaded.encode_special_tokens = True
    return loaded


class TokenRows(NamedTuple):
    """What `token_rows` makes of N texts."""

    tokens: Tensor
    """int64 [N, length]."""
    num_cut: int
    """Texts that did not fit; their rows end in the end mark all the same."""


def token_rows(tokenizer: str, texts: Sequence[str], length: int) -> TokenRows:
    """Each text as BEGIN, its tokens, END, PADDING …; ``tokenizer`` is `DataSpec.tokenizer`, made with the marks ROW.

    What reads like a mark in a text is text.
    """
    loaded = plain_reader(tokenizer)
    loaded.enable_truncation(length)
    loaded.enable_padding(length=length, pad_id=PADDING, pad_token=_NAMES[PADDING])
    tokens, num_cut = torch.empty(len(texts), length, dtype=torch.int64), 0
    for row, encoding in enumerate(encodings(loaded, texts)):
        tokens[row] = torch.tensor(encoding.ids)
        num_cut += bool(encoding.overflowing)
    return TokenRows(tokens, num_cut)


def row_length(tokenizer: str, text: str) -> int:
    """How many tokens ``text`` has with its marks."""
    return len(plain_reader(tokenizer).encode(text).ids)


def mask_of(tokens: Tensor) -> Tensor:
    """True where a row of tokens still says something, bool of the same shape."""
    return tokens != PADDING
