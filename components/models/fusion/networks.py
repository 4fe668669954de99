"""How an image and words become one: three published shapes behind the same three steps, see, read and fuse."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from components.models.capabilities import DataSpec
from components.models.fusion.config import FusionConfig
from components.models.layers.attention import Block, Words
from components.models.layers.folding import folded
from components.models.layers.towers import FoldedConv


class Fused(NamedTuple):
    """An image and words that have looked at each other."""

    joint: Tensor
    """[N, D], the whole image times the mean word, so that both must speak (ViLBERT, section 3.1)."""
    words: Tensor
    """[N, T, D], each word as the image explains it."""


class ConvTower(nn.Module):
    """Images [N, C, S, S] in [0, 1] to states [N, 1 + P, D]: one of the whole, and one of each place of a convolutional network's last map."""

    def __init__(self, config: FusionConfig, data: DataSpec) -> None:
        super().__init__()
        self.network = FoldedConv(config, data)
        # Of the whole every place by itself counts, for where a stroke is says what it means.
        self.whole, self.entry = nn.Linear(self.network.features, config.width), nn.Linear(self.network.place_features, config.width)
        self.places = nn.Parameter(torch.empty(1 + self.network.num_places, config.width).normal_(std=0.2))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, images: Tensor) -> Tensor:
        places = self.network.places(images)
        states = torch.cat([self.whole(places.flatten(1)).unsqueeze(1), self.entry(places)], dim=1)
        out: Tensor = self.norm(states + self.places)
        return out


class PatchTower(nn.Module):
    """Images [N, C, S, S] in [0, 1] to states [N, 1 + P, D], one of the whole and one of each patch, by a linear map and transformer blocks.

    Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words". The border is repeated until patches fill the image.
    """

    def __init__(self, config: FusionConfig, data: DataSpec) -> None:
        super().__init__()
        self.patch, side = config.patch, -(-data.image_size // config.patch)
        self.entry = nn.Linear(data.channels * config.patch**2, config.width)
        self.places = nn.Parameter(torch.empty(1 + side**2, config.width).normal_(std=0.2))
        # A single stream has all its layers where both kinds of states meet (ViLT, section 3.1).
        layers = 0 if config.shape == "single-stream" else config.image_layers
        self.layers = nn.ModuleList(Block(config.width, config.heads, config.dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, images: Tensor) -> Tensor:
        states = self.entry(folded(images * 2 - 1, self.patch).flatten(2).transpose(1, 2))
        states = torch.cat([torch.zeros_like(states[:, :1]), states], dim=1) + self.places
        for layer in self.layers:
            states = layer(states)
        out: Tensor = self.norm(states)
        return out


class Network(nn.Module, ABC):
    """What the shapes share: an image tower, and words that read each other before they see the image."""

    def __init__(self, config: FusionConfig, data: DataSpec, text_layers: int) -> None:
        super().__init__()
        self.tower = ConvTower(config, data) if config.image_tower == "conv" else PatchTower(config, data)
        # One token more than the vocabulary has: the mask.
        self.words = Words(data.vocab_size + 1, config.caption_length, config.width)
        self.text_layers = nn.ModuleList(Block(config.width, config.heads, config.dropout) for _ in range(text_layers))
        self.text_norm, self.norm = nn.LayerNorm(config.width), nn.LayerNorm(config.width)

    def see(self, images: Tensor) -> Tensor:
        """Images [N, C, S, S] to states [N, 1 + P, D], the first one of the whole."""
        out: Tensor = self.tower(images)
        return out

    def read(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens [N, T] to states [N, T, D]; ``mask`` [N, T] is False at padding."""
        states = self.words(tokens)
        for layer in self.text_layers:
            states = layer(states, mask)
        out: Tensor = self.text_norm(states)
        return out

    @abstractmethod
    def fuse(self, seen: Tensor, read: Tensor, mask: Tensor) -> Fused:
        """The states of images [N, 1 + P, D] and of words [N, T, D] together."""


class SingleStream(Network):
    """Places of the image and words in one transformer. Kim et al. 2021, "ViLT"."""

    def __init__(self, config: FusionConfig, data: DataSpec) -> None:
        super().__init__(config, data, text_layers=0)
        self.kinds = nn.Parameter(torch.empty(2, config.width).normal_(std=0.02))
        self.layers = nn.ModuleList(Block(config.width, config.heads, config.dropout) for _ in range(config.fusion_layers))

    def fuse(self, seen: Tensor, read: Tensor, mask: Tensor) -> Fused:
        states = torch.cat([read + self.kinds[0], seen + self.kinds[1]], dim=1)
        visible = torch.cat([mask, mask.new_ones(seen.shape[:2])], dim=1)
        for layer in self.layers:
            states = layer(states, visible)
        states = self.norm(states)
        words, whole = states[:, : read.shape[1]], states[:, read.shape[1]]
        return Fused(mean_of(words, mask) * whole, words)


class TwoStream(Network):
    """A stream of each kind; in every layer both look at the other. Lu et al. 2019, "ViLBERT"."""

    def __init__(self, config: FusionConfig, data: DataSpec) -> None:
        super().__init__(config, data, config.text_layers)
        streams = [[Block(config.width, config.heads, config.dropout, crossed=True) for _ in range(config.fusion_layers)] for _ in range(2)]
        self.word_layers, self.image_layers = (nn.ModuleList(stream) for stream in streams)
        self.image_norm = nn.LayerNorm(config.width)

    def fuse(self, seen: Tensor, read: Tensor, mask: Tensor) -> Fused:
        for of_words, of_image in zip(self.word_layers, self.image_layers, strict=True):
            read, seen = of_words(read, mask, seen), of_image(seen, None, read, mask)
        words = self.norm(read)
        return Fused(mean_of(words, mask) * self.image_norm(seen[:, 0]), words)


class Align(Network):
    """Words look at the image once both are understood by themselves, and lie in one space. Li et al. 2021, "Align before Fuse"."""

    def __init__(self, config: FusionConfig, data: DataSpec) -> None:
        super().__init__(config, data, config.text_layers)
        self.layers = nn.ModuleList(Block(config.width, config.heads, config.dropout, crossed=True) for _ in range(config.fusion_layers))

    def fuse(self, seen: Tensor, read: Tensor, mask: Tensor) -> Fused:
        for layer in self.layers:
            read = layer(read, mask, seen)
        words = self.norm(read)
        return Fused(mean_of(words, mask) * seen[:, 0], words)


def mean_of(states: Tensor, mask: Tensor) -> Tensor:
    """The mean [N, D] of the states [N, T, D] that are no padding."""
    return (states * mask.unsqueeze(2)).sum(dim=1) / mask.sum(dim=1, keepdim=True)


NETWORKS: dict[str, type[SingleStream] | type[TwoStream] | type[Align]] = {"single-stream": SingleStream, "two-stream": TwoStream, "align": Align}
