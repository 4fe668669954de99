"""What reads a caption, and what draws by it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.models.capabilities import DataSpec
from components.models.diffusion.core import TIME_SCALE
from components.models.layers.conv import zeroed
from components.models.layers.folding import fold_factor, folded, unfolded
from components.models.text_to_image.config import TextToImageConfig
from components.models.token_rows import PADDING, mask_of


class TextEncoder(nn.Module):
    """Tokens [N, T] with their marks to states [N, T, D], their mask [N, T], and one vector [N, D] of the whole caption."""

    def __init__(self, config: TextToImageConfig, data: DataSpec) -> None:
        super().__init__()
        width = config.text_width
        self.tokens = nn.Embedding(data.vocab_size, width, padding_idx=PADDING)
        self.places = nn.Parameter(torch.randn(config.caption_length, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, config.text_heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, config.text_layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mask = mask_of(tokens)
        states = self.layers(self.tokens(tokens) + self.places[: tokens.shape[1]], src_key_padding_mask=~mask)
        shares = mask.to(states) / mask.sum(dim=1, keepdim=True)
        return states, mask, (states * shares[:, :, None]).sum(dim=1)


class Sketch(nn.Module):
    """The vector [N, D] of a caption to the mean of what it may show, codes [N, C, S, S] of a coarse side brought to the side of all.

    Han et al. 2022, "CARD", give a diffusion such an estimate beside the noisy code. It is learnt in a fraction of the steps in which a network that
    only modulates channels finds out where things are.
    """

    def __init__(self, shape: tuple[int, int, int], config: TextToImageConfig) -> None:
        super().__init__()
        channels, self.side, _ = shape
        self.coarse = min(self.side, config.sketch_side)
        hidden = 2 * config.text_width
        self.layers = nn.Sequential(
            nn.Linear(config.text_width, hidden), nn.SiLU(), nn.Linear(hidden, channels * self.coarse**2), nn.Unflatten(1, (channels, self.coarse, self.coarse))
        )

    def forward(self, whole: Tensor) -> Tensor:
        out: Tensor = F.interpolate(self.layers(whole), size=(self.side, self.side), mode="bilinear") if self.coarse < self.side else self.layers(whole)
        return out


class TextUNet(nn.Module):
    """diffusers' U-Net with attention to a caption's states, for codes [N, C, S, S]; folded to the working side, and zero when it is new."""

    def __init__(self, channels: int, side: int, config: TextToImageConfig) -> None:
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        super().__init__()
        levels = len(config.widths)
        self.side, self.factor, self.multiple = side, fold_factor(side, config.working_side), 2 ** (levels - 1)
        smallest = math.ceil(side / self.factor / self.multiple)
        attends = [smallest * 2**level <= config.attention_side for level in reversed(range(levels))]
        channels *= self.factor**2
        self.network = UNet2DConditionModel(
            in_channels=2 * channels,  # the sketch beside what is drawn
            out_channels=channels,
            layers_per_block=config.blocks,
            block_out_channels=config.widths,
            down_block_types=tuple("CrossAttnDownBlock2D" if attend else "DownBlock2D" for attend in attends),
            mid_block_type="UNetMidBlock2DCrossAttn",
            up_block_types=tuple("CrossAttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)),
            attention_head_dim=tuple(max(1, width // config.head_width) for width in config.widths),  # by this name the library means their number
            cross_attention_dim=config.text_width,
            class_embed_type="projection",  # the whole caption's vector, beside the time
            projection_class_embeddings_input_dim=config.text_width,
            norm_num_groups=8,
            dropout=config.dropout,
            resnet_time_scale_shift="scale_shift",
        )
        self.network.conv_out = zeroed(self.network.conv_out)

    def forward(self, x: Tensor, times: Tensor, states: Tensor, mask: Tensor, whole: Tensor, sketch: Tensor) -> Tensor:
        """``x`` [N, C, S, S] at ``times`` [N] in [0, 1], what `TextEncoder` says, and the `Sketch` [N, C, S, S] of it."""
        maps = folded(torch.cat([x, sketch], dim=1), self.factor, self.multiple)
        said = self.network(maps, times * TIME_SCALE, encoder_hidden_states=states, encoder_attention_mask=mask, class_labels=whole).sample
        return unfolded(said, self.factor, self.side)
