"""Measures what the figures of images cost: the Fréchet distance beside other ways to it, neighbourhoods of large features, all figures of digits.

    python -m benchmarks.metrics frechet|manifold|digits [--num 10000] [--dim 2048] [--project DIR]

Times are processor seconds of this process, so that another one on the machine spoils them little. `manifold` prints what memory it took besides its input.
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import scipy.linalg
import torch
from torch import Tensor

from components.data.dataset import Dataset
from components.evaluation.config import EvaluationConfig
from components.evaluation.evaluate import evaluate
from components.evaluation.features import as_images, read_pixels
from components.evaluation.frechet import Moments, frechet_distance, moments
from components.evaluation.manifold import compare_manifolds
from components.evaluation.telling import SILENT
from components.models.capabilities import OWN_SETTINGS, DataSpec, SamplerSettings
from components.project import Project


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("frechet", "manifold", "digits"))
    parser.add_argument("--num", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--project", type=Path, help="with the dataset `digits`; default: the nearest one upwards")
    arguments = parser.parse_args()
    if arguments.what == "frechet":
        compare_frechet(arguments.num, arguments.dim)
    elif arguments.what == "manifold":
        measure_manifold(arguments.num, arguments.dim)
    else:
        score_digits(Project(arguments.project.resolve()) if arguments.project else Project.find(), 2_000)


def timed(work: Callable[[], float]) -> tuple[float, float]:
    """What ``work`` gives, and its processor seconds."""
    began = time.process_time()
    return work(), time.process_time() - began


def features(num: int, dim: int, seed: int) -> Tensor:
    """Correlated ones, some of which never differ from zero, as behind a ReLU."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=torch.Generator().manual_seed(0)) / dim**0.5
    return (torch.randn(num, dim, generator=generator) @ mixing + 0.1 * seed).relu()


def compare_frechet(num: int, dim: int) -> None:
    """From the same moments: ours, scipy's matrix root, and what torchmetrics computes."""
    from torchmetrics.image.fid import _compute_fid

    a, b = moments(features(num, dim, 0)), moments(features(num, dim, 1))

    def by_root() -> float:
        root = scipy.linalg.sqrtm(a.covariance.numpy() @ b.covariance.numpy()).real
        return float((a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * root.trace())

    def ours() -> float:  # nothing of it is kept from an earlier call
        return frechet_distance(Moments(a.mean, a.covariance), Moments(b.mean, b.covariance))

    ways = {"genmill": ours, "torchmetrics": lambda: float(_compute_fid(a.mean, a.covariance, b.mean, b.covariance)), "scipy sqrtm": by_root}
    found = {name: timed(way) for name, way in ways.items()}
    for name, (value, seconds) in found.items():
        print(f"{name:>14} {value:.9f} in {seconds:.2f} s, {seconds / found['genmill'][1]:.1f} times the first")


def measure_manifold(num: int, dim: int) -> None:
    a, b = features(num, dim, 0), features(num, dim, 0)[torch.randperm(num)] + 0.1 * torch.randn(num, dim)
    compare_manifolds(a[:100], b[:100])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    recall, seconds = timed(lambda: compare_manifolds(a, b).recall)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"precision, recall, density, coverage of {num:,} and {num:,} x {dim:,}: {seconds:.1f} s, {more:.0f} MiB besides the input, recall {recall:.3f}")


class Redraws:
    """Real images with a little noise, at no cost: what is timed is the scoring."""

    conditional = False
    training = False

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def sample_images(self, num: int, *, seed: int, labels: Tensor | None = None, settings: SamplerSettings = OWN_SETTINGS) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        chosen = self.images[torch.randint(len(self.images), (num,), generator=generator)]
        return (chosen + 0.1 * torch.randn(chosen.shape, generator=generator)).clamp(0, 1)

    def eval(self) -> None:
        pass

    def train(self, mode: bool = True) -> None:
        pass


def score_digits(project: Project, num: int) -> None:
    dataset = Dataset.open(project, "digits")
    spec = DataSpec("image", channels=1, image_size=8, class_names=dataset.class_names)
    model, config = Redraws(as_images(read_pixels(dataset, "train")[0])), EvaluationConfig(num_samples=num)
    for when in ("the first time, with the extractor's training", "again"):
        figures, seconds = timed(lambda: float(len(evaluate(model, dataset, spec, config=config, cache=project.cache, tell=SILENT).figures)))
        print(f"{figures:.0f} figures of 3 x {num:,} digits, {when}: {seconds:.1f} s")


if __name__ == "__main__":
    main()
