"""Spans of tokens that are hidden in a text, and told in order behind the marks of their gaps. Raffel et al. 2020, "T5", section 3.1.4.

Of `a b c d e f` with two gaps the source is `a <0> d <1> f`, and the target `<0> b c <1> e`; both are rows as in `components.models.token_rows`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from components.models.layers.span_counts import num_hidden
from components.models.token_rows import BEGIN, END, PADDING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

GAP = "[MASK]"
"""How a person writes a gap."""


class Sides(NamedTuple):
    """What is read, and what is to be said about it; rows of tokens."""

    source: Tensor
    """int64 [N, S]."""
    target: Tensor
    """int64 [N, T]."""


def corrupt(tokens: Tensor, rate: float, mean_length: float, first_sentinel: int, generator: torch.Generator | None = None) -> Sides:
    """Hide the same number of spans, of random lengths and places, in each row of ``tokens`` [N, T].

    Draws from ``generator``, by default from the process-wide one, which training seeds at every step.
    """
    rows, length = tokens.shape
    hidden, spans = num_hidden(length, rate, mean_length)
    lengths = torch.stack([_parts(rows, length - hidden, spans + 1, generator)[:, :spans], _parts(rows, hidden, spans, generator)], dim=2).flatten(1)
    ends = lengths.cumsum(dim=1).to(tokens.device)
    places = torch.arange(length, device=tokens.device)
    part = (places[None, :, None] >= ends[:, None, :]).sum(dim=2)
    inside = (part % 2 == 1) & (part < 2 * spans)
    sentinels = first_sentinel + part // 2
    begins = inside & ~_shifted(inside, 1)
    before = ~inside & _shifted(inside, -1)
    source = torch.where(begins, sentinels, tokens)[~inside | begins].view(rows, -1)
    target = torch.where(before, sentinels, tokens)[inside | before].view(rows, -1)
    return Sides(_as_rows(source), _as_rows(target))


def _parts(rows: int, total: int, parts: int, generator: torch.Generator | None) -> Tensor:
    """``total`` cut at random into ``parts`` of at least 1, int64 [rows, parts]; every cut is as likely as any other."""
    cuts = torch.rand(rows, total - 1, generator=generator).argsort(dim=1)[:, : parts - 1].sort(dim=1).values + 1
    bounds = torch.cat([torch.zeros(rows, 1, dtype=torch.int64), cuts, torch.full((rows, 1), total)], dim=1)
    return bounds.diff(dim=1)


def _shifted(inside: Tensor, by: int) -> Tensor:
    """``inside`` [N, T] moved ``by`` one place; what comes in is False."""
    moved = inside.roll(by, dims=1)
    moved[:, 0 if by > 0 else -1] = False
    return moved


def _as_rows(tokens: Tensor) -> Tensor:
    return torch.cat([torch.full_like(tokens[:, :1], BEGIN), tokens, torch.full_like(tokens[:, :1], END)], dim=1)


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of tokens of unequal length as int64 [N, length of the longest]."""
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[PADDING] * (longest - len(row))] for row in rows])


def gap_row(tokenizer: "Tokenizer", text: str, sentinels: Sequence[int]) -> list[int]:
    """The row of tokens of a ``text`` with gaps; those beyond the ``sentinels`` are left out.

    A blank goes before the text, as words have one before them everywhere but at the beginning of a line; the blank before a gap is left out,
    because the words that may stand there have it in them.
    """
    row = [BEGIN]
    parts = pieces_of(text)
    for number, part in enumerate(parts):
        row += tokenizer.encode(part, add_special_tokens=False).ids
        row += sentinels[number : number + 1] if number + 1 < len(parts) else []
    return [*row, END]


def pieces_of(text: str) -> list[str]:
    """What stands before, between and behind the gaps of ``text``, as `gap_row` reads it."""
    *before, last = (text if text[:1].isspace() else f" {text}").split(GAP)
    return [*(part.removesuffix(" ") for part in before), last]


def spans_of(answer: Sequence[int], sentinels: Sequence[int]) -> list[list[int]]:
    """What ``answer``, a target without its marks, puts into each gap that it names in turn."""
    found: list[list[int]] = []
    for token in answer:
        if token >= sentinels[0]:
            found.append([])
        elif found:
            found[-1].append(token)
    return found


def filled(tokenizer: "Tokenizer", text: str, spans: Sequence[Sequence[int]]) -> str:
    """``text`` with ``spans`` in its gaps; a gap for which there is none stays."""
    first, *rest = pieces_of(text)
    whole = first
    for number, piece in enumerate(rest):
        whole += (tokenizer.decode(list(spans[number])) if number < len(spans) else f" {GAP}") + piece
    return whole if text[:1].isspace() else whole.removeprefix(" ")
