"""What a person asks of a registered model, and what the answers to every kind of request have in common."""

import io
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.evaluation.pictures import grid_png
from components.params import Strict
from components.registry import wire
from components.registry.continuing import OnText
from components.registry.loading import LoadedModel

PICTURES, TEXTS, WORDS, CLASSES = 16, 1, 5, 5
"""How many are drawn, or named, where nobody says."""
TEMPERATURE = 0.8
"""Of text, where nobody says."""
TAKE_PICTURES = {
    wire.EDITS_IMAGES, wire.RECONSTRUCTS, wire.MATCHES_IMAGES_AND_TEXT, wire.JUDGES_PAIRS, wire.CAPTIONS_IMAGES, wire.DRAWS_FROM_TEXT,
}  # fmt: skip
"""Abilities of a model that is given a picture."""
MOST_PIXELS = 50_000_000
"""Of a picture that is given."""


class Drawn(Strict):
    """What was drawn: a grid of pictures, an animation or a text."""

    png: bytes | None = None
    gif: bytes | None = None
    text: str | None = None
    description: str
    captions: tuple[str, ...] = ()
    """What a captioner says of each picture."""
    notes: tuple[str, ...] = ()
    """What the person who asked should know."""


class SampleRequest(Strict):
    """What to draw; None leaves the choice to the model."""

    num: int | None = None
    """How many; None is `PICTURES`, `TEXTS`, or the best `WORDS` or `CLASSES`."""
    prompt: str | None = None
    label: str | None = None
    image: Path | None = None
    """A picture to draw anew, of any size and mode: the middle square is brought to the model's form."""
    strength: float | None = None
    """How far an edit may go from ``image``, in (0, 1]."""
    seed: int = 0
    temperature: float | None = None
    """None is `TEMPERATURE`, or 0 where a model that maps text gives a single answer."""
    top_k: int | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    """A text ends before the first of these."""
    steps: int | None = None
    sampler: str | None = None
    guidance: float | None = None
    clip: str | None = None
    """A registered model that compares images with texts; it steers what is drawn from text."""
    clip_guidance: float | None = None
    """How strongly it steers; None is 1."""
    captioner: str | None = None
    """Who says what came out; None takes one that was trained on the same dataset, if there is any."""
    animated: bool = False
    """Of a scene: a GIF instead of a grid."""

    def wanted(self, default: int) -> int:
        return default if self.num is None else self.num

    def parameters(self) -> dict[str, Any]:
        """The parameters of the wire format that were given, and the temperature."""
        return {"temperature": TEMPERATURE, **self.model_dump(include=set(wire.Parameters.model_fields) - {"seed"}, exclude_none=True)}


def refuse_all_but(heeded: set[str], request: SampleRequest, does: str) -> None:
    """Name the first option that such a model does not heed; what always has a value is not asked for."""
    refuse(set(SampleRequest.model_fields) - {"num", "seed", "temperature", "animated", *heeded}, request, does)


def refuse(options: set[str], request: SampleRequest, does: str) -> None:
    """Name the first of ``options`` that is given; ``does`` says what such a model does instead.

    Raises:
        UserError: one is given.
    """
    for option in request.model_dump(include=options, exclude_none=True):
        raise UserError(f"{does}: leave --{'from' if option == 'image' else option.replace('_', '-')} out.")


def ask(model: LoadedModel, row: dict[str, Any], request: SampleRequest, num: int, on_text: OnText | None = None, steer: Any = None) -> wire.Rows:
    """As many answers as are wanted; more than a request may ask for take several."""
    answers: wire.Rows = []
    while len(answers) < num:
        count = min(num - len(answers), wire.MAX_DRAWS)
        answers += model.predict([{**row, "n": count}], {**request.parameters(), "seed": request.seed + len(answers)}, on_text, steer)
    return answers


def given_image(path: Path, model: LoadedModel, name: str) -> str:
    """The picture in ``path`` in the model's size and mode, as base64 PNG."""
    from PIL import ImageOps

    from components.data.modalities import Rejection
    from components.data.pixels import open_image, squared

    if not TAKE_PICTURES & set(model.spec.abilities):
        raise UserError(f"{name} takes no picture: leave --from out, or choose a model that draws pictures anew (diffusion) or reconstructs them (vae).")
    if not path.is_file():
        raise UserError(f"There is no picture {path}: give --from a file that exists.")
    mode = "L" if model.data_spec.channels == 1 else "RGB"
    picture = open_image(path.read_bytes(), MOST_PIXELS, lambda opened: ImageOps.exif_transpose(opened).convert(mode))
    if isinstance(picture, Rejection):
        fix = "scale it down first" if picture.reason == "out-of-range" else "give --from a PNG or JPEG"
        raise UserError(f"{path} is no picture that can be taken ({picture.detail}): {fix}.")
    return wire.encode_png(squared(picture, model.data_spec.image_size))


def grid(images: list[str]) -> bytes:
    return grid_png(pixels(images), max(1, round(len(images) ** 0.5)))


def pixels(images: list[str]) -> Any:
    """PNGs in base64 as one tensor [N, C, H, W] in [0, 1]."""
    import numpy as np
    import torch
    from PIL import Image

    def pixels(image: str) -> Any:
        array = np.asarray(Image.open(io.BytesIO(wire.decode_png(image))), dtype=np.float32) / 255
        return array.reshape(*array.shape[:2], -1).transpose(2, 0, 1)

    return torch.from_numpy(np.stack([pixels(image) for image in images]))
