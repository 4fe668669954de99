"""Which token comes next: the likeliest one, or one drawn. Top-p: Holtzman et al. 2020, "The curious case of neural text degeneration"."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def draw_tokens(logits: Tensor, generators: Sequence[torch.Generator], temperature: float, top_k: int | None, top_p: float | None) -> list[int]:
    """One token per row of ``logits`` [B, V] on the CPU, each drawn with the generator of its row; temperature 0 takes the likeliest."""
    if temperature <= 0:
        return [int(token) for token in logits.argmax(dim=-1)]
    ranked, order = (logits / temperature).sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        ranked[:, max(1, top_k) :] = -math.inf
    probabilities = ranked.softmax(dim=-1)
    if top_p is not None:
        # A token stays when the likelier ones together have not reached top_p yet; so the first always stays.
        probabilities = probabilities.masked_fill(probabilities.cumsum(dim=-1) - probabilities >= max(top_p, 1e-9), 0.0)
    picks = [torch.multinomial(row, 1, generator=generator) for row, generator in zip(probabilities, generators, strict=True)]
    return [int(order[index, pick]) for index, pick in enumerate(picks)]
