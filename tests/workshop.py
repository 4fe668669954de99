"""A real project folder and the real command line on it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

GENMILL = Path(sys.executable).with_name("genmill")

SPLIT = {"method": "hash", "train": 0.5, "validation": 0.1, "test": 0.4}
SMALL_VAE = {"max_steps": 40, "sample_every": 20, "validate_every": 20, "checkpoint_every": 20, "warmup_steps": 5}
SMALL_GPT = {"max_steps": 30, "sample_every": 15, "validate_every": 15, "checkpoint_every": 15, "warmup_steps": 5, "batch_size": 4}
SMALL_BERT = {**SMALL_GPT, "width": 32, "mlp_width": 32, "num_layers": 1, "context_length": 64}
SMALL_T5 = {**SMALL_BERT, "num_heads": 2, "vocab_size": 512, "source_length": 64, "target_length": 32}
SMALL_WORD2VEC = {"max_steps": 30, "sample_every": 15, "validate_every": 15, "checkpoint_every": 15, "warmup_steps": 5, "width": 16}
_SMALL_IMAGES = {"max_steps": 30, "sample_every": 15, "validate_every": 15, "checkpoint_every": 15, "warmup_steps": 5, "batch_size": 16}
SMALL_GAN = {**_SMALL_IMAGES, "width": 8, "watch_every": 15, "least_coverage": 1.0}  # so that the alarm of mode collapse is raised
SMALL_DIFFUSION = {**_SMALL_IMAGES, "widths": [16, 16], "head_width": 8, "sampling_steps": 2}
SMALL_CLIP = {**_SMALL_IMAGES, "caption_length": 12, "embedding_dim": 16, "image_width": 8, "text_width": 16, "text_layers": 1, "text_heads": 2}
SMALL_FUSION = {
    **_SMALL_IMAGES, "caption_length": 16, "embedding_dim": 16, "image_width": 8, "width": 16, "heads": 2, "fusion_layers": 1, "align_steps": 5,
    "questions": {"which digit is it?": "label"},
}  # fmt: skip
SMALL_CAPTIONER = {**_SMALL_IMAGES, "caption_length": 12, "image_width": 8, "text_width": 16, "text_layers": 1, "text_heads": 2}
SMALL_TEXT_TO_IMAGE = {
    **_SMALL_IMAGES, "caption_length": 12, "widths": [16, 16], "head_width": 8, "sampling_steps": 2, "text_width": 16, "text_heads": 2, "drawn_rows": None,
}  # fmt: skip
SMALL_NERF = {**_SMALL_IMAGES, "batch_size": 256, "resolution": 16, "coarsest": 8, "levels": 2, "samples": 16, "occupancy": 16}


@dataclass(frozen=True)
class Workshop:
    """A project folder and the command line on it."""

    root: Path

    def run(self, *args: str, code: int | None = 0, env: dict[str, str] | None = None, timeout: float = 400) -> subprocess.CompletedProcess[str]:
        """Run `genmill ARGS` here and expect the exit code."""
        command = [str(GENMILL), *args]
        done = subprocess.run(command, cwd=self.root, env={**clean_environment(), **(env or {})}, capture_output=True, text=True, timeout=timeout, check=False)
        assert code is None or done.returncode == code, f"{args} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *args: str, code: int = 0) -> Any:
        return json.loads(self.run(*args, "--json", code=code).stdout)

    def edit_params(self, **changes: Any) -> None:
        """Set dotted keys of params.yaml, e.g. ``datasets__digits__source__rows=100``."""
        path = self.root / "params.yaml"
        whole = yaml.safe_load(path.read_text())
        for dotted, value in changes.items():
            *parents, last = dotted.split("__")
            block = whole
            for key in parents:
                block = block.setdefault(key.replace("_DASH_", "-"), {})
            block[last.replace("_DASH_", "-")] = value
        path.write_text(yaml.safe_dump(whole, sort_keys=False))


def clean_environment() -> dict[str, str]:
    """This environment without what another project may have exported into it."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_", "GENMILL_"))}


def make_workshop(folder: Path) -> Workshop:
    """A new project with budgets of seconds."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([str(GENMILL), "init", str(folder)], check=True, capture_output=True, env=clean_environment())
    workshop = Workshop(folder)
    workshop.edit_params(
        datasets__digits__source__rows=400,
        datasets__captions={"modality": "image-text", "source": {"kind": "digits", "rows": 400}, "split": SPLIT},
        datasets__scene__source={"kind": "scene", "views": 8, "validation_views": 2, "test_views": 3, "size": 24},
        models__vae_DASH_digits__config=SMALL_VAE,
        # nine small classifiers at each evaluation: tests of their own look at those
        models__vae_DASH_digits__evaluation={},
        models__gan_DASH_digits__evaluation={},
        models__diffusion_DASH_digits__evaluation={},
        models__gpt_DASH_pydocs__config=SMALL_GPT,
        models__gan_DASH_digits__config=SMALL_GAN,
        models__diffusion_DASH_digits__config=SMALL_DIFFUSION,
        models__bert_DASH_pydocs__config=SMALL_BERT,
        models__t5_DASH_pydocs__config=SMALL_T5,
        models__t5_DASH_docstrings__config=SMALL_T5,
        models__t5_DASH_docstrings__init_from="t5-pydocs",  # which is trained by the same command
        datasets__docstrings__source__rows=600,
        models__word2vec_DASH_pydocs__config=SMALL_WORD2VEC,
        models__nerf_DASH_scene__config=SMALL_NERF,
        models__clip_DASH_captions={"family": "clip", "dataset": "captions", "config": SMALL_CLIP},
        models__fusion_DASH_captions={"family": "fusion", "dataset": "captions", "config": SMALL_FUSION},
        models__captioner_DASH_captions={"family": "captioner", "dataset": "captions", "config": SMALL_CAPTIONER},
        models__text_DASH_to_DASH_image_DASH_captions={"family": "text-to-image", "dataset": "captions", "config": SMALL_TEXT_TO_IMAGE},
        run=["vae-digits", "gpt-pydocs"],
    )
    return workshop
