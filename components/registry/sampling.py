"""Pictures or text from a registered model, for a person to look at."""

import io
import tempfile
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


class Drawn(Strict):
    """What was drawn: a grid of pictures, an animation or a text."""

    png: bytes | None = None
    gif: bytes | None = None
    text: str | None = None
    description: str


def sample_registered(
    project: Project, tracker: Tracker, ref: str, *, num: int = 16, prompt: str | None = None, label: str | None = None, seed: int = 0,
    temperature: float = 1.0, animated: bool = False,
) -> Drawn:  # fmt: skip
    """Draw ``num`` pictures or texts from the version that ``ref`` means; the same seed draws the same.

    Of a scene they are views round its orbit; ``animated`` makes a GIF of them.

    Raises:
        UserError: ``ref`` means nothing, the model draws nothing, or it takes no prompt or label.
    """
    version = resolve(tracker, ref)
    with load_package(_package_folder(project, tracker, version)) as model:
        if wire.RENDERS_VIEWS in model.spec.abilities:
            return _orbit(model, version.ref, num=num, given={"prompt": prompt, "label": label}, animated=animated)
        if animated:
            raise UserError(f"{version.ref} renders no views, so there is nothing to animate: give --out a name that ends in .png or .txt.")
        return _draw(model, version.ref, num=num, given={"prompt": prompt, "label": label}, seed=seed, temperature=temperature)


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


def _draw(model: LoadedModel, name: str, *, num: int, given: dict[str, str | None], seed: int, temperature: float) -> Drawn:
    abilities = set(model.spec.abilities)
    if not abilities & {wire.SAMPLES_IMAGES, wire.CONTINUES_TEXT}:
        raise UserError(f"{name} draws neither pictures nor text: it answers requests with {', '.join(sorted(abilities)) or 'nothing'}.")
    row = {column: value for column, value in given.items() if value is not None}
    answers: wire.Rows = []
    while len(answers) < num:
        count = min(num - len(answers), wire.MAX_DRAWS)
        answers += model.predict([{**row, "n": count}], {"seed": seed + len(answers), "temperature": temperature})
    if wire.CONTINUES_TEXT in abilities:
        text = "\n\n".join(f"{answer['prompt']}{answer['text']}" for answer in answers)
        return Drawn(text=text, description=f"{num} texts of {name}, seed {seed}")
    return Drawn(png=_grid([answer["image"] for answer in answers]), description=f"{num} pictures of {name}, seed {seed}")


def _orbit(model: LoadedModel, name: str, *, num: int, given: dict[str, str | None], animated: bool) -> Drawn:
    """``num`` views evenly round the scene, as a grid or as an animation."""
    for column, value in given.items():
        if value is not None:
            raise UserError(f"{name} renders views of its scene: leave --{column} out.")
    rows = [{"azimuth": 360 * index / num} for index in range(num)]
    answers = [answer for start in range(0, num, wire.MAX_ROWS) for answer in model.predict(rows[start : start + wire.MAX_ROWS])]
    images = [answer["image"] for answer in answers]
    described = f"{num} views of {name}, once round its scene"
    return Drawn(gif=animation_gif(_pixels(images)), description=described) if animated else Drawn(png=_grid(images), description=described)


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
