"""Trains the vae on the digits of a prepared project with other settings and prints one row of figures.

    python -m benchmarks.vae_digits [--out FOLDER] [setting=value ...]      e.g. mixtures=2 max_steps=900

A plain loop on one thread (on tensors this small a second thread gains a quarter on an idle machine and loses far more on a busy one), so
that settings compare; `genmill run` is what makes models.
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
from components.evaluation.features import read_images
from components.models.capabilities import DataSpec
from components.models.vae.config import VaeConfig
from components.models.vae.model import Vae
from components.project import Project


class Stepped(Vae):
    """The vae in a loop without a Trainer: the KL warm-up asks for the step."""

    step = 0

    @property
    def global_step(self) -> int:
        return self.step


def train(config: VaeConfig, spec: DataSpec, images: torch.Tensor) -> Vae:
    """The averaged model after ``config.max_steps`` steps over ``images`` in shuffled epochs."""
    torch.manual_seed(0)
    model = Stepped(config, spec)
    model.log = lambda *arguments, **named: None  # type: ignore[method-assign]
    setup: Any = model.configure_optimizers()
    optimizer, schedule = setup["optimizer"], setup["lr_scheduler"]["scheduler"]
    average = copy.deepcopy(model).eval()
    order = torch.empty(0, dtype=torch.long)
    for step in range(config.max_steps):
        model.step = step
        if len(order) < config.batch_size:
            order = torch.randperm(len(images))
        batch, order = order[: config.batch_size], order[config.batch_size :]
        loss = model.training_step({"image": images[batch]}, 0)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - min(config.ema_decay, (1 + step) / (10 + step)))
    return average


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", help="setting=value of the vae's config")
    parser.add_argument("--out", type=Path, help="folder for the pictures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    project = Project.find()
    dataset = Dataset.open(project, "digits")
    config = VaeConfig.model_validate({"levels": 17, **{key: yaml.safe_load(value) for key, _, value in (item.partition("=") for item in arguments.settings)}})
    spec = DataSpec("image", channels=1, image_size=8, class_names=dataset.class_names)

    began = time.perf_counter()
    model = train(config, spec, read_images(dataset, "train", augmented=True)[0])
    trained = time.perf_counter()
    images, labels = read_images(dataset, "train")
    assert labels is not None
    model.finish([{"image": images, "label": labels}])
    finished = time.perf_counter()
    evidence = evaluate(model, dataset, spec, config=EvaluationConfig(), cache=project.cache, say=lambda _: None)
    ended = time.perf_counter()

    print(f"train {trained - began:.1f} s, prior {finished - trained:.1f} s, evaluate {ended - finished:.1f} s")
    for figure in evidence.figures:
        spread = f" ± {figure.spread:.3f}" if figure.spread is not None else ""
        floor = f" ({figure.floor_name}: {figure.floor:.3f})" if figure.floor is not None else ""
        print(f"{figure.name:>20} {figure.value:.3f}{spread} {figure.unit}{floor}")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        for name, png in evidence.pictures.items():
            (arguments.out / f"{name}.png").write_bytes(png)


if __name__ == "__main__":
    main()
