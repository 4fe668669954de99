"""Transformer blocks that see both ways, with or without a second sequence to look at."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MLP_RATIO = 4


class Attention(nn.Module):
    """States [N, T, D] look at others [N, S, D]."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.keys_and_values = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.exit = nn.Linear(width, width)

    def forward(self, states: Tensor, others: Tensor, mask: Tensor | None = None) -> Tensor:
        """``mask`` bool [N, S] is False where there is nothing to look at."""
        query = self._by_head(self.query(states))
        key, value = (self._by_head(part) for part in self.keys_and_values(others).chunk(2, dim=-1))
        visible = None if mask is None else mask[:, None, None]
        found = F.scaled_dot_product_attention(query, key, value, visible, self.dropout if self.training else 0.0)
        out: Tensor = self.exit(found.transpose(1, 2).flatten(2))
        return out

    def _by_head(self, states: Tensor) -> Tensor:
        """[N, T, D] to [N, heads, T, D / heads]."""
        return states.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Pre-norm transformer block: attention among the states, then (``crossed``) to another sequence, then a network for each.

    Vaswani et al. 2017, "Attention Is All You Need"; Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture".
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0, *, crossed: bool = False) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, heads, dropout)
        self.cross_norm = nn.LayerNorm(width) if crossed else None
        self.cross_attention = Attention(width, heads, dropout) if crossed else None
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, MLP_RATIO * width), nn.GELU(), nn.Linear(MLP_RATIO * width, width))

    def forward(self, states: Tensor, mask: Tensor | None = None, others: Tensor | None = None, others_mask: Tensor | None = None) -> Tensor:
        """States [N, T, D] and the other sequence [N, S, D]; masks bool, False at padding."""
        normed = self.norm(states)
        states = states + self.attention(normed, normed, mask)
        if self.cross_norm is not None and self.cross_attention is not None:
            assert others is not None, "a crossed block looks at another sequence"
            states = states + self.cross_attention(self.cross_norm(states), others, others_mask)
        out: Tensor = states + self.mlp(states)
        return out


class Words(nn.Module):
    """Tokens [N, T] to states [N, T, D]: what each is and where it stands."""

    def __init__(self, vocab_size: int, length: int, width: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocab_size, width), nn.Parameter(torch.empty(length, width))
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.places, std=0.02)
        # The vectors are small because they are predicted from as well; without this norm the first block would drown them.
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.norm(self.tokens(tokens) + self.places[: tokens.shape[1]])
        return out
