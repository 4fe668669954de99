"""Trains radiance fields on the prepared dataset `scene` for the same time each and prints one row of figures per field.

    python -m benchmarks.nerf_scene --seconds 55 [--out FOLDER] [FIELD[,setting=value…] …]     e.g. planes mlp,width=256,depth=8,batch_size=256

A plain loop on one thread, so that nothing but the fields differs; the learning rate falls with the time that has passed. `genmill run` is what makes models.
The classic network of the paper (8 layers of 256, 64 and 128 samples) gets smaller batches, for else it takes no more than a handful of steps.
"""

import argparse
import copy
import math
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from components.data.dataset import Dataset
from components.data.photos import read_photos
from components.evaluation.pictures import pairs_png
from components.evaluation.views import images_of, psnr, ssim
from components.models.capabilities import DataSpec
from components.models.nerf.config import NerfConfig
from components.models.nerf.model import Nerf
from components.project import Project
from components.training import datamodules
from components.training.hardware import usable_cores

DEFAULT = (
    "planes",
    "mlp,width=256,depth=8,samples=64,fine_samples=128,batch_size=128,learning_rate=5e-4",
    "mlp,width=64,depth=4,samples=32,fine_samples=32,batch_size=512,learning_rate=2e-3",
)


class Stepped(Nerf):
    """The field in a loop without a Trainer."""

    step = 0

    @property
    def global_step(self) -> int:
        return self.step


def train(config: NerfConfig, data: DataSpec, batches: Any, seconds: float) -> tuple[Nerf, int, float]:
    """The averaged model, its steps and its seconds: the learning rate falls with the time that has passed."""
    torch.manual_seed(0)
    model = Stepped(config, data)
    model.log = lambda *arguments, **named: None  # type: ignore[method-assign]
    setup: Any = model.configure_optimizers()
    optimizer = setup["optimizer"]
    rates = [group["initial_lr"] for group in optimizer.param_groups]
    average = copy.deepcopy(model).eval()
    began, step = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        torch.manual_seed(1_000_003 + step)
        model.step = step
        warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
        cosine = 0.5 * (1 + math.cos(math.pi * passed / seconds))
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * warm * (config.cooldown + (1 - config.cooldown) * cosine)
        loss = model.training_step(batches.train(step), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - min(config.ema_decay, (1 + step) / (10 + step)))
    elapsed = time.perf_counter() - began
    if model.grid is not None and average.grid is not None:
        average.grid.load_state_dict(model.grid.state_dict())
    average.finish(iter(()))
    return average, step, elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fields", nargs="*", default=DEFAULT, help="field with settings, split by commas")
    parser.add_argument("--seconds", type=float, default=55.0, help="training time of each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder for the pictures")
    arguments = parser.parse_args()
    torch.set_float32_matmul_precision("medium")  # as a run of `genmill` has it on a CPU
    project = Project.find()
    dataset = Dataset.open(project, "scene")
    for asked in arguments.fields:
        field, *settings = asked.split(",")
        config = NerfConfig.model_validate({"field": field, **{key: yaml.safe_load(value) for key, _, value in (item.partition("=") for item in settings)}})
        data = datamodules.describe(dataset, config, project.cache)
        torch.set_num_threads(arguments.threads)
        model, steps, elapsed = train(config, data, datamodules.prepare(dataset, config, data, 0), arguments.seconds)
        torch.set_num_threads(usable_cores())  # scoring is not timed, and the classic network takes minutes for it
        real, drawn = photos_and_renderings(model, dataset)
        figures = ", ".join(f"{measure.__name__} {values.mean():.3f} ± {values.std():.3f}" for measure in (psnr, ssim) for values in [measure(drawn, real)])
        print(f"{asked}: {steps} steps in {elapsed:.0f} s: {figures}", flush=True)
        if arguments.out:
            arguments.out.mkdir(parents=True, exist_ok=True)
            (arguments.out / f"{asked.replace('=', '-')}.png").write_bytes(pairs_png(real, drawn, columns=6))


@torch.no_grad()
def photos_and_renderings(model: Nerf, dataset: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    """The test photos and what the model renders in their place, each [N, 3, H, W]."""
    photos = read_photos(dataset, "test", model.scene.background)
    torch.set_float32_matmul_precision("highest")
    drawn = torch.stack([model.render(camera).rgb for camera in photos.cameras]).movedim(-1, 1)
    torch.set_float32_matmul_precision("medium")
    return images_of(photos), drawn


if __name__ == "__main__":
    main()
