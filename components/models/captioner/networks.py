"""What marks the places of an image, and the decoder that writes while it looks at them."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from components.models.captioner.config import CaptionerConfig
from components.models.layers.towers import MLP_RATIO
from components.models.token_rows import BEGIN, END


class Decoder(nn.Module):
    """Tokens [N, T] that follow what was read before, and places [N, P, text_width], to logits [N, T, V] of each next token."""

    def __init__(self, config: CaptionerConfig, vocab_size: int) -> None:
        super().__init__()
        self.network = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocab_size, n_positions=config.caption_length, n_embd=config.text_width, n_layer=config.text_layers, n_head=config.text_heads,
                n_inner=MLP_RATIO * config.text_width, add_cross_attention=True, embd_pdrop=config.dropout, resid_pdrop=config.dropout, attn_pdrop=0.0,
                bos_token_id=BEGIN, eos_token_id=END,
            )
        )  # fmt: skip

    def forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        logits: Tensor = self.network(input_ids=tokens, encoder_hidden_states=places, use_cache=False).logits
        return logits.float()

    def next_logits(self, tokens: Tensor, places: Tensor, past: Any) -> tuple[Tensor, Any]:
        """Logits [N, V] of what follows ``tokens`` [N, T], which follow those that ``past`` remembers (None: nothing); and what is remembered now."""
        read = self.network(input_ids=tokens, encoder_hidden_states=places, past_key_values=past, use_cache=True)
        return read.logits[:, -1].float(), read.past_key_values


class Placed(nn.Module):
    """Places [N, P, features] as the decoder looks at them, [N, P, width], each with a mark of where it lies."""

    def __init__(self, features: int, num_places: int, width: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(features, width), nn.LayerNorm(width)
        self.positions = nn.Parameter(torch.randn(num_places, width) * 0.02)

    def forward(self, places: Tensor) -> Tensor:
        out: Tensor = self.norm(self.linear(places) + self.positions)
        return out
