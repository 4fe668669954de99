"""Photos of a small scene that the program traces itself: a chequered ball, a striped box, a torus and a marble on a table, with alpha.

Everything is known of it, it costs seconds, and there is nothing to download. `export` writes the same photos as a folder for the source `transforms`.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from components.cameras import Camera, Lens, Orbit
from components.data.pixels import encode_image
from components.data.sources import RawRow, SourceConfig

MODALITIES = ("views",)
LICENCE = "CC0-1.0 (made by this program)"
FIELD_OF_VIEW = math.radians(40)
DISTANCE = 3.6
ELEVATIONS = (5.0, 75.0)
"""Degrees between which the cameras stand."""
_GOLDEN_TURN = 180 * (3 - math.sqrt(5))


class Config(SourceConfig):
    kind: Literal["scene"]
    views: int = Field(60, ge=1, le=1000)
    """Photos to train on."""
    validation_views: int = Field(8, ge=1, le=200)
    test_views: int = Field(12, ge=1, le=200)
    size: int = Field(80, ge=8, le=800)
    """Width and height of a photo in pixels."""
    seed: int = Field(0, ge=0)
    """Another seed turns all cameras together about the upright axis."""


def check(config: Config, modality: str, root: Path) -> None:
    return


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    """Nothing besides the settings and the code, which the stamp holds."""
    return {}


def describe(config: Config, modality: str, root: Path) -> dict[str, Any]:
    return {"kind": "scene", "of": "components.data.raytracer", **config.model_dump(include={"views", "validation_views", "test_views", "size", "seed"})}


def class_names(config: Config, modality: str, root: Path) -> tuple[str, ...]:
    return ()


def read(config: Config, modality: str, root: Path) -> Iterator[RawRow]:
    for split, name, camera in cameras(config):
        lens = camera.lens
        yield RawRow(
            id=name,
            source=f"traced, camera at {', '.join(f'{value:.2f}' for value in camera.position)}",
            fields={
                "image": {"bytes": _png(camera), "path": f"{name}.png"}, "pose": list(camera.pose),
                "fl_x": lens.fl_x, "fl_y": lens.fl_y, "cx": lens.cx, "cy": lens.cy, "width": lens.width, "height": lens.height,
            },
            split=split,
        )  # fmt: skip


def cameras(config: Config) -> Iterator[tuple[str, str, Camera]]:
    """(split, name, camera) of every photo, training first: evenly strewn over a cap of the sphere round the scene, looking at its middle."""
    half = config.size / 2
    focal = half / math.tan(FIELD_OF_VIEW / 2)
    lens = Lens(focal, focal, half, half, config.size, config.size)
    orbit = Orbit((0.0, 0.0, 0.0), DISTANCE, 30.0, (0.0, 0.0, 1.0))
    low, high = (math.sin(math.radians(degrees)) for degrees in ELEVATIONS)
    start = 360 * math.modf(0.754877666 * config.seed)[0]
    splits = _dealt(config)
    for split in ("train", "validation", "test"):
        for number, index in enumerate(index for index, dealt in enumerate(splits) if dealt == split):
            rise = low + (high - low) * (index + 0.5) / len(splits)
            yield split, f"{split}-{number:03d}", orbit.camera(lens, start + index * _GOLDEN_TURN, math.degrees(math.asin(rise)))


def _dealt(config: Config) -> list[str]:
    """The split of each place of one even lattice, so that no held-out camera stands nearer to a training camera than those do to each other."""
    held_out = config.validation_views + config.test_views
    splits = ["train"] * (config.views + held_out)
    for number in range(held_out):
        validation = (number + 1) * config.validation_views // held_out > number * config.validation_views // held_out
        splits[int((number + 0.5) * len(splits) / held_out)] = "validation" if validation else "test"
    return splits


def export(folder: Path, config: Config, *, form: Literal["nerfstudio", "blender"] = "nerfstudio") -> None:
    """Write the photos as PNG and their cameras as JSON into ``folder``, as the source `transforms` (and other programs) read them.

    `nerfstudio`: one `transforms.json` with intrinsics and lists of the splits' files. `blender`: `transforms_train.json` and so on, with an angle.
    """
    frames: dict[str, list[dict[str, Any]]] = {}
    for split, name, camera in cameras(config):
        path = f"{split}/{name}"
        (folder / split).mkdir(parents=True, exist_ok=True)
        (folder / f"{path}.png").write_bytes(_png(camera))
        frames.setdefault(split, []).append({"file_path": f"{path}.png" if form == "nerfstudio" else f"./{path}", "transform_matrix": camera.matrix.tolist()})
    lens = camera.lens
    short = {"train": "train", "validation": "val", "test": "test"}
    if form == "blender":
        for split, found in frames.items():
            _write(folder / f"transforms_{short[split]}.json", {"camera_angle_x": FIELD_OF_VIEW, "frames": found})
        return
    whole = {"camera_model": "PINHOLE", "fl_x": lens.fl_x, "fl_y": lens.fl_y, "cx": lens.cx, "cy": lens.cy, "w": lens.width, "h": lens.height}
    lists = {f"{short[split]}_filenames": [frame["file_path"] for frame in found] for split, found in frames.items()}
    _write(folder / "transforms.json", {**whole, "frames": [frame for found in frames.values() for frame in found], **lists})


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _png(camera: Camera) -> bytes:
    from PIL import Image

    from components.data.raytracer import photograph

    return encode_image(Image.fromarray(photograph(camera)))
