"""Trials as a search leaves them, made up."""

from pathlib import Path
from typing import Any

from components.evaluation.protocol import Figure, Identity
from components.params import Block
from components.project import Project
from components.training.spec import RunSpec
from components.tuning.records import Objectives, Search, TrialRecord
from components.tuning.space import load_space

AIMS = Objectives(primary="fid_own", goal="min", guard="bits_per_dim", guard_goal="min")


def figure(name: str, value: float, spread: float | None = None) -> Figure:
    identity = Identity(metric=name, num_samples=100, reference_sha256="d" * 64, split="validation")
    return Figure(name=name, value=value, goal="min", identity=identity, spread=spread)


def trial(number: int, fid: float | None = None, bits: float = 2.0, **more: Any) -> TrialRecord:
    """Finished where it has figures."""
    figures = () if fid is None else (figure("fid_own", fid), figure("bits_per_dim", bits, spread=0.1))
    return TrialRecord.model_validate(
        {"number": number, "params": {"learning_rate": 0.001}, "status": "failed" if fid is None else "finished", "figures": figures, **more}
    )


def search(folder: Path, *, data: str = "d" * 64, **config: Any) -> Search:
    """For a VAE on digits, with nothing behind it."""
    from components.models.family import find_family

    family = find_family("vae")
    resolved = family.resolve("tiny", Block(config, (), {}, folder))
    spec = RunSpec(
        model="vae-digits", family="vae", size="tiny", seed=0, config=resolved.model_dump(), dataset="digits", batches="image", data_version="v1",
        data_sha256=data, identity="", project=Project(folder).root, run_dir=folder, tracking_uri="", experiment="digits", mlflow_run_id="",
    )  # fmt: skip
    return Search(spec=spec, space=load_space(family, resolved, Block({}, (), {}, folder)), steps=100, validation="passed")
