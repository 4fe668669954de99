"""What makes places to look at of an image, and the decoder that writes while it looks at them."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, GPT2Config, GPT2LMHeadModel

from components.models.capabilities import DataSpec
from components.models.captioner.config import CaptionerConfig
from components.models.layers.conv import ConvEncoder, Pyramid
from components.models.layers.folding import fold_factor, folded
from components.models.token_rows import BEGIN, END

MLP_RATIO = 4


class ConvPlaces(nn.Module):
    """Images [N, C, S, S] in [0, 1] to [N, P, features]: the smallest map of a convolutional network, place by place."""

    def __init__(self, config: CaptionerConfig, data: DataSpec) -> None:
        super().__init__()
        self.factor = fold_factor(data.image_size, config.working_side)
        pyramid = Pyramid(-(-data.image_size // self.factor), config.image_width, config.max_image_width, config.image_layers, config.dropout)
        self.network = ConvEncoder(data.channels * self.factor**2, pyramid)
        self.num_places, self.features = pyramid.sizes[-1] ** 2, pyramid.widths[-1]

    def forward(self, images: Tensor) -> Tensor:
        return self.network.places(folded(images, self.factor))


class VitPlaces(nn.Module):
    """Images [N, C, S, S] in [0, 1] to [N, P, image_width]: patches, and the whole image before them."""

    def __init__(self, config: CaptionerConfig, data: DataSpec) -> None:
        super().__init__()
        self.network = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=config.image_width, intermediate_size=MLP_RATIO * config.image_width, num_hidden_layers=config.image_layers,
                num_attention_heads=config.image_heads, num_channels=data.channels, image_size=data.image_size, patch_size=config.patch,
                attention_dropout=config.dropout,
            )
        )  # fmt: skip
        self.num_places, self.features = (data.image_size // config.patch) ** 2 + 1, config.image_width

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.network(pixel_values=images * 2 - 1).last_hidden_state
        return out


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


def encoder_of(config: CaptionerConfig, data: DataSpec) -> ConvPlaces | VitPlaces:
    return ConvPlaces(config, data) if config.encoder == "conv" else VitPlaces(config, data)
