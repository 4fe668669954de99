"""Figures and pictures of a model that renders views: how close it comes to test photos, and a walk round its scene."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from components.cameras import Camera, Lens
from components.code import code_digest
from components.data.dataset import Dataset
from components.data.photos import Photos, read_photos
from components.errors import UserError
from components.evaluation.config import EvaluationConfig
from components.evaluation.evidence import Evidence
from components.evaluation.pictures import animation_gif, depth_colours, grid_png
from components.evaluation.protocol import Figure, Identity, Recorded
from components.evaluation.scoring import standard_error
from components.evaluation.telling import SILENT, Teller, counted
from components.models.capabilities import DataSpec, Rendering, RendersViews, SceneSpec

ORBIT_FRAMES = 36
MOST_SHOWN = 12
"""Test views in a picture, at most."""
SHOWN_SIDE = 160
"""Pixels of the longer side of a view in a picture or an animation, at most."""
_LEAST_ERROR = 1e-10
"""Of a picture without any error, so that its PSNR is 100 dB and no mean is infinite."""
_COLUMNS = 6


def require_enough_views(dataset: Dataset) -> None:
    """Refuse, before anything is trained, a dataset without a photo to test on.

    Raises:
        UserError: naming the split.
    """
    if not dataset.manifest.rows("test"):
        raise UserError(
            f"The test split of {dataset.name!r} has no photos and psnr needs at least one: "
            f"add test_filenames or transforms_test.json to the source, or set datasets.{dataset.name}.split.method to hash."
        )


def score_views(model: RendersViews, dataset: Dataset, data_spec: DataSpec, *, config: EvaluationConfig, tell: Teller) -> Evidence:
    """PSNR and SSIM on every test photo, with pictures of them, of depth and of an orbit."""
    scene = _scene(data_spec)
    test = read_photos(dataset, "test", scene.background)
    renderings = [_on_cpu(model.render(camera)) for camera in counted(test.cameras, f"rendering {len(test.cameras)} test views", tell)]
    drawn, real = torch.stack([rendering.rgb for rendering in renderings]).movedim(-1, 1), images_of(test)
    train = read_photos(dataset, "train", scene.background)
    nearest = images_of(train)[nearest_photos(train.cameras, test.cameras)]
    shape = f"3x{real.shape[2]}x{real.shape[3]} in [0, 1] over {_rgb(scene)}, mean of the views"
    recorded = Recorded(seed=config.seed, sampler="volume rendering", code=code_digest("components.evaluation.views"))

    def figure(name: str, measure: Callable[[Tensor, Tensor], Tensor], preprocessing: str, unit: str = "") -> Figure:
        values = measure(drawn, real).double()
        identity = Identity(metric=name, num_samples=len(real), reference_sha256=dataset.manifest.sha256, split="test", preprocessing=preprocessing)
        return Figure(
            name=name, value=float(values.mean()), goal="max", identity=identity, recorded=recorded, unit=unit,
            floor=float(measure(nearest, real).double().mean()), floor_name="the nearest training photo",
            spread=standard_error(values), spread_over=f"{len(values)} test views (standard error)", note=_per_view(values, unit),
        )  # fmt: skip

    figures = (figure("psnr", psnr, shape, "dB"), figure("ssim", ssim, f"{shape}, Gaussian window 11, sigma 1.5, borders mirrored"))
    pictures = {"views": _views_png(real, drawn), "depth": _depth_png(renderings)}
    return Evidence(figures, pictures, animations={"orbit": animation_gif(orbit_frames(model, scene, ORBIT_FRAMES, tell))})


def _per_view(values: Tensor, unit: str) -> str:
    """How the views differ, of ``values`` [N]."""
    if len(values) < 2:
        return "of a single view: indicative only"
    low, high, spread = (f"{float(value):.3g}" for value in (values.min(), values.max(), values.std()))
    return f"single views from {low} to {high}{f' {unit}' if unit else ''}, standard deviation {spread}"


def psnr(drawn: Tensor, real: Tensor) -> Tensor:
    """Peak signal to noise ratio of each of ``drawn`` [N, C, H, W] in [0, 1] in dB, [N]; at most 100."""
    return -10 * (drawn - real).double().square().flatten(1).mean(1).clamp(min=_LEAST_ERROR).log10()


def ssim(drawn: Tensor, real: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) of each of ``drawn`` [N, C, H, W] in [0, 1], [N]; every pixel counts, with the borders mirrored."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    values = structural_similarity_index_measure(drawn, real, data_range=1.0, reduction="none")
    assert isinstance(values, Tensor)
    return values.reshape(-1)


def nearest_photos(train: Sequence[Camera], test: Sequence[Camera]) -> Tensor:
    """For each of ``test`` the number of the training camera that stood closest by, [N]."""
    there, here = (np.stack([camera.position for camera in cameras]) for cameras in (train, test))
    return torch.from_numpy(np.linalg.norm(here[:, None] - there[None], axis=2).argmin(1))


def views_picture(model: RendersViews, data_spec: DataSpec, num: int = 4) -> bytes:
    """A PNG of ``num`` views evenly round the orbit, their depths below."""
    scene = _scene(data_spec)
    cameras = [scene.orbit.camera(_shown_lens(scene.lens), 45 + 360 * index / num) for index in range(num)]
    return _depth_png([_on_cpu(model.render(camera)) for camera in cameras])


def orbit_frames(model: RendersViews, scene: SceneSpec, num: int, tell: Teller = SILENT) -> Tensor:
    """``num`` views once round the scene, [num, 3, H, W]."""
    lens = _shown_lens(scene.lens)
    turns = counted(range(num), f"rendering an orbit of {num} frames", tell)
    views = (model.render(scene.orbit.camera(lens, 360 * turn / num)) for turn in turns)
    return torch.stack([view.rgb.float().cpu() for view in views]).movedim(-1, 1)


def images_of(photos: Photos) -> Tensor:
    """Photos as [N, 3, H, W] in [0, 1]."""
    return torch.from_numpy(photos.pixels).movedim(-1, 1).float() / 255


def _views_png(real: Tensor, drawn: Tensor) -> bytes:
    """Test photos above what the model renders in their place."""
    num = min(len(real), MOST_SHOWN)
    columns = min(_COLUMNS, num)
    chosen = torch.arange(num // columns * columns) * len(real) // (num // columns * columns)
    rows = [_shown(images[part]) for part in chosen.split(columns) for images in (real, drawn)]
    return grid_png(torch.cat(rows), columns, scale=_scale(rows[0]), row_captions=["real", "model"] * (len(rows) // 2))


def _depth_png(renderings: Sequence[Rendering]) -> bytes:
    """Views above their depths."""
    few = renderings[:: max(1, len(renderings) // 4)][:4]
    colours = depth_colours(torch.stack([one.depth for one in few]), torch.stack([one.opacity for one in few]))
    rows = _shown(torch.cat([torch.stack([one.rgb for one in few]).movedim(-1, 1), colours]))
    return grid_png(rows, len(few), scale=_scale(rows), row_captions=["model", "depth"])


def _shown(images: Tensor) -> Tensor:
    """``images`` [N, 3, H, W], made smaller where they are too large for a picture."""
    longer = max(images.shape[2:])
    return images if longer <= SHOWN_SIDE else F.interpolate(images, scale_factor=SHOWN_SIDE / longer, mode="area", recompute_scale_factor=True)


def _shown_lens(lens: Lens) -> Lens:
    shrink = min(1.0, SHOWN_SIDE / max(lens.width, lens.height))
    return lens.resized(max(1, round(lens.width * shrink)), max(1, round(lens.height * shrink)))


def _scale(images: Tensor) -> int:
    return max(1, math.floor(SHOWN_SIDE / images.shape[3]))


def _on_cpu(rendering: Rendering) -> Rendering:
    return Rendering(*(part.float().cpu() for part in rendering))


def _scene(data_spec: DataSpec) -> SceneSpec:
    assert data_spec.scene is not None
    return data_spec.scene


def _rgb(scene: SceneSpec) -> str:
    return {(1.0, 1.0, 1.0): "white", (0.0, 0.0, 0.0): "black"}.get(scene.background, str(scene.background))
