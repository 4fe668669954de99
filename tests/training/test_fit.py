"""Training: what is resumed, averaged, skipped and kept."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from components.data.dataset import Dataset
from components.models.capabilities import OWN_SETTINGS, DataSpec, SamplerSettings
from components.models.family import TrainingConfig, find_family
from components.models.gpt.model import Gpt
from components.project import Project
from components.tracking import MetricPoint
from components.training import datamodules
from components.training.callbacks import MAX_BAD_STEPS_IN_A_ROW, Diverged
from components.training.files import checkpoint_folder, last_checkpoint
from components.training.fit import Training, build_model, fit
from components.training.samples import Sample
from components.training.spec import RunSpec
from components.training.stopping import Interrupted, StopRequest
from tests.training.conftest import MakeSpec


class Record:
    """What training logged; asks for a stop at its ``stop_at``-th flush."""

    def __init__(self, stop: StopRequest, stop_at: int | None = None) -> None:
        self.stop, self.stop_at, self.flushes = stop, stop_at, 0
        self.points: list[MetricPoint] = []
        self.samples: list[Sample] = []
        self.alarms: list[str] = []

    def __call__(self, points: list[MetricPoint], samples: list[Sample], alarms: Sequence[str]) -> None:
        self.points += points
        self.samples += samples
        self.alarms = list(alarms)
        self.flushes += 1
        self.stop.requested |= self.flushes == self.stop_at

    def values(self) -> list[tuple[str, int, float]]:
        return sorted((point.key, point.step, point.value) for point in self.points)


def opened(spec: RunSpec) -> tuple[Dataset, TrainingConfig, DataSpec]:
    project = Project(spec.project)
    dataset = Dataset.open(project, spec.dataset)
    config = find_family(spec.family).config.model_validate(spec.config)
    return dataset, config, datamodules.describe(dataset, config, project.cache)


def train(spec: RunSpec, model: pl.LightningModule | None = None) -> tuple[pl.LightningModule, Training, Record]:
    dataset, config, data_spec = opened(spec)
    model = model or build_model(spec, find_family(spec.family), data_spec)
    stop = StopRequest()
    record = Record(stop)
    return model, fit(model, spec, dataset, data_spec, config, cache=Project(spec.project).cache, stop=stop, log=record), record


def raw_weights(spec: RunSpec) -> dict[str, Tensor]:
    path, _ = last_checkpoint(checkpoint_folder(spec.run_dir))
    assert path is not None
    weights: dict[str, Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return weights


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


ELSE = [
    ("gpt", 4), ("llama-gpt", 4), ("bert", 3), ("t5", 3), ("word2vec", 3), ("vae", 3), ("gan", 2), ("diffusion", 2), ("latent-diffusion", 2),
    ("clip", 2), ("fusion", 2), ("captioner", 2), ("nerf", 2), ("nerf", 3), ("classic-nerf", 2),
]  # fmt: skip
"""Families, and steps between checkpoints."""


@pytest.mark.parametrize(
    ("family", "every"),
    [
        ("gpt", 3),
        ("vae", 2),
        ("streamed-vae", 2),
        *[pytest.param(family, every, marks=pytest.mark.slow) for family, every in ELSE],
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(make_spec: MakeSpec, tmp_path: Path, family: str, every: int) -> None:
    """Whether the checkpoint falls on a validation (gpt 4, vae 3) or between two."""
    spec = make_spec(family, checkpoint_every=every)
    family = spec.family
    expected, training, whole = train(spec)
    resumed = spec.model_copy(update={"run_dir": tmp_path / "resumed"})
    stop = StopRequest()
    first = Record(stop, stop_at=1)
    dataset, config, data_spec = opened(resumed)
    model = build_model(resumed, find_family(family), data_spec)
    with pytest.raises(Interrupted):
        fit(model, resumed, dataset, data_spec, config, cache=Project(spec.project).cache, stop=stop, log=first)
    assert last_checkpoint(checkpoint_folder(resumed.run_dir))[1] == every
    torch.rand(3)  # what else drew in between does not matter
    model, second_training, second = train(resumed)
    assert second_training.resumed
    assert not training.resumed
    assert equal(dict(model.state_dict()), dict(expected.state_dict()))
    assert equal(raw_weights(resumed), raw_weights(spec))
    assert sorted(set(first.values() + second.values())) == whole.values()
    assert second_training.best_validation_loss == training.best_validation_loss
    assert second_training.flops == training.flops > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "augment", "suffix"),
    [("streamed-vae", {"when": "load", "shift": 1, "noise": 0.1}, ".png"), ("gpt", {"when": "load", "chunk_chars": 100, "mask": 0.2}, ".txt")],
)
def test_a_resumed_run_of_altered_rows_equals_an_uninterrupted_one_and_shows_some(
    make_spec: MakeSpec, tmp_path: Path, family: str, augment: dict[str, Any], suffix: str
) -> None:
    spec = make_spec(family, checkpoint_every=2).model_copy(update={"augment": augment})
    plain, _, _ = train(spec.model_copy(update={"augment": {}, "run_dir": tmp_path / "plain"}))
    expected, _, whole = train(spec)
    resumed = spec.model_copy(update={"run_dir": tmp_path / "resumed"})
    stop = StopRequest()
    first = Record(stop, stop_at=1)
    dataset, config, data_spec = opened(resumed)
    with pytest.raises(Interrupted):
        fit(build_model(resumed, find_family(spec.family), data_spec), resumed, dataset, data_spec, config, cache=tmp_path, stop=stop, log=first)
    model, _, _ = train(resumed)
    assert equal(dict(model.state_dict()), dict(expected.state_dict()))
    assert not equal(dict(model.state_dict()), dict(plain.state_dict()))
    for record in (whole, first):
        assert [(sample.step, Path(sample.path).name) for sample in record.samples if sample.name == "augmentation"] == [(0, f"augmentation-0000000{suffix}")]


@pytest.mark.slow
def test_variety_is_watched_where_the_config_asks_for_it_and_a_collapse_is_told(make_spec: MakeSpec, capsys: pytest.CaptureFixture[str]) -> None:
    _, training, record = train(make_spec("gan", watch_every=2, least_coverage=1.0))
    assert [point.step for point in record.points if point.key == "watch/coverage_own"] == [2, 4, 6]
    assert len(training.alarms) == 1
    assert "mode collapse at step 2: samples cover" in training.alarms[0]
    assert record.alarms == list(training.alarms)
    assert "ALARM: mode collapse at step 2" in capsys.readouterr().out


@pytest.mark.slow
def test_no_alarm_is_raised_while_the_coverage_is_enough(make_spec: MakeSpec) -> None:
    _, training, record = train(make_spec("gan", watch_every=3, least_coverage=0.0))
    assert training.alarms == ()
    assert record.alarms == []


def test_logs_every_step_once_and_validates_at_the_end(make_spec: MakeSpec) -> None:
    spec = make_spec()
    _, training, record = train(spec)
    steps = [point.step for point in record.points if point.key == "train/loss"]
    assert steps == list(range(1, 11))
    assert [point.step for point in record.points if point.key == "validation/loss"] == [4, 8, 10]
    assert training.steps == 10
    assert training.train_s > 0


def test_a_run_whose_steps_are_all_done_only_flushes(make_spec: MakeSpec) -> None:
    spec = make_spec()
    expected, training, first = train(spec)
    model, again, second = train(spec)
    assert equal(dict(model.state_dict()), dict(expected.state_dict()))
    # Nobody knows whether the last points arrived before the kill: they are given again, with the same time stamps.
    assert {point.step for point in second.points} == {9, 10}
    assert set(second.points) <= set(first.points)
    assert again.train_s == training.train_s


def test_the_kept_weights_are_averaged_and_the_checkpoint_holds_the_raw_ones(make_spec: MakeSpec) -> None:
    spec = make_spec(checkpoint_every=10)
    model, training, _ = train(spec)
    raw, kept = raw_weights(spec), dict(model.state_dict())
    assert training.kept_step == 10
    assert not torch.equal(raw["network.head.weight"], kept["network.head.weight"])
    assert torch.linalg.vector_norm(kept["network.head.weight"]) < torch.linalg.vector_norm(raw["network.head.weight"])  # it lags behind, from zero


def test_without_averaging_the_raw_weights_are_kept(make_spec: MakeSpec) -> None:
    spec = make_spec(ema_decay=0.0)
    model, _, _ = train(spec)
    assert equal(raw_weights(spec), dict(model.state_dict()))


def test_keep_best_takes_the_weights_of_the_lowest_validation_loss(make_spec: MakeSpec) -> None:
    # Learning rates that grow and grow: it is best early.
    wild = {"learning_rate": 30.0, "embedding_learning_rate": 30.0, "head_learning_rate": 30.0, "warmup_steps": 1000, "cooldown": 0.0, "ema_decay": 0.0}
    spec = make_spec(keep="best", max_steps=12, validate_every=2, **wild)
    _, training, record = train(spec)
    losses = {point.step: point.value for point in record.points if point.key == "validation/loss"}
    assert training.kept_step == min(losses, key=lambda step: losses[step])
    assert training.kept_step < 12
    assert training.best_validation_loss == min(losses.values())


def test_a_checkpoint_brings_the_weights_back_bit_for_bit(make_spec: MakeSpec) -> None:
    spec = make_spec(ema_decay=0.0)
    model, _, _ = train(spec)
    _, _, data_spec = opened(spec)
    again = build_model(spec, find_family("gpt"), data_spec).eval()
    again.load_state_dict(raw_weights(spec))
    tokens = torch.arange(12).view(2, 6)
    assert torch.equal(again(tokens), model(tokens))


class Poisoned(Gpt):
    """Its loss is not a number in the steps ``bad``."""

    bad: frozenset[int] = frozenset()
    steps = 0

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        self.steps += 1
        loss = super().training_step(batch, batch_index)
        return loss * float("nan") if self.steps in self.bad else loss


def poisoned(spec: RunSpec, bad: set[int]) -> Poisoned:
    _, config, data_spec = opened(spec)
    torch.manual_seed(spec.seed)
    model = Poisoned(config, data_spec)  # type: ignore[arg-type]
    model.bad = frozenset(bad)
    return model


def test_a_step_without_a_finite_loss_is_skipped_and_counted(make_spec: MakeSpec) -> None:
    spec = make_spec()
    model = poisoned(spec, {3, 5})
    _, training, record = train(spec, model=model)
    assert training.skipped_steps == 2
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert all(torch.isfinite(value).all() for value in raw_weights(spec).values())
    assert ("train/skipped_steps", 5, 2.0) in record.values()


def test_a_skipped_step_moves_no_weight(make_spec: MakeSpec) -> None:
    settings: dict[str, Any] = {"max_steps": 1, "ema_decay": 0.0, "weight_decay": 1.0}
    spec = make_spec(**settings)
    model = poisoned(spec, {1})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(spec, model=model)
    assert equal(before, dict(model.state_dict()))


def test_a_loss_that_stays_non_finite_ends_the_run_with_a_sentence(make_spec: MakeSpec) -> None:
    spec = make_spec(max_steps=MAX_BAD_STEPS_IN_A_ROW + 20)
    with pytest.raises(Diverged, match=rf"{MAX_BAD_STEPS_IN_A_ROW} steps in a row, up to step {MAX_BAD_STEPS_IN_A_ROW + 4}: lower learning_rate"):
        train(spec, model=poisoned(spec, set(range(5, 1000))))


class TwoOptimisers(pl.LightningModule):
    """Steps two optimisers per batch by hand, as adversarial families do; the second one's gradient is infinite in batch 2."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.first, self.second = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
        self.batches = 0

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        self.batches += 1
        for optimizer, weights in zip(self.optimizers(), (self.first, self.second), strict=True):  # type: ignore[arg-type]
            bad = self.batches == 2 and weights is self.second
            optimizer.zero_grad()
            self.manual_backward((weights * (float("inf") if bad else 100.0)).sum())
            optimizer.step()
        self.log("train/loss", self.first.sum())

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        self.log("validation/loss", self.first.sum(), batch_size=1)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD([self.first], lr=1.0), torch.optim.SGD([self.second], lr=1.0)]

    def sample_images(self, num: int, *, seed: int, labels: Tensor | None = None, settings: SamplerSettings = OWN_SETTINGS) -> Tensor:
        return torch.zeros(num, 1, 8, 8)


def test_manual_optimisation_is_clipped_guarded_and_counted_in_batches(make_spec: MakeSpec) -> None:
    spec = make_spec("vae", max_steps=4, gradient_clip=0.5, ema_decay=0.0)
    model, training, record = train(spec, model=TwoOptimisers())
    assert isinstance(model, TwoOptimisers)
    assert [point.step for point in record.points if point.key == "train/loss"] == [1, 2, 3, 4]
    assert training.skipped_steps == 1
    # Each step moves by the clipped gradient, whose norm is 0.5; the second optimiser stood still once.
    assert float(torch.linalg.vector_norm(1 - model.first.detach())) == pytest.approx(4 * 0.5, rel=1e-4)
    assert float(torch.linalg.vector_norm(1 - model.second.detach())) == pytest.approx(3 * 0.5, rel=1e-4)


def test_samples_are_drawn_on_time_and_held_back_until_a_checkpoint(make_spec: MakeSpec, capsys: pytest.CaptureFixture[str]) -> None:
    spec = make_spec("vae", sample_every=2, checkpoint_every=4, max_steps=6)
    _, _, record = train(spec)
    assert [(sample.step, sample.name) for sample in record.samples] == [(2, "samples"), (4, "samples"), (6, "samples")]
    pictures = [Path(sample.path).read_bytes() for sample in record.samples]
    assert all(png.startswith(b"\x89PNG") for png in pictures)
    assert pictures[0] != pictures[2]  # the model moved, the seeds did not
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["step"] for event in events if event["event"] == "picture"] == [2, 4, 6]
    last = [event for event in events if event["event"] == "progress"][-1]
    assert (last["phase"], last["step"], last["max_steps"], last["eta_s"]) == ("train", 6, 6, 0.0)


@pytest.mark.slow
def test_drawing_samples_does_not_change_what_is_learned(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec()
    expected, _, _ = train(spec)
    often = spec.model_copy(update={"config": {**spec.config, "sample_every": 5}, "run_dir": tmp_path / "often"})
    model, _, _ = train(often)
    assert equal(dict(model.state_dict()), dict(expected.state_dict()))
