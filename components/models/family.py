"""What a family declares about itself, and how families are found by their folder's name."""

import functools
import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import Field

import components.models
from components.errors import UserError, nearest
from components.params import Block, Strict

Size = Literal["tiny", "small", "base"]
Goal = Literal["min", "max"]


class TrainingConfig(Strict):
    """The knobs that every family has; a family's config adds its own. Budgets are steps, never seconds."""

    ARCHITECTURE: ClassVar[tuple[str, ...]] = ()
    """Settings in which a model and the weights that it begins with must be alike."""

    @classmethod
    def architecture_of(cls, described: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of `ARCHITECTURE` by the config.json of a folder in the format of transformers.

        Raises:
            UserError: no model of this family is described there; the message goes on after the folder's name.
        """
        raise UserError("this family begins with registered models only: give init_from the name of one.")

    max_steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup_steps: int = 50
    gradient_clip: float = 1.0
    """Global norm to which gradients are clipped; 0 turns clipping off."""
    ema_decay: float = 0.999
    """Decay per step of the exponential moving average of the weights; 0 turns it off."""
    sample_every: int = 250
    """Steps between two pictures (or texts) drawn from the fixed seeds."""
    validate_every: int = 250
    checkpoint_every: int = 250
    keep: Literal["last", "best"] = "last"
    """Which averaged weights are evaluated and packaged: those of the last step, or of the lowest validation loss."""
    buffer_mib: float = Field(1024, gt=0)
    """Memory for decoded rows. Where training and validation rows take no more they are held, and an epoch is one shuffle of all; of a larger dataset
    half as much is shuffled at a time, which changes the order. Documents of plain text lie in a file and rays in memory, whatever this is."""


class ImageTrainingConfig(TrainingConfig):
    """What every family that trains on images has besides."""

    image_size: int | None = Field(None, ge=8, le=1024)
    """Side in pixels that images are brought to when they are loaded: the middle square, scaled with an antialiased filter.
    Null keeps the dataset's (of images that are not square, their shorter side)."""


class WatchedTrainingConfig(ImageTrainingConfig):
    """What every family has besides that draws images without a word of what they shall show, so that their variety can be watched."""

    watch_every: int = Field(0, ge=0)
    """Steps between two measurements of recall and coverage, which show mode collapse while it happens; 0 turns them off."""
    least_coverage: float = Field(0.2, ge=0, le=1)
    """Coverage of the training images below which, after a fifth of the training, the alarm of mode collapse is raised."""


class ImageTextTrainingConfig(ImageTrainingConfig):
    """What every family that trains on images and their captions has besides."""

    vocab_size: int = Field(512, ge=259)
    """Tokens of the byte-pair vocabulary of the captions at most: 256 bytes, three marks, and the merges."""
    caption_length: int = Field(32, ge=3)
    """Tokens of a caption with the marks at its beginning and end; longer captions are cut."""


class ImageTowerConfig(ImageTextTrainingConfig):
    """What families have besides that see images by convolutional residual networks, or by patches, and understand words beside them."""

    working_side: int = Field(16, ge=4)
    """Tower `conv` folds larger images, blocks of pixels into channels, to at most this many pixels a side."""
    image_width: int = Field(32, ge=8)
    """Channels of tower `conv` at full resolution, doubled at each halving; of tower `vit`, the width of its layers."""
    max_image_width: int = Field(128, ge=8)
    """Channels of tower `conv` are never more than this."""
    image_layers: int = Field(1, ge=1)
    """Residual blocks per resolution of tower `conv`; layers of the other towers."""
    image_heads: int = Field(4, ge=1)
    """Attention heads of tower `vit`."""
    patch: int = Field(4, ge=1)
    """Pixels a side of the patches that the other towers see."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the values dropped inside the layers while training."""


class ViewsTrainingConfig(TrainingConfig):
    """What every family that trains on posed photos has besides."""

    background: Literal["white", "black"] = "white"
    """What the transparent parts of photos show."""
    scene_radius: float | None = Field(None, gt=0)
    """From the middle of the scene to the faces of the cube that is modelled at full resolution, in the units of the cameras' positions.
    Null takes what all cameras see."""


@dataclass(frozen=True)
class Family:
    """A family of models: one folder in `components/models/` whose `config.py` ends in ``FAMILY = Family(...)``."""

    config: type[TrainingConfig]
    """The typed config; its defaults are those of size `tiny`."""
    model: str
    """``module:Class`` of the LightningModule, imported only where it is trained or loaded."""
    modality: tuple[str, ...]
    """Modalities of the datasets it trains on, the usual one first."""
    primary: str
    """The figure by which runs are ranked, as in `Figure.name`."""
    goal: Goal
    sizes: Mapping[str, Mapping[str, Any]]
    """Overrides of the config's defaults for `small` and `base` (`tiny` is the defaults)."""
    starter: bool = False
    """Whether `genmill data add` proposes it for a dataset of its usual modality."""
    batches: str | Mapping[str, str] | None = None
    """Kind of the batches it trains on (a module of `components.training.datamodules`), of every modality or by modality; what is not named: its own."""
    cost_per_step: float = 1.0
    """Relative cost of one training step, so that the cheapest model is built first."""
    guards: tuple[str, ...] = ()
    """Figures that must not get worse while the primary one gets better."""
    gates: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By figure, the least (`min`) or the most (`max`) that a version must reach to be promoted, unless params.yaml says another."""
    search_space: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By field of the config what `genmill tune` may choose from: a range (`low`, `high`, `log`) or `choices`; the rate of learning and the size of a batch
    always belong to it, see `components.tuning.space`."""
    loss_settings: tuple[str, ...] = ()
    """Fields of the config that change what `validation/loss` measures: the losses of trainings that differ in one of them do not compare."""
    summary: str = ""
    """One line of what the family does."""
    intended_use: str = ""
    limits: str = ""

    @property
    def headline(self) -> tuple[str, ...]:
        """The figures by which versions are ranked and guarded, the primary one first."""
        return (self.primary, *self.guards)

    def resolve(self, size: str, overrides: Block) -> TrainingConfig:
        """The config of ``size`` with the user's overrides on top; mistakes are named with their line."""
        return overrides.validate(self.config, {**self.sizes.get(size, {}), **overrides.value})

    def batches_of(self, modality: str) -> str:
        """The kind of batches that a dataset of ``modality`` gives to the family."""
        assert modality in self.modality, f"datasets of {modality} do not fit"
        if isinstance(self.batches, Mapping):
            return self.batches.get(modality, modality)
        return self.batches or modality

    def load_class(self) -> Any:
        module, _, name = self.model.partition(":")
        return getattr(importlib.import_module(module), name)


@functools.cache
def family_names() -> tuple[str, ...]:
    """Every family there is: the folders of `components/models/` that hold a `config.py`."""
    found = []
    for info in pkgutil.iter_modules(components.models.__path__):
        if info.ispkg and importlib.util.find_spec(f"components.models.{info.name}.config"):
            found.append(info.name.replace("_", "-"))
    return tuple(sorted(found))


def find_family(name: str) -> Family:
    """The family ``name`` (`text-to-image` is the folder `text_to_image`)."""
    if name not in family_names():
        raise UserError(f"There is no family {name!r}; {nearest(name, family_names())}")
    family = importlib.import_module(f"components.models.{name.replace('-', '_')}.config").FAMILY
    assert isinstance(family, Family)
    return family
