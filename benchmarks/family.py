"""Trains a family on a prepared dataset with other settings and prints its figures; nothing is registered.

    python -m benchmarks.family FAMILY DATASET [--project DIR] [--size tiny] [--seed 0] [--out FOLDER] [setting=value ...]

The real training and evaluation, without flows and MLflow, so that settings compare quickly; `genmill run` is what makes models.
OMP_NUM_THREADS says how many threads there are.
"""

import argparse
import contextlib
import io
import tempfile
import time
from pathlib import Path

import yaml

from components.data.dataset import Dataset
from components.evaluation.config import EvaluationConfig
from components.evaluation.evaluate import evaluate
from components.evaluation.telling import SILENT
from components.models.family import find_family
from components.params import Block
from components.project import Project
from components.training import datamodules
from components.training.fit import build_model, fit
from components.training.spec import RunSpec
from components.training.stopping import StopRequest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family")
    parser.add_argument("dataset")
    parser.add_argument("settings", nargs="*", help="setting=value of the family's config; evaluation.NAME=value of how it is scored")
    parser.add_argument("--project", type=Path, help="default: the nearest one upwards")
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for the pictures and texts")
    arguments = parser.parse_args()

    project = Project(arguments.project.resolve()) if arguments.project else Project.find()
    dataset, family = Dataset.open(project, arguments.dataset), find_family(arguments.family)
    given = {key: yaml.safe_load(value) for key, _, value in (item.partition("=") for item in arguments.settings)}
    scoring = EvaluationConfig(**{key.removeprefix("evaluation."): value for key, value in given.items() if key.startswith("evaluation.")})
    settings = {key: value for key, value in given.items() if not key.startswith("evaluation.")}
    config = family.resolve(arguments.size, Block(settings, (), {}, project.params))
    batches = family.batches_of(dataset.modality)
    data_spec = datamodules.describe(dataset, config, project.cache, kind=batches)
    with tempfile.TemporaryDirectory() as folder:
        spec = RunSpec(
            model="benchmark", family=arguments.family, size=arguments.size, seed=arguments.seed, config=config.model_dump(), evaluation=scoring,
            dataset=dataset.name, batches=batches, data_version="v0", data_sha256=dataset.manifest.sha256, identity="none",
            project=project.root, run_dir=Path(folder), tracking_uri="none", experiment="none", mlflow_run_id="none", device="cpu",
        )  # fmt: skip
        model = build_model(spec, family, data_spec)
        with contextlib.redirect_stdout(io.StringIO()):  # the progress of each step
            training = fit(model, spec, dataset, data_spec, config, cache=project.cache, stop=StopRequest(), log=lambda points, samples, alarms: None)
    began = time.perf_counter()
    evidence = evaluate(model, dataset, data_spec, config=scoring, cache=project.cache, tell=SILENT)
    print(
        f"{training.parameters:,} parameters, {training.steps} steps in {training.train_s:.1f} s ({training.core_s:.1f} core seconds), "
        f"kept step {training.kept_step}, evaluated in {time.perf_counter() - began:.1f} s"
    )
    for figure in evidence.figures:
        spread = f" ± {figure.spread:.3f}" if figure.spread is not None else ""
        floor = f" ({figure.floor_name}: {figure.floor:.3f})" if figure.floor is not None else ""
        print(f"{figure.name:>20} {figure.value:.3f}{spread} {figure.unit}{floor}")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        for name, png in evidence.pictures.items():
            (arguments.out / f"{name}.png").write_bytes(png)
        for name, text in evidence.texts.items():
            (arguments.out / f"{name}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
