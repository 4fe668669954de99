"""Fields: position in [-1, 1]^3 to density and features, and features and direction to colour.

`Planes`: Fridovich-Keil et al. 2023, "K-Planes". `HashGrid`: Mueller et al. 2022, "Instant Neural Graphics Primitives". `ClassicMlp`: Mildenhall et al. 2020,
"NeRF", appendix A.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.models.nerf.config import NerfConfig

INITIAL_DENSITY = 0.1
"""Of new planes and hash grids, everywhere: a thin fog that lets every place be seen."""
_MOST_LOG_DENSITY = 12.0
_PASSED_ON = 15
"""Features that the density network passes on to the colour network."""
_PRIMES = (1, 2_654_435_761, 805_459_861)


class Head(nn.Module):
    """The small networks behind a grid of features: density, and colour by direction (spherical harmonics up to degree 2)."""

    def __init__(self, features: int, width: int, depth: int) -> None:
        super().__init__()
        self.density = _network(features, width, depth, 1 + _PASSED_ON)
        self.colour = _network(_PASSED_ON + 9, width, depth, 3)
        last = self.density[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight[0] = 0
            last.bias[0] = math.log(INITIAL_DENSITY)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Density [N] and what `rgb` needs [N, 15]."""
        output = self.density(features)
        return torch.exp(output[:, 0].clamp(max=_MOST_LOG_DENSITY)), output[:, 1:]

    def rgb(self, passed: Tensor, directions: Tensor) -> Tensor:
        """Colours [N, 3] in [0, 1]; a new network says grey."""
        return torch.sigmoid(self.colour(torch.cat([passed, harmonics(directions)], dim=1)))


class Planes(nn.Module):
    """Three planes of features per level; a point's features are the product of what it meets on the three."""

    def __init__(self, config: NerfConfig) -> None:
        super().__init__()
        self.planes = nn.ParameterList(torch.empty(3, config.features, size, size).uniform_(0.5, 1.5) for size in level_sizes(config))
        self.head = Head(config.features * config.levels, config.width, config.depth)

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        sides = torch.stack([points[:, [0, 1]], points[:, [0, 2]], points[:, [1, 2]]])[:, None]
        met = [F.grid_sample(plane, sides, align_corners=True, padding_mode="border")[:, :, 0].prod(0) for plane in self.planes]
        density, passed = self.head(torch.cat(met).T)
        return density, passed

    def rgb(self, passed: Tensor, directions: Tensor) -> Tensor:
        return self.head.rgb(passed, directions)

    def variation(self) -> Tensor:
        """The mean squared difference of neighbouring cells, summed over the levels."""
        return torch.stack([plane.diff(dim=2).square().mean() + plane.diff(dim=3).square().mean() for plane in self.planes]).sum()


class HashGrid(nn.Module):
    """Corners of cells at every level looked up in a table by a hash of their coordinates, and blended."""

    def __init__(self, config: NerfConfig) -> None:
        super().__init__()
        self.sizes, self.length = level_sizes(config), 2**config.log2_table
        self.table = nn.Parameter(torch.empty(config.levels * self.length, config.features).uniform_(-1e-4, 1e-4))
        self.head = Head(config.features * config.levels, config.width, config.depth)
        self.register_buffer("corners", torch.tensor([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)]), persistent=False)

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        found = [self._level(points * 0.5 + 0.5, level) for level in range(len(self.sizes))]
        index, weight = torch.stack([index for index, _ in found], dim=1), torch.stack([weight for _, weight in found], dim=1)
        features = F.embedding_bag(index.flatten(0, 1), self.table, per_sample_weights=weight.flatten(0, 1).to(self.table.dtype), mode="sum")
        density, passed = self.head(features.unflatten(0, (len(points), len(self.sizes))).flatten(1))
        return density, passed

    def _level(self, points: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """Rows of the table [N, 8] and their weights [N, 8]."""
        size = self.sizes[level]
        scaled = points.clamp(0, 1) * size
        base = scaled.floor().clamp(max=size - 1)
        part = (scaled - base)[:, None]
        corners: Tensor = self.corners  # type: ignore[assignment]
        weight = torch.where(corners == 1, part, 1 - part).prod(-1)
        x, y, z = (base.long()[:, None] + corners).unbind(-1)
        if (size + 1) ** 3 <= self.length:
            index = (x * (size + 1) + y) * (size + 1) + z
        else:
            index = (x * _PRIMES[0] ^ y * _PRIMES[1] ^ z * _PRIMES[2]) & (self.length - 1)
        return index + level * self.length, weight

    def rgb(self, passed: Tensor, directions: Tensor) -> Tensor:
        return self.head.rgb(passed, directions)


class ClassicMlp(nn.Module):
    """The network of the paper: encoded positions, a second entrance in the middle, directions only before the colour."""

    def __init__(self, config: NerfConfig) -> None:
        super().__init__()
        self.octaves, self.direction_octaves, width = config.position_octaves, config.direction_octaves, config.width
        entrance = 3 + 6 * self.octaves
        self.again = config.depth // 2 + 1 if config.depth > 2 else 0
        self.layers = nn.ModuleList(
            nn.Linear(entrance if index == 0 else width + (entrance if index == self.again else 0), width) for index in range(config.depth)
        )
        self.density, self.passed = nn.Linear(width, 1), nn.Linear(width, width)
        self.before_colour, self.colour = nn.Linear(width + 3 + 6 * self.direction_octaves, max(width // 2, 3)), nn.Linear(max(width // 2, 3), 3)

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        entrance = encoded(points, self.octaves)
        hidden = entrance
        for index, layer in enumerate(self.layers):
            hidden = F.relu(layer(torch.cat([hidden, entrance], dim=1) if index and index == self.again else hidden))
        # The paper's ReLU leaves a network that starts out negative without gradients.
        return F.softplus(self.density(hidden)[:, 0]), self.passed(hidden)

    def rgb(self, passed: Tensor, directions: Tensor) -> Tensor:
        hidden = F.relu(self.before_colour(torch.cat([passed, encoded(directions, self.direction_octaves)], dim=1)))
        return torch.sigmoid(self.colour(hidden))


FIELDS: dict[str, type[Planes] | type[HashGrid] | type[ClassicMlp]] = {"planes": Planes, "hash": HashGrid, "mlp": ClassicMlp}
Field = Planes | HashGrid | ClassicMlp


def level_sizes(config: NerfConfig) -> list[int]:
    """Cells across the scene of each level, in equal ratios."""
    ratio = (config.resolution / config.coarsest) ** (1 / max(1, config.levels - 1))
    return [round(config.coarsest * ratio**level) for level in range(config.levels)]


def encoded(values: Tensor, octaves: int) -> Tensor:
    """Values [N, 3] and their sines and cosines at ``octaves`` frequencies, [N, 3 + 6 * octaves]."""
    turns = values[:, None] * (2.0 ** torch.arange(octaves, device=values.device))[:, None] * math.pi
    return torch.cat([values, turns.sin().flatten(1), turns.cos().flatten(1)], dim=1)


def harmonics(directions: Tensor) -> Tensor:
    """Real spherical harmonics of unit vectors [N, 3] up to degree 2, [N, 9], each of about unit size."""
    x, y, z = directions.unbind(1)
    return torch.stack([torch.ones_like(x), x, y, z, 2 * x * y, 2 * y * z, 2 * x * z, x * x - y * y, 1.5 * z * z - 0.5], dim=1)


def _network(inputs: int, width: int, depth: int, outputs: int) -> nn.Sequential:
    """``depth`` hidden layers with ReLU; the last layer starts at zero where its output is a colour or a density (see `Head`)."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    last = nn.Linear(inputs, outputs)
    if outputs == 3:
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)
