"""What makes one vector of a caption."""

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from components.models.capabilities import DataSpec
from components.models.clip.config import ClipConfig
from components.models.layers.towers import MLP_RATIO
from components.models.token_rows import BEGIN, END, PADDING


class TextTower(nn.Module):
    """Tokens [N, T] with their marks to features [N, text_width]: what stands at the end mark, which has seen the whole caption."""

    def __init__(self, config: ClipConfig, data: DataSpec) -> None:
        super().__init__()
        self.network = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=data.vocab_size, max_position_embeddings=config.caption_length, hidden_size=config.text_width,
                intermediate_size=MLP_RATIO * config.text_width, num_hidden_layers=config.text_layers, num_attention_heads=config.text_heads,
                attention_dropout=config.dropout, pad_token_id=PADDING, bos_token_id=BEGIN, eos_token_id=END,
            )
        )  # fmt: skip
        self.features = config.text_width

    def forward(self, tokens: Tensor) -> Tensor:
        # Read here, because the library takes the largest token for the end mark where that is token 2.
        states = self.network(input_ids=tokens).last_hidden_state
        ends = (tokens == END).int().argmax(dim=1)
        out: Tensor = states[torch.arange(len(tokens), device=tokens.device), ends]
        return out
