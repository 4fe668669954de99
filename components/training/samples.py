"""Samples while training: drawn from the same seed every time, so that one sees the model learn."""

from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl

from components.evaluation.sampling import draw_samples
from components.models.capabilities import DataSpec
from components.training.callbacks import Ema
from components.training.progress import batches_done, emit

NUM_SAMPLES = 80
SEED = 0


class Sample(NamedTuple):
    """A file with what the model drew at a step."""

    step: int
    name: str
    path: str


class Sampler(pl.Callback):
    """Draws with the averaged weights every ``every`` steps into ``folder``, and holds the files back until they are flushed."""

    def __init__(self, folder: Path, *, every: int, max_steps: int, data_spec: DataSpec, ema: Ema) -> None:
        self.folder, self.every, self.max_steps, self.data_spec, self.ema = folder, every, max_steps, data_spec, ema
        self._held_back: list[Sample] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = batches_done(trainer)
        if step % self.every and step != self.max_steps:
            return
        pl_module.eval()
        with self.ema.averaged(pl_module):
            evidence = draw_samples(pl_module, self.data_spec, seed=SEED, num=NUM_SAMPLES)
        pl_module.train()
        for name, png in evidence.pictures.items():
            self.keep(step, name, png)
        for name, text in evidence.texts.items():
            self.keep(step, name, text)

    def keep(self, step: int, name: str, shown: bytes | str) -> None:
        """A PNG or a text to be shown with the samples."""
        suffix, content = (".png", shown) if isinstance(shown, bytes) else (".txt", shown.encode())
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}-{step:07d}{suffix}"
        path.write_bytes(content)
        self._held_back.append(Sample(step, name, str(path)))
        emit("picture" if suffix == ".png" else "text", name=name, step=step, path=str(path))

    def take(self) -> list[Sample]:
        """The samples held back; they are this sampler's no longer."""
        samples, self._held_back = self._held_back, []
        return samples

    def state_dict(self) -> dict[str, Any]:
        return {"held_back": [list(sample) for sample in self._held_back]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._held_back = [Sample(*sample) for sample in state_dict["held_back"]]
