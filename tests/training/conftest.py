"""Small real runs: the embedded datasets, a network of a few thousand weights, and a real MLflow store."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from components.data.dataset import Dataset
from components.evaluation.config import EvaluationConfig
from components.models.family import find_family
from components.params import Block
from components.project import Project
from components.tracking import Tracker
from components.training.identity import run_identity
from components.training.spec import RunSpec

SMALL_GPT = {
    "max_steps": 10, "batch_size": 4, "vocab_size": 300, "context_length": 32, "num_layers": 1, "num_heads": 1, "width": 16, "dropout": 0.2,
    "warmup_steps": 2, "ema_decay": 0.9, "sample_every": 1000, "validate_every": 4, "checkpoint_every": 4, "keep": "last",
}  # fmt: skip
SMALL_BERT = {**SMALL_GPT, "mlp_width": 16}
SMALL_T5 = {**SMALL_BERT, "batch_size": 2, "source_length": 32, "target_length": 16}
SMALL_WORD2VEC = {
    "max_steps": 10, "batch_size": 4, "min_count": 20, "context_length": 32, "width": 8, "warmup_steps": 2, "ema_decay": 0.9, "sample_every": 1000,
    "validate_every": 4, "checkpoint_every": 4,
}  # fmt: skip
SMALL_VAE = {
    "max_steps": 6, "batch_size": 16, "width": 8, "max_width": 16, "latent_dim": 4, "warmup_steps": 2, "ema_decay": 0.9,
    "sample_every": 1000, "validate_every": 3, "checkpoint_every": 3, "prior_components": 1, "importance_samples": 2,
}  # fmt: skip
_SMALL_IMAGES = {"max_steps": 6, "batch_size": 16, "warmup_steps": 2, "ema_decay": 0.9, "sample_every": 1000, "validate_every": 3, "checkpoint_every": 3}
SMALL_GAN = {**_SMALL_IMAGES, "width": 8, "max_width": 8, "latent_dim": 4, "watch_every": 0}
SMALL_DIFFUSION = {**_SMALL_IMAGES, "widths": (8, 8), "head_width": 8, "sampling_steps": 2}
SMALL_LATENT = {**SMALL_DIFFUSION, "latent_factor": 2, "latent_channels": 2, "autoencoder_steps": 3, "autoencoder_width": 8}
SMALL_NERF = {
    **_SMALL_IMAGES, "batch_size": 64, "resolution": 8, "coarsest": 4, "levels": 2, "features": 2, "width": 8, "samples": 8, "fine_samples": 4, "occupancy": 8,
    "occupancy_from": 1, "occupancy_every": 2, "log2_table": 8, "depth": 2,
}  # fmt: skip
SMALL_CLIP = {
    **_SMALL_IMAGES, "caption_length": 8, "embedding_dim": 8, "image_width": 8, "max_image_width": 8, "text_width": 8, "text_layers": 1, "text_heads": 2,
}  # fmt: skip
SMALL_FUSION = {
    **_SMALL_IMAGES, "caption_length": 24, "embedding_dim": 8, "image_width": 8, "max_image_width": 8, "width": 8, "heads": 2, "fused_rows": 8,
    "align_steps": 1, "distil_weight": 0.4, "questions": {"what is it?": "label", "how is it written?": "^a (.*) digit"},
}  # fmt: skip
SMALL_CAPTIONER = {
    **_SMALL_IMAGES, "vocab_size": 300, "caption_length": 8, "image_width": 8, "max_image_width": 8, "text_width": 8, "text_layers": 1, "text_heads": 2,
}  # fmt: skip
SMALL = {
    "gpt": SMALL_GPT, "llama-gpt": {**SMALL_GPT, "backbone": "llama", "logit_softcap": 0.0}, "bert": SMALL_BERT, "t5": SMALL_T5, "word2vec": SMALL_WORD2VEC,
    "vae": SMALL_VAE, "streamed-vae": {**SMALL_VAE, "buffer_mib": 0.004},
    "gan": SMALL_GAN, "diffusion": SMALL_DIFFUSION, "latent-diffusion": SMALL_LATENT, "clip": SMALL_CLIP,
    "fusion": SMALL_FUSION, "captioner": SMALL_CAPTIONER,
    "nerf": SMALL_NERF, "classic-nerf": {**SMALL_NERF, "field": "mlp"},
}  # fmt: skip
DATASETS = {
    "gpt": "pydocs",
    "bert": "pydocs",
    "t5": "pydocs",
    "word2vec": "pydocs",
    "clip": "captions",
    "fusion": "captions",
    "captioner": "captions",
    "nerf": "scene",
}
MakeSpec = Callable[..., RunSpec]


@pytest.fixture(autouse=True)
def own_switches() -> Iterator[None]:
    """A run sets switches of its process, which here is that of other tests too."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)


@pytest.fixture(scope="session")
def home_project(dataset_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with the prepared datasets and state of its own."""
    root = tmp_path_factory.mktemp("training")
    (root / "params.yaml").write_text(dataset_project.params.read_text())
    (root / "dvc.yaml").touch()
    (root / "data").symlink_to(dataset_project.data)
    return Project(root)


@pytest.fixture(scope="session")
def tracker(home_project: Project) -> Tracker:
    return Tracker.of(home_project)


@pytest.fixture
def make_spec(home_project: Project, tmp_path: Path) -> MakeSpec:
    """The spec of a small run of a family (or one of its shapes in `SMALL`), its config changed by keywords; without a run in MLflow."""

    def make(family: str = "gpt", **changes: Any) -> RunSpec:
        small = SMALL[family]
        for shape in ("latent-", "classic-", "llama-", "streamed-"):
            family = family.removeprefix(shape)
        config = find_family(family).resolve("tiny", Block({**small, **changes}, (), {}, home_project.params))
        dataset = Dataset.open(home_project, DATASETS.get(family, "digits"))
        evaluation = EvaluationConfig()
        identity = run_identity(
            family=family, config=config, size="tiny", seed=0, evaluation=evaluation, batches=dataset.modality, data_sha256=dataset.manifest.sha256
        )
        return RunSpec(
            model=f"{family}-{dataset.name}", family=family, size="tiny", seed=0, config=config.model_dump(), evaluation=evaluation, dataset=dataset.name,
            batches=dataset.modality, data_version="v1", data_sha256=dataset.manifest.sha256, identity=identity, project=home_project.root,
            run_dir=tmp_path / "run", tracking_uri=Tracker.of(home_project).uri, experiment="tests", mlflow_run_id="none", device="cpu",
        )  # fmt: skip

    return make
