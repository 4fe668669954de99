"""What makes one vector of an image, and one of a caption."""

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

from components.models.capabilities import DataSpec
from components.models.clip.config import ClipConfig
from components.models.layers.conv import ConvEncoder, Pyramid
from components.models.layers.folding import fold_factor, folded
from components.models.token_rows import BEGIN, END, PADDING

MLP_RATIO = 4


class ConvTower(nn.Module):
    """Images [N, C, S, S] in [0, 1] to features [N, features]."""

    def __init__(self, config: ClipConfig, data: DataSpec) -> None:
        super().__init__()
        self.factor = fold_factor(data.image_size, config.working_side)
        side = -(-data.image_size // self.factor)
        self.network = ConvEncoder(
            data.channels * self.factor**2, Pyramid(side, config.image_width, config.max_image_width, config.image_layers, config.dropout)
        )
        self.features = self.network.features

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.network(folded(images, self.factor))
        return out


class VitTower(nn.Module):
    """Images [N, C, S, S] in [0, 1] to features [N, image_width]."""

    def __init__(self, config: ClipConfig, data: DataSpec) -> None:
        super().__init__()
        self.network = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=config.image_width, intermediate_size=MLP_RATIO * config.image_width, num_hidden_layers=config.image_layers,
                num_attention_heads=config.image_heads, num_channels=data.channels, image_size=data.image_size, patch_size=config.patch,
                attention_dropout=config.dropout,
            )
        )  # fmt: skip
        self.features = config.image_width

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.network(pixel_values=images * 2 - 1).pooler_output
        return out


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
