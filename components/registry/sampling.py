"""Pictures or text from a registered model, for a person to look at."""

import io
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.evaluation.pictures import animation_gif, grid_png
from components.params import Strict
from components.project import Project
from components.registry import wire
from components.registry.loading import LoadedModel, load_package
from components.registry.references import resolve
from components.tracking import ModelVersion, Tracker

PICTURES, WORDS = 16, 5
"""How many are drawn, or named, where nobody says."""
MOST_PIXELS = 50_000_000
"""Of a picture that is given."""


class Drawn(Strict):
    """What was drawn: a grid of pictures, an animation or a text."""

    png: bytes | None = None
    gif: bytes | None = None
    text: str | None = None
    description: str


class SampleRequest(Strict):
    """What to draw; None leaves the choice to the model."""

    num: int | None = None
    """How many; None is `PICTURES` pictures or texts, and the `WORDS` best words."""
    prompt: str | None = None
    label: str | None = None
    image: Path | None = None
    """A picture to draw anew, of any size and mode: the middle square is brought to the model's form."""
    strength: float | None = None
    """How far an edit may go from ``image``, in (0, 1]."""
    seed: int = 0
    temperature: float = 1.0
    steps: int | None = None
    sampler: str | None = None
    guidance: float | None = None
    animated: bool = False
    """Of a scene: a GIF instead of a grid."""

    def wanted(self, default: int = PICTURES) -> int:
        return default if self.num is None else self.num

    def parameters(self) -> dict[str, Any]:
        """The parameters of the wire format that were given."""
        chosen = {"strength": self.strength, "steps": self.steps, "sampler": self.sampler, "guidance": self.guidance, "temperature": self.temperature}
        return {name: value for name, value in chosen.items() if value is not None}


def sample_registered(project: Project, tracker: Tracker, ref: str, request: SampleRequest) -> Drawn:
    """Draw pictures or texts from the version that ``ref`` means; the same request draws the same.

    Of a scene they are views round its orbit; ``animated`` makes a GIF of them.

    Raises:
        UserError: ``ref`` means nothing, the model draws nothing, or it does not take what the request gives.
    """
    version = resolve(tracker, ref)
    with load_package(_package_folder(project, tracker, version)) as model:
        if wire.RENDERS_VIEWS in model.spec.abilities:
            return _orbit(model, version.ref, request)
        if request.animated:
            raise UserError(f"{version.ref} renders no views, so there is nothing to animate: give --out a name that ends in .png or .txt.")
        return _draw(model, version.ref, request)


def _package_folder(project: Project, tracker: Tracker, version: ModelVersion) -> Path:
    """The package where it lies on this machine, else a copy in the project's cache."""
    local = tracker.local_path(version.source)
    if local is not None:
        return local
    cached = project.cache / "packages" / version.tag("package_sha256")
    if not cached.is_dir():
        with tempfile.TemporaryDirectory(dir=_made(cached.parent)) as scratch:
            tracker.download(version.source, Path(scratch) / "package").rename(cached)
    return cached


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _draw(model: LoadedModel, name: str, request: SampleRequest) -> Drawn:
    abilities = set(model.spec.abilities)
    if wire.FILLS_MASKS in abilities:
        return _fill(model, name, request)
    if wire.RELATES_WORDS in abilities:
        return _relate(model, name, request)
    if not abilities & {wire.SAMPLES_IMAGES, wire.CONTINUES_TEXT}:
        raise UserError(f"{name} draws neither pictures nor text: it answers requests with {', '.join(sorted(abilities)) or 'nothing'}.")
    row = {column: value for column, value in (("prompt", request.prompt), ("label", request.label)) if value is not None}
    if request.image is not None:
        return _draw_anew(model, name, row, request)
    answers = _ask(model, row, request)
    if wire.CONTINUES_TEXT in abilities:
        text = "\n\n".join(f"{answer['prompt']}{answer['text']}" for answer in answers)
        return Drawn(text=text, description=f"{request.wanted()} texts of {name}, seed {request.seed}")
    return Drawn(png=_grid([answer["image"] for answer in answers]), description=f"{request.wanted()} pictures of {name}, seed {request.seed}")


def _fill(model: LoadedModel, name: str, request: SampleRequest) -> Drawn:
    """The likeliest words for each gap of the prompt."""
    _refuse_all_but_prompt(request, f"{name} fills the gaps of a prompt")
    answers = model.predict([{"prompt": request.prompt or "", "n": request.wanted(WORDS)}])
    masks = max(answer["mask"] for answer in answers)
    lines = [str(request.prompt)]
    for mask in range(1, masks + 1):
        lines += [f"mask {mask}:"] if masks > 1 else []
        lines += [f"{answer['probability']:8.4f}  {answer['word']}" for answer in answers if answer["mask"] == mask]
    return Drawn(text="\n".join(lines), description=f"the best {request.wanted(WORDS)} words for each gap by {name}")


def _relate(model: LoadedModel, name: str, request: SampleRequest) -> Drawn:
    """The words nearest to the prompt."""
    _refuse_all_but_prompt(request, f"{name} names the words nearest to a prompt")
    answers = model.predict([{"prompt": request.prompt or "", "n": request.wanted(WORDS)}])
    lines = [str(request.prompt), *(f"{answer['cosine']:8.4f}  {answer['word']}" for answer in answers)]
    return Drawn(text="\n".join(lines), description=f"the {request.wanted(WORDS)} nearest words by {name}")


def _refuse_all_but_prompt(request: SampleRequest, does: str) -> None:
    """Name the first option that such a model does not heed."""
    _refuse(request.model_dump(exclude={"num", "seed", "temperature", "animated", "prompt"}, exclude_none=True), does)


def _refuse(given: Iterable[str], does: str) -> None:
    for option in given:
        raise UserError(f"{does}: leave --{'from' if option == 'image' else option} out.")


def _draw_anew(model: LoadedModel, name: str, row: dict[str, Any], request: SampleRequest) -> Drawn:
    """The picture that is given, and behind it what the model makes of it."""
    assert request.image is not None
    source = _given_image(request.image, model, name)
    row = {**row, "image": source}
    if wire.EDITS_IMAGES in model.spec.abilities:
        answers, made = _ask(model, row, request), f"{request.wanted()} pictures drawn anew"
    else:
        answers, made = model.predict([row], request.parameters()), "its reconstruction"
    return Drawn(png=_grid([source, *(answer["image"] for answer in answers)]), description=f"the picture given and {made} by {name}, seed {request.seed}")


def _ask(model: LoadedModel, row: dict[str, Any], request: SampleRequest) -> wire.Rows:
    """As many answers as are wanted; more than a request may ask for take several."""
    answers: wire.Rows = []
    while len(answers) < request.wanted():
        count = min(request.wanted() - len(answers), wire.MAX_DRAWS)
        answers += model.predict([{**row, "n": count}], {**request.parameters(), "seed": request.seed + len(answers)})
    return answers


def _given_image(path: Path, model: LoadedModel, name: str) -> str:
    """The picture in ``path`` in the model's size and mode, as base64 PNG."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    from components.data.pixels import squared

    if not {wire.EDITS_IMAGES, wire.RECONSTRUCTS} & set(model.spec.abilities):
        raise UserError(f"{name} takes no picture: leave --from out, or choose a model that draws pictures anew (diffusion) or reconstructs them (vae).")
    if not path.is_file():
        raise UserError(f"There is no picture {path}: give --from a file that exists.")
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise UserError(f"{path} has {opened.width}x{opened.height} pixels, allowed are {MOST_PIXELS:,}: scale it down first.")
            picture = ImageOps.exif_transpose(opened).convert("L" if model.data_spec.channels == 1 else "RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path} is no picture that can be read ({type(error).__name__}): give --from a PNG or JPEG.") from None
    return wire.encode_png(squared(picture, model.data_spec.image_size))


def _orbit(model: LoadedModel, name: str, request: SampleRequest) -> Drawn:
    """Views evenly round the scene, as a grid or as an animation."""
    _refuse(request.model_dump(exclude={"num", "seed", "temperature", "animated"}, exclude_none=True), f"{name} renders views of its scene")
    num = request.wanted()
    rows = [{"azimuth": 360 * index / num} for index in range(num)]
    answers = [answer for start in range(0, num, wire.MAX_ROWS) for answer in model.predict(rows[start : start + wire.MAX_ROWS])]
    images = [answer["image"] for answer in answers]
    described = f"{num} views of {name}, once round its scene"
    return Drawn(gif=animation_gif(_pixels(images)), description=described) if request.animated else Drawn(png=_grid(images), description=described)


def _grid(images: list[str]) -> bytes:
    return grid_png(_pixels(images), max(1, round(len(images) ** 0.5)))


def _pixels(images: list[str]) -> Any:
    """PNGs in base64 as one tensor [N, C, H, W] in [0, 1]."""
    import numpy as np
    import torch
    from PIL import Image

    def pixels(image: str) -> Any:
        array = np.asarray(Image.open(io.BytesIO(wire.decode_png(image))), dtype=np.float32) / 255
        return array.reshape(*array.shape[:2], -1).transpose(2, 0, 1)

    return torch.from_numpy(np.stack([pixels(image) for image in images]))
