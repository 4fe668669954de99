"""Real MLflow stores and real packages for tests; the slow parts are made once per session."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from components import git
from components.data.dataset import Manifest
from components.data.publish import DataVersion
from components.data.result import ValidationResult
from components.evaluation.evidence import Evidence
from components.evaluation.protocol import Figure, Goal, Identity
from components.models.capabilities import DataSpec, Question
from components.models.family import find_family
from components.project import Project
from components.registry import promotion
from components.registry.checks import check_gates
from components.registry.gates import Gates
from components.registry.moves import mend
from components.registry.package import Package, write_package
from components.registry.promotion import PromotionResult
from components.registry.registration import register_package
from components.registry.stored import show_evidence, store_evidence
from components.tracking import PICTURE_KEYS, MetricPoint, ModelVersion, Tracker

DIGITS = DataSpec("image", channels=1, image_size=8, class_names=tuple("0123456789"))


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database file of a store in which nothing has happened: making one takes seconds, copying it none."""
    project = Project(tmp_path_factory.mktemp("store"))
    Tracker.of(project).prepare()
    return project.mlflow / "mlflow.db"


@pytest.fixture
def tracker(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    """The tracker of an empty embedded store below ``tmp_path``."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tracker_in(Project(tmp_path), empty_store)


def tracker_in(project: Project, empty_store: Path) -> Tracker:
    """The tracker of ``project``, whose store is a copy of the empty one."""
    project.mlflow.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(empty_store, project.mlflow / "mlflow.db")
    return Tracker.of(project)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """An untrained VAE for digits, packaged."""
    return write_digits_package(tmp_path_factory.mktemp("package") / "model")


SMALL = {
    "vae": {"latent_dim": 4, "width": 8, "max_width": 16},
    "gan": {"latent_dim": 4, "width": 8, "max_width": 8},
    "diffusion": {"widths": (8, 8), "head_width": 8, "sampling_steps": 3},
}


def write_digits_package(
    folder: Path, *, family: str = "vae", seed: int = 0, dataset: str = "digits", data_version: str = "v1", data_sha256: str = "d" * 64
) -> Package:
    """An untrained model of digits of a family that draws images, packaged."""
    import torch

    found = find_family(family)
    config = found.config.model_validate(SMALL[family])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = found.load_class()(config, DIGITS).eval()
        # A fresh network draws one grey picture, whatever the seed.
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return write_package(
        model,
        family=family,
        config=config.model_dump(),
        data_spec=DIGITS,
        model_name=f"{family}-digits",
        identity=f"{seed:x}" * 64,
        dataset=dataset,
        data_version=data_version,
        data_sha256=data_sha256,
        folder=folder,
        card="# vae-digits\n",
    )


def write_text_package(folder: Path, **settings: object) -> Package:
    """An untrained GPT over single bytes, with ``settings`` of its config, packaged."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator([], trainers.BpeTrainer(vocab_size=257, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False))
    data_spec = DataSpec("text", vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str())
    family = find_family("gpt")
    config = family.config.model_validate(settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = family.load_class()(config, data_spec).eval()
    return write_package(
        model, family="gpt", config=config.model_dump(), data_spec=data_spec, model_name="gpt-pydocs", identity="1" * 64, dataset="pydocs",
        data_version="v1", data_sha256="e" * 64, folder=folder, card="# gpt-pydocs\n",
    )  # fmt: skip


TEXTS = ["A new object is raised by the method, and objects are returned."] * 4
"""What the vocabularies of the packages of words are trained on."""


def write_words_package(folder: Path, *, family: str, modality: str = "text") -> Package:
    """An untrained model of a family whose answers are words, on texts or on pairs of them, packaged."""
    import torch

    from components.training.datamodules.text import marks_of, train_tokenizer, train_words

    found = find_family(family)
    if family == "word2vec":
        config, tokenizer = found.config.model_validate({"width": 8}), train_words(TEXTS, 100, found.config.special_tokens, 1)
        data_spec = DataSpec(
            "text", vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str(), token_counts=tuple(range(1, 1 + tokenizer.get_vocab_size()))
        )
    else:
        config, tokenizer = (
            found.config.model_validate({"width": 16, "num_layers": 1, "context_length": 32}),
            train_tokenizer(TEXTS, 320, marks_of(found.config.special_tokens)),
        )
        data_spec = DataSpec(modality, vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = found.load_class()(config, data_spec).eval()
    return write_package(
        model, family=family, config=config.model_dump(), data_spec=data_spec, model_name=f"{family}-pydocs", identity="3" * 64, dataset="pydocs",
        data_version="v1", data_sha256="e" * 64, folder=folder, card=f"# {family}-pydocs\n",
    )  # fmt: skip


SMALL_CAPTIONED: dict[str, dict[str, Any]] = {
    "captioner": {"image_width": 8, "max_image_width": 8, "text_width": 8, "text_layers": 1, "text_heads": 2},
    "clip": {"image_width": 8, "max_image_width": 8, "text_width": 8, "text_layers": 1, "text_heads": 2, "embedding_dim": 8},
    "text-to-image": {"widths": (8, 8), "head_width": 8, "text_width": 8, "text_heads": 2, "sampling_steps": 2},
}


def write_captions_package(folder: Path, family: str = "captioner") -> Package:
    """An untrained model of ``family`` of grey pictures of 8 pixels with captions, packaged."""
    import torch

    from components.models.token_rows import ROW
    from components.training.datamodules.text import train_tokenizer

    found, tokenizer = find_family(family), train_tokenizer(TEXTS, 320, ROW)
    config = found.config.model_validate({**SMALL_CAPTIONED[family], "caption_length": 8})
    data_spec = DataSpec(
        "image-text", channels=1, image_size=8, vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str(), characters="".join(sorted(set(TEXTS[0]))),
        example_captions=("a new object",),
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = found.load_class()(config, data_spec).eval()
    return write_package(
        model, family=family, config=config.model_dump(), data_spec=data_spec, model_name=f"{family}-captions", identity="4" * 64, dataset="captions",
        data_version="v1", data_sha256="a" * 64, folder=folder, card=f"# {family}-captions\n",
    )  # fmt: skip


def write_fusion_package(folder: Path, *, shape: str = "align", questions: tuple[Question, ...] = ()) -> Package:
    """An untrained joint encoder of 8x8 grey images and ``TEXTS``, packaged."""
    import torch

    from components.models.token_rows import ROW
    from components.training.datamodules.text import train_tokenizer

    family, tokenizer = find_family("fusion"), train_tokenizer(TEXTS, 320, ROW)
    config = family.config.model_validate({"shape": shape, "caption_length": 24, "width": 16, "heads": 2, "image_width": 8, "embedding_dim": 8})
    data_spec = DataSpec(
        "image-text", channels=1, image_size=8, vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str(), class_names=("a", "b"),
        questions=questions,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = family.load_class()(config, data_spec).eval()
    return write_package(
        model, family="fusion", config=config.model_dump(), data_spec=data_spec, model_name="fusion-pictures", identity="5" * 64, dataset="pictures",
        data_version="v1", data_sha256="e" * 64, folder=folder, card="# fusion-pictures\n",
    )  # fmt: skip


def write_scene_package(folder: Path) -> Package:
    """An untrained radiance field, packaged."""
    import torch

    from tests.models.scenes import SMALL_NERF, VIEWS

    family = find_family("nerf")
    config = family.config.model_validate(SMALL_NERF)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = family.load_class()(config, VIEWS).eval()
        # A fresh field is the same grey fog from every side.
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.5)
    return write_package(
        model, family="nerf", config=config.model_dump(), data_spec=VIEWS, model_name="nerf-scene", identity="2" * 64, dataset="scene",
        data_version="v1", data_sha256="f" * 64, folder=folder, card="# nerf-scene\n",
    )  # fmt: skip


def figure(name: str = "fid_own", value: float = 10.0, *, goal: Goal = "min", num_samples: int = 700, floor: float | None = None) -> Figure:
    identity = Identity(metric=name, num_samples=num_samples, reference_sha256="d" * 64, split="test")
    return Figure(name=name, value=value, goal=goal, identity=identity, floor=floor, floor_name="real images" if floor is not None else "")


def register(tracker: Tracker, package: Package, *, fid: float = 10.0, tags: dict[str, str] | None = None, evidence: Evidence | None = None) -> ModelVersion:
    """A finished run that stored ``fid`` and registered ``package``."""
    spec_tags = {"identity": "0" * 64, "dataset": "digits", "data_version": "v1", "data_sha256": "d" * 64, "model": "vae-digits"}
    run_id = tracker.start_run("digits", "vae-digits-0000", {**spec_tags, **(tags or {})}, {"latent_dim": 4, "fid_hint": fid})
    store_evidence(tracker, run_id, evidence or Evidence((figure(value=fid),)))
    version = register_package(tracker, run_id=run_id, folder=package.folder)
    tracker.end_run(run_id)
    return version


def published_as(project: Project, manifest: Manifest, result: ValidationResult, version: str) -> DataVersion:
    """A data version in the project's git as `publish` leaves it, without bytes or DVC: what reads tags, manifests and results sees a real one."""
    name, tag = manifest.name, f"data/{manifest.name}/{version}"
    made = DataVersion(
        dataset=name, version=version, sha256=manifest.sha256, tag=tag, commit="", created="2026-01-01T00:00:00+00:00", actor="tester",
        rows=manifest.rows_by_split(), bytes=manifest.num_bytes, validation=result.outcome, source="{}",
    )  # fmt: skip
    files = {f"manifests/{name}.json": manifest.to_json().encode(), f"validation/{name}.json": result.model_dump_json().encode()}
    commit = git.commit_tree(project.root, files, [], tag, "tester")
    body = made.model_dump_json(exclude={"commit", "new"})
    sha = git.make_tag(project.root, tag, commit, f"{tag}\n\n{body}", "tester")
    git.transaction(project.root, [git.RefUpdate(f"refs/tags/{tag}", sha, None)], "test")
    return made.model_copy(update={"commit": commit})


FIGURES_ALONE = Gates(champion=None, data=False, lineage=False)
"""Rules for versions without a dataset and a history behind them."""


def promote(
    project: Project,
    tracker: Tracker,
    model: str = "vae-digits",
    *,
    rules: Gates = FIGURES_ALONE,
    version: int | None = None,
    actor: str = "ann",
    reason: str = "better",
    force: bool = False,
    auto: bool = False,
) -> PromotionResult:
    """The flow's steps one after the other, without a server."""
    mend(project, tracker)
    request = promotion.begin(project, tracker, model, version=version, actor=actor, reason=reason, force=force, auto=auto)
    table = check_gates(project, tracker, tracker.model_version(model, request.version), rules)
    return promotion.promote(project, tracker, request, table)


def register_two_runs(tracker: Tracker, folder: Path) -> list[ModelVersion]:
    """Two finished runs of vae-digits with curves, figures, pictures of real digits and packages below ``folder``, laid out as the flows do it."""
    from components.report.mlflow_pages import DatasetText, lay_out_experiment, lay_out_version, run_name

    versions = []
    for seed, fid in ((0, 12.5), (1, 9.25)):
        package = write_digits_package(folder / str(seed), seed=seed)
        tags = {"identity": f"{seed:x}" * 64, "dataset": "digits", "data_version": "v1", "data_sha256": "d" * 64, "validation": "passed"}
        params = {"family": "vae", "size": "tiny", "seed": seed, "max_steps": 100, "latent_dim": 4 + 4 * seed, "width": 8}
        name = run_name("vae-digits", seed=seed, identity=tags["identity"])
        run_id = tracker.start_run("digits", name, {**tags, "model": "vae-digits", "family": "vae", "size": "tiny"}, params)
        tracker.log_dataset(run_id, name="digits", digest="v1", source="data/digits/v1", context="training", profile={"train": 900})
        tracker.log_metrics(run_id, [MetricPoint("train/loss", 10 / (step + seed + 1), step, 1000 + step) for step in range(0, 101, 10)])
        for step in (50, 50 * (2 + seed)):
            tracker.log_image(run_id, PICTURE_KEYS + "samples", digits_picture(step // 50), step)
        measured = (figure(value=fid, floor=2.5), figure("bits_per_dim", 2.25 - seed / 4))
        evidence = Evidence(measured, {"samples": digits_picture(seed), "nearest": digits_picture(2 + seed)})
        store_evidence(tracker, run_id, evidence)
        show_evidence(tracker, run_id, evidence, cost={"wall_s": 61.0 + seed}, now_ms=2000)
        versions.append(register_package(tracker, run_id=run_id, folder=package.folder))
        tracker.end_run(run_id)
        lay_out_version(tracker, versions[-1])
    about = DatasetText(modality="image", source="kind digits", licence="CC BY 4.0", versions=("**v1**, 2026-11-21: 900 train; validation passed",))
    lay_out_experiment(tracker, "digits", about)
    return versions


def digits_picture(start: int) -> bytes:
    """A PNG grid of handwritten digits."""
    import torch
    from sklearn.datasets import load_digits

    from components.evaluation.pictures import grid_png

    return grid_png(torch.from_numpy(load_digits().images[start * 40 :][:40]).float()[:, None] / 16, 8)
