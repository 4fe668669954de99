"""What sees an image for the families that have words beside it."""

from torch import Tensor, nn

from components.models.capabilities import DataSpec
from components.models.family import ImageTowerConfig
from components.models.layers.conv import ConvEncoder, Pyramid
from components.models.layers.folding import fold_factor, folded

MLP_RATIO = 4


class FoldedConv(nn.Module):
    """Images [N, C, S, S] in [0, 1] to features [N, features], or place by place to [N, num_places, place_features]."""

    def __init__(self, config: ImageTowerConfig, data: DataSpec) -> None:
        super().__init__()
        self.factor = fold_factor(data.image_size, config.working_side)
        pyramid = Pyramid(-(-data.image_size // self.factor), config.image_width, config.max_image_width, config.image_layers, config.dropout)
        self.network = ConvEncoder(data.channels * self.factor**2, pyramid)
        self.features, self.num_places, self.place_features = self.network.features, pyramid.sizes[-1] ** 2, pyramid.widths[-1]

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.network(folded(images, self.factor))
        return out

    def places(self, images: Tensor) -> Tensor:
        return self.network.places(folded(images, self.factor))


class Vit(nn.Module):
    """The vision transformer of transformers' CLIP: images [N, C, S, S] in [0, 1] to features [N, features], or to the whole's and the patches'."""

    def __init__(self, config: ImageTowerConfig, data: DataSpec) -> None:
        from transformers import CLIPVisionConfig, CLIPVisionModel

        super().__init__()
        self.network = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=config.image_width, intermediate_size=MLP_RATIO * config.image_width, num_hidden_layers=config.image_layers,
                num_attention_heads=config.image_heads, num_channels=data.channels, image_size=data.image_size, patch_size=config.patch,
                attention_dropout=config.dropout,
            )
        )  # fmt: skip
        self.features = self.place_features = config.image_width
        self.num_places = (data.image_size // config.patch) ** 2 + 1

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.network(pixel_values=images * 2 - 1).pooler_output
        return out

    def places(self, images: Tensor) -> Tensor:
        """[N, num_places, place_features]; the first is the whole image's."""
        out: Tensor = self.network(pixel_values=images * 2 - 1).last_hidden_state
        return out


def tower_of(kind: str, config: ImageTowerConfig, data: DataSpec) -> FoldedConv | Vit:
    """The tower `conv` or `vit`."""
    return FoldedConv(config, data) if kind == "conv" else Vit(config, data)
