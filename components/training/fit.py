"""Training: the data module, the callbacks and Lightning's Trainer put together."""

import contextlib
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from safetensors.torch import load_file

from components.data.dataset import Dataset
from components.models.capabilities import DataSpec, Finishes, SamplesImages
from components.models.family import Family, TrainingConfig, WatchedTrainingConfig
from components.params import Strict
from components.tracking import MetricPoint
from components.training import datamodules
from components.training.begin import add_adapters, load_start, merge_adapters
from components.training.callbacks import Ema, NanGuard, StepSeed
from components.training.checkpoints import BEST, Checkpoints, Pruner
from components.training.files import checkpoint_folder, last_checkpoint
from components.training.flops import FlopCount
from components.training.hardware import Hardware, choose
from components.training.metrics import MetricBuffer
from components.training.progress import Progress
from components.training.samples import Sample, Sampler
from components.training.spec import RunSpec
from components.training.stopping import StopRequest
from components.training.watch import VarietyWatch

Log = Callable[[list[MetricPoint], list[Sample], Sequence[str]], None]
"""Takes what a checkpoint has made safe: metrics, samples, and all alarms so far."""
EXPECTED_WARNINGS = (".*isinstance\\(treespec, LeafSpec\\).* is deprecated",)
"""Inside Lightning itself."""


class Training(Strict):
    """What training did and cost, over all the processes of a resumed run."""

    steps: int
    train_s: float
    core_s: float
    parameters: int
    skipped_steps: int
    flops: int
    kept_step: int
    """The step whose averaged weights are kept."""
    best_validation_loss: float | None
    alarms: tuple[str, ...] = ()
    """What the watch on the samples' variety had to say."""
    resumed: bool
    hardware: Hardware


def build_model(spec: RunSpec, family: Family, data_spec: DataSpec) -> pl.LightningModule:
    """A new model whose weights are drawn from the run's seed, or are those that the run begins with."""
    torch.manual_seed(spec.seed)
    model = family.load_class()(family.config.model_validate(spec.config), data_spec)
    assert isinstance(model, pl.LightningModule)
    if spec.start is not None:
        load_start(model, spec.start)
    return model


def fit(
    model: pl.LightningModule, spec: RunSpec, dataset: Dataset, data_spec: DataSpec, config: TrainingConfig, *, cache: Path, stop: StopRequest, log: Log
) -> Training:
    """Train ``model`` up to ``config.max_steps``, from its last checkpoint where there is one. It ends with the weights to keep, in eval mode.

    Adapters stand beside its layers only in here.

    Raises:
        Interrupted: it was asked to stop; the last checkpoint is up to date.
        Diverged: the loss stayed non-finite.
        Pruned: it is a trial whose validation loss is hopeless.
    """
    hardware = choose(spec.device, spec.precision, sum(parameter.numel() for parameter in model.parameters()))
    hardware.apply()
    lora = spec.start.lora if spec.start else None
    if lora is not None:
        add_adapters(model, lora)
    with contextlib.closing(datamodules.prepare(dataset, config, data_spec, spec.seed, spec.augment)) as batches:
        folder = checkpoint_folder(spec.run_dir)
        last, start = last_checkpoint(folder)
        ema, guard, flops, metrics = Ema(config.ema_decay), NanGuard(config.gradient_clip), FlopCount(), MetricBuffer(config.max_steps)
        sampler = Sampler(spec.run_dir / "samples", every=config.sample_every, max_steps=config.max_steps, data_spec=data_spec, ema=ema)
        if spec.augment and not start and not spec.trial:
            sampler.keep(0, "augmentation", datamodules.before_after(dataset, spec.augment))
        watch = [] if spec.trial else _watch(model, dataset, data_spec, config, cache, ema, metrics)
        checkpoints = Checkpoints(
            folder, every=config.checkpoint_every, validate_every=config.validate_every, max_steps=config.max_steps,
            ema=ema, flush=lambda: log(metrics.take(), sampler.take(), [alarm for one in watch for alarm in one.alarms]), stop=stop,
        )  # fmt: skip
        # The order counts: the average is taken before anything looks at it, and the checkpoint comes last.
        shown = [] if spec.trial else [sampler, *watch]
        pruner = [Pruner(spec.trial.prune_above, checkpoints)] if spec.trial else []
        callbacks = [flops, StepSeed(spec.seed), guard, ema, metrics, *shown, Progress(start, config.max_steps), checkpoints, *pruner]
        stop.between_steps_only = True
        _run(model, datamodules.DataModule(batches, start=start, max_steps=config.max_steps), hardware, callbacks, last)
        stop.between_steps_only = False
        kept_step = _keep(model, config, checkpoints)
        if lora is not None:
            merge_adapters(model)
        if isinstance(model, Finishes):
            model.finish(batches.originals())
        return Training(
            steps=config.max_steps, train_s=checkpoints.elapsed_s, core_s=checkpoints.core_s, parameters=sum(p.numel() for p in model.parameters()),
            skipped_steps=guard.skipped, flops=flops.flops_per_step * config.max_steps, kept_step=kept_step,
            best_validation_loss=checkpoints.best_loss if math.isfinite(checkpoints.best_loss) else None,
            alarms=tuple(alarm for one in watch for alarm in one.alarms), resumed=start > 0, hardware=hardware,
        )  # fmt: skip


def _watch(
    model: pl.LightningModule, dataset: Dataset, data_spec: DataSpec, config: TrainingConfig, cache: Path, ema: Ema, metrics: MetricBuffer
) -> list[VarietyWatch]:
    """The watch on the samples' variety, where the config asks for it."""
    if not (isinstance(config, WatchedTrainingConfig) and config.watch_every):
        return []
    assert isinstance(model, SamplesImages), "a family whose variety is watched draws images"
    return [VarietyWatch(dataset, data_spec, config, cache, ema, metrics)]


def _run(model: pl.LightningModule, data: datamodules.DataModule, hardware: Hardware, callbacks: list[pl.Callback], checkpoint: Path | None) -> None:
    if checkpoint is not None and data.start >= data.max_steps:
        _restore(callbacks, checkpoint)
        return
    with _quiet():
        trainer = pl.Trainer(
            accelerator="gpu" if hardware.device == "cuda" else hardware.device, devices=1, precision=hardware.precision,  # type: ignore[arg-type]
            max_epochs=1, val_check_interval=2**62, check_val_every_n_epoch=None, num_sanity_val_steps=0, callbacks=callbacks,
            logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    model.to(hardware.device)


def _restore(callbacks: list[pl.Callback], checkpoint: Path) -> None:
    """All steps were done: only what the callbacks knew is wanted, and what they held back is flushed."""
    states = torch.load(checkpoint, map_location="cpu", weights_only=True)["callbacks"]
    for callback in callbacks:
        if callback.state_key in states:
            callback.load_state_dict(states[callback.state_key])
        if isinstance(callback, Checkpoints):
            callback.flush()


def _keep(model: pl.LightningModule, config: TrainingConfig, checkpoints: Checkpoints) -> int:
    """Give the model the averaged weights of the last step, or of the best one; returns which step that is."""
    best = checkpoints.folder / BEST
    if config.keep == "best" and best.is_file():
        checkpoints.ema.weights = load_file(best)
    checkpoints.ema.load_into(model)
    model.eval()
    return checkpoints.best_step if config.keep == "best" and best.is_file() else config.max_steps


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's banner and tips, and without those of its warnings that this set-up answers."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            for text in EXPECTED_WARNINGS:
                warnings.filterwarnings("ignore", message=text)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
