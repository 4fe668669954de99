"""Trains radiance fields on the prepared dataset `scene` for the same time each and prints one row of figures per field.

    python -m benchmarks.nerf_scene --seconds 55 [--out FOLDER] [FIELD[,setting=value…] …]     e.g. planes mlp,width=256,depth=8,batch_size=256

A plain loop, so that nothing but the fields differs: the number of steps is measured first and then fits the time; `genmill run` is what makes models.
The classic network of the paper (8 layers of 256, 64 and 128 samples) gets smaller batches, for else it takes no more than a handful of steps.
"""

import argparse
import copy
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from components.data.dataset import Dataset
from components.evaluation.config import EvaluationConfig
from components.evaluation.evaluate import evaluate
from components.models.capabilities import DataSpec
from components.models.nerf.config import NerfConfig
from components.models.nerf.model import Nerf
from components.project import Project
from components.training import datamodules

DEFAULT = (
    "planes",
    "mlp,width=256,depth=8,samples=64,fine_samples=128,batch_size=128,learning_rate=5e-4",
    "mlp,width=64,depth=4,samples=32,fine_samples=32,batch_size=512,learning_rate=2e-3",
)
TRIAL_STEPS = 8
EARLY = 3.0
"""A field behind an occupancy grid takes fewer points per step later on: its steps are counted by time, not by those of the start."""


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
        # At step 0 of the cosine's own count, warm-up left to this loop: the share of the time stands in for that of the steps.
        share = model._learning_rate_factor(int(passed / seconds * config.max_steps)) if passed else 1.0
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (share if step > config.warmup_steps else warm)
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
    torch.set_num_threads(arguments.threads)
    torch.set_float32_matmul_precision("medium")  # as a run of `genmill` has it on a CPU
    project = Project.find()
    dataset = Dataset.open(project, "scene")
    for asked in arguments.fields:
        field, *settings = asked.split(",")
        config = NerfConfig.model_validate({"field": field, **{key: yaml.safe_load(value) for key, _, value in (item.partition("=") for item in settings)}})
        data = datamodules.describe(dataset, config, project.cache)
        model, steps, elapsed = train(config, data, datamodules.prepare(dataset, config, data, 0), arguments.seconds)
        began = time.perf_counter()
        evidence = evaluate(model, dataset, data, config=EvaluationConfig(), cache=project.cache, say=lambda _: None)
        figures = ", ".join(f"{figure.name} {figure.value:.3f} ± {figure.spread or 0:.3f} ({figure.floor or 0:.3f})" for figure in evidence.figures)
        print(f"{asked}: {steps} steps in {elapsed:.0f} s, evaluated in {time.perf_counter() - began:.1f} s: {figures}", flush=True)
        if arguments.out:
            _write(arguments.out / field, evidence)


def _write(folder: Path, evidence: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {**evidence.pictures, **evidence.animations}.items():
        (folder / f"{name}.{'gif' if name in evidence.animations else 'png'}").write_bytes(content)


if __name__ == "__main__":
    main()
