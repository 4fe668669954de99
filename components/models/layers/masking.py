"""Masked tokens: which are hidden, and what stands in their place. Devlin et al. 2019, "BERT", section 3.1."""

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from components.models.capabilities import FillsMasks

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, START, END, MASK, ORDINARY = range(5)
"""The first entries of the vocabulary: [PAD], [CLS], [SEP], [MASK], and the first token that is text."""
BLANK = "Ġ"
"""How a byte-level tokenizer writes the blank with which a word begins."""
WORDS_SHARE = 0.2
"""Of the tokens of several bytes those that begin with a blank, at least, where words have blanks between them: in English a half, in code a third."""
RANDOM_SHARE = KEPT_SHARE = 0.1
"""Of the predicted tokens under `mixed`."""


def choose_masked(tokens: Tensor, rate: float, ordinary: int = ORDINARY) -> Tensor:
    """Which of ``tokens`` [N, T] are to be predicted, bool [N, T]: each one from ``ordinary`` on with probability ``rate``, and at least one of each row.

    Draws from the process-wide generator, which training seeds at every step.
    """
    draws = torch.rand(tokens.shape, device=tokens.device).masked_fill(tokens < ordinary, 2.0)
    least = draws.amin(dim=1, keepdim=True)
    return (draws < rate) | ((draws == least) & (least < 2.0))


def hide(tokens: Tensor, chosen: Tensor, vocab_size: int, masking: Literal["mask", "mixed"] = "mask") -> Tensor:
    """``tokens`` [N, T] without what they say at the places ``chosen``: the mask there, or under `mixed` a random token or the token itself now and then."""
    if masking == "mask":
        return tokens.masked_fill(chosen, MASK)
    draws = torch.rand(tokens.shape, device=tokens.device)
    random = torch.randint(ORDINARY, vocab_size, tokens.shape, device=tokens.device)
    hidden = tokens.masked_fill(chosen & (draws >= RANDOM_SHARE + KEPT_SHARE), MASK)
    return torch.where(chosen & (draws < RANDOM_SHARE), random, hidden)


def gap_tokens(tokenizer: "Tokenizer", text: str) -> list[int]:
    """The tokens of a text with gaps. A blank goes before it, as words have one before them everywhere but at the beginning of a line."""
    tokens: list[int] = tokenizer.encode(text if text[:1].isspace() else f" {text}").ids
    return tokens


def word_beginnings(tokenizer: "Tokenizer", vocab_size: int) -> Tensor:
    """Which tokens may stand where a word begins, bool [V]: those that begin with a blank, or all where words are written without blanks, as in Chinese."""
    names = [tokenizer.id_to_token(token) or "" for token in range(vocab_size)]
    begins = torch.tensor([name.startswith(BLANK) and name != BLANK for name in names])
    return begins if begins.sum() > WORDS_SHARE * sum(len(name) > 1 for name in names) else torch.ones_like(begins)


@torch.no_grad()
def best_fills(model: FillsMasks, tokenizer: "Tokenizer", text: str, num: int) -> list[list[tuple[str, float]]]:
    """For each [MASK] of ``text`` by itself the ``num`` likeliest fills with their probabilities.

    A gap behind a blank, or at the beginning, takes the beginning of a word (see `word_beginnings`); any other gap takes whatever token fits.
    """
    device = getattr(model, "device", torch.device("cpu"))
    logs = model.fill_masks(torch.tensor([gap_tokens(tokenizer, text)], device=device)).cpu()
    words = word_beginnings(tokenizer, logs.size(1))
    for row, begins in enumerate(_begins_word(text)):
        logs[row, ~words] = -torch.inf if begins else logs[row, ~words]
    shares, order = logs.exp().sort(dim=-1, descending=True, stable=True)
    return [
        [(readable(tokenizer, token), share) for token, share in zip(best, likely, strict=True) if share > 0]
        for best, likely in zip(order[:, :num].tolist(), shares[:, :num].tolist(), strict=True)
    ]


def _begins_word(text: str) -> list[bool]:
    """Of each [MASK] whether a blank stands before it, or nothing at all."""
    before = text.split("[MASK]")[:-1]
    return [part[-1:].isspace() or (not part and index == 0) for index, part in enumerate(before)]


def readable(tokenizer: "Tokenizer", token: int) -> str:
    """A token as a person reads it: without the blank before it, and by its name where nothing else is left."""
    return tokenizer.decode([token]).strip() or str(tokenizer.id_to_token(token))
