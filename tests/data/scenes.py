"""Folders of posed photos, and datasets made of them."""

import io
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from components.cameras import Camera
from components.data.dataset import Dataset
from components.data.photos import read_photos
from components.data.sources import scene
from components.project import Project
from tests.data.workbench import files, one_dataset, quarantine

SMALL = scene.Config(kind="scene", views=5, validation_views=2, test_views=3, size=16)
WHITE = (1.0, 1.0, 1.0)


def exported(tmp_path: Path, form: Literal["nerfstudio", "blender"] = "nerfstudio", **block: Any) -> Project:
    """A project whose one dataset is the folder `files` with the small scene in it."""
    tmp_path.mkdir(exist_ok=True)
    scene.export(tmp_path / "files", SMALL, form=form)
    return one_dataset(tmp_path, {"modality": "views", "source": {"kind": "transforms", "path": "../files"}, "split": {"method": "given"}, **block})


def edit(project: Project, name: str = "transforms.json", **changes: Any) -> None:
    """Set keys of the file with the cameras; None takes one out."""
    whole = json.loads((files(project) / name).read_text())
    whole.update(changes)
    (files(project) / name).write_text(json.dumps({key: value for key, value in whole.items() if value is not None}))


def edit_frame(project: Project, index: int, name: str = "transforms.json", **changes: Any) -> str:
    """Set keys of one frame; its file_path."""
    frames = json.loads((files(project) / name).read_text())["frames"]
    frames[index].update(changes)
    edit(project, name, frames=frames)
    return str(frames[index]["file_path"])


def reencode(project: Project, path: str, suffix: str, mode: str, size: tuple[int, int] | None = None) -> str:
    """Put a photo there in another format, mode or size instead; its new name."""
    old = files(project) / path
    with Image.open(io.BytesIO(old.read_bytes())) as image:
        flat = Image.new("RGBA", image.size, "white")
        flat.alpha_composite(image.convert("RGBA"))
        new = (image if mode == "RGBA" else flat).convert(mode).resize(size or image.size, Image.Resampling.NEAREST)
    old.unlink()
    new.save(old.with_suffix(suffix), quality=98, subsampling=0) if suffix == ".jpg" else new.save(old.with_suffix(suffix))
    return str(Path(path).with_suffix(suffix))


def photos(project: Project, name: str = "mine") -> dict[str, tuple[tuple[Camera, ...], np.ndarray]]:
    """Cameras and pixels on white, by split."""
    dataset = Dataset.open(project, name)
    found = {split: read_photos(dataset, split, WHITE) for split in ("train", "validation", "test")}  # type: ignore[arg-type]
    return {split: (photo.cameras, photo.pixels) for split, photo in found.items()}


def same(ours: dict[str, tuple[tuple[Camera, ...], np.ndarray]], theirs: dict[str, tuple[tuple[Camera, ...], np.ndarray]]) -> None:
    """Assert that two datasets hold the same cameras and pixels in the same splits."""
    for split, (cameras, pixels) in ours.items():
        assert np.array_equal(pixels, theirs[split][1])
        for one, other in zip(cameras, theirs[split][0], strict=True):
            assert np.allclose(one.rays(), other.rays(), atol=1e-9)


def only_quarantined(project: Project) -> tuple[str, str, str]:
    """(id, reason, detail) of the one row that was put aside."""
    ((name, (reason, detail)),) = quarantine(project).items()
    return name, reason, detail
