"""A causal model learns responses: from rows whose response alone is scored, to a package that answers; also from the weights of a model of plain text."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from components.data.dataset import Dataset
from components.errors import UserError
from components.evaluation.config import EvaluationConfig
from components.evaluation.evaluate import evaluate
from components.evaluation.telling import SILENT
from components.models.capabilities import DataSpec
from components.models.family import find_family
from components.models.gpt.config import GptConfig
from components.models.gpt.model import Gpt
from components.models.prompting import RESPONSES, prompt_tokens
from components.registry import wire
from components.registry.asking import SampleRequest
from components.registry.package import Package, write_package
from components.registry.runtime import Runtime
from components.registry.sampling import sample_registered
from components.tracking import Tracker
from components.training import datamodules
from components.training.begin import load_start, started_data_spec
from components.training.start import Start
from tests.data.workbench import one_dataset, run
from tests.stores import register

SETTINGS: dict[str, Any] = {
    "vocab_size": 300, "context_length": 64, "response_length": 24, "batch_size": 4, "num_layers": 1, "num_heads": 1, "width": 16, "dropout": 0.0,
    "max_steps": 60, "warmup_steps": 2,
}  # fmt: skip
CONFIG = GptConfig(**SETTINGS)
COLOURS = {"the sky": "blue", "the grass": "green", "a lemon": "yellow", "the snow": "white"}


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Conversations of one question each."""
    root = tmp_path_factory.mktemp("colours")
    asked = [(f"what is the colour of {thing}, number {number}?", f"It is {colour}.") for number in range(12) for thing, colour in COLOURS.items()]
    lines = [json.dumps({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}) for question, answer in asked]
    block = {"modality": "text-pairs", "source": {"kind": "folder", "path": "pairs"}, "split": {"method": "hash", "train": 0.7, "validation": 0.1, "test": 0.2}}
    project = one_dataset(root, block)
    (project.root / "pairs").mkdir()
    (project.root / "pairs" / "asked.jsonl").write_text("\n".join(lines))
    run(project)
    return Dataset.open(project, "mine")


@pytest.fixture(scope="module")
def spec(colours: Dataset, tmp_path_factory: pytest.TempPathFactory) -> DataSpec:
    return datamodules.describe(colours, CONFIG, tmp_path_factory.mktemp("cache"), kind=find_family("gpt").batches_of("text-pairs"))


@pytest.fixture(scope="module")
def trained(colours: Dataset, spec: DataSpec) -> Gpt:
    torch.manual_seed(0)
    model, batches = Gpt(CONFIG, spec), datamodules.prepare(colours, CONFIG, spec, 0)
    model.log = lambda *arguments, **named: None  # type: ignore[method-assign]
    settings = model.configure_optimizers()
    optimizer, schedule = settings["optimizer"], settings["lr_scheduler"]["scheduler"]  # type: ignore[index]
    for step in range(CONFIG.max_steps):
        loss = model.training_step(batches.train(step), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@pytest.fixture(scope="module")
def package(trained: Gpt, spec: DataSpec, tmp_path_factory: pytest.TempPathFactory) -> Package:
    return write_package(
        trained, family="gpt", config=CONFIG.model_dump(), data_spec=spec, model_name="gpt-colours", identity="5" * 64, dataset="colours",
        data_version="v1", data_sha256="a" * 64, folder=tmp_path_factory.mktemp("package") / "model", card="# gpt-colours\n",
    )  # fmt: skip


def test_of_a_row_the_response_alone_is_scored_to_its_end(colours: Dataset, spec: DataSpec) -> None:
    assert spec.modality == RESPONSES
    tokenizer, batch = Tokenizer.from_str(spec.tokenizer), datamodules.prepare(colours, CONFIG, spec, 0).train(0)
    for tokens, scored in zip(batch["tokens"], batch["scored"], strict=True):
        said = tokens[1:][scored].tolist()
        assert said[-1] == 0
        answer = tokenizer.decode(said)
        assert answer in {f"It is {colour}." for colour in COLOURS.values()}
        asked = tokens[: int(scored.nonzero()[0]) + 1].tolist()
        assert (asked[0], asked[-1]) == (0, 0)
        assert tokenizer.decode(asked).startswith("user: what is the colour of")


def test_long_sides_are_cut_and_told(colours: Dataset, spec: DataSpec, capsys: pytest.CaptureFixture[str]) -> None:
    short = GptConfig(**{**SETTINGS, "context_length": 16, "response_length": 3})
    batch = datamodules.prepare(colours, short, spec, 0).train(0)
    assert batch["tokens"].shape[1] <= 17
    assert (batch["scored"].sum(dim=1) == 3).all()
    said = capsys.readouterr().out
    assert "train prompts have more than 12 tokens and are cut: raise context_length" in said
    assert "train responses have more than 3 tokens and are cut: raise response_length" in said


def test_a_response_that_leaves_no_room_is_one_sentence(colours: Dataset, spec: DataSpec) -> None:
    with pytest.raises(UserError, match=r"A response of 24 tokens leaves no room for a prompt in a context of 20: raise context_length"):
        datamodules.prepare(colours, GptConfig(**{**SETTINGS, "context_length": 20}), spec, 0)


def test_the_loss_is_that_of_the_response_alone(colours: Dataset, spec: DataSpec) -> None:
    model, batch = Gpt(CONFIG, spec), datamodules.prepare(colours, CONFIG, spec, 0).train(0)
    assert model._loss(batch).item() == pytest.approx(math.log(spec.vocab_size), rel=0.05)
    nobody = {**batch, "scored": torch.zeros_like(batch["scored"])}
    nobody["scored"][0, 5] = True
    assert model._loss(nobody).item() == pytest.approx(model._nll(batch["tokens"])[0, 5].item())


def test_it_is_scored_on_test_responses_and_shows_what_it_says(trained: Gpt, colours: Dataset, spec: DataSpec) -> None:
    evidence = evaluate(trained, colours, spec, config=EvaluationConfig(), cache=Path(), tell=SILENT)
    found = {figure.name: figure for figure in evidence.figures}
    assert found["perplexity"].value < 0.5 * (found["perplexity"].floor or 0)
    assert found["bits_per_byte"].floor_name == "xz -9e of the test responses"
    tokenizer = Tokenizer.from_str(spec.tokenizer)
    sources, targets = (colours.table("test", columns=[name])[name].to_pylist() for name in ("source_text", "target_text"))
    nats = 0.0
    for source, target in zip(sources, targets, strict=True):
        row = torch.tensor([[*prompt_tokens(trained, tokenizer, source), *tokenizer.encode(target, add_special_tokens=False).ids, 0]])
        assert row.size(1) <= CONFIG.context_length + 1
        nats += trained.token_nll(row)[0, len(prompt_tokens(trained, tokenizer, source)) - 1 :].sum().item()
    assert found["bits_per_byte"].value == pytest.approx(nats / math.log(2) / sum(len(target.encode()) for target in targets), rel=1e-4)
    assert "says: It is " in evidence.texts["samples"]
    told = found["membership_auc_by_loss"]
    assert (told.floor, told.identity.num_samples) == (0.5, len(targets))


def test_a_prompt_is_answered_and_not_gone_on_with(package: Package, tracker: Tracker) -> None:
    answers = Runtime.open(package.folder / "artifacts").predict([{"prompt": "user: what is the colour of the sky, number 3?"}], {"temperature": 0})
    assert answers[0]["text"].startswith("It is ")
    version = register(tracker, package)
    drawn = sample_registered(_project(package), tracker, version.ref, SampleRequest(prompt="user: what is the colour of a lemon?" * 9, temperature=0))
    assert drawn.text is not None
    assert drawn.text.startswith("It is ")
    assert "of which the model heeds the first 39." in drawn.notes[0]


def test_no_prompt_is_one_sentence(package: Package) -> None:
    runtime = Runtime.open(package.folder / "artifacts")
    for prompt in ("", " \n"):
        with pytest.raises(wire.BadRequestError, match=r"^The prompt is empty: this model answers prompts, so give one\.$"):
            runtime.predict([{"prompt": prompt}])


def test_pairs_are_controlled_by_nothing(colours: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not controlled by 'title', they are answers to their prompts: leave control out"):
        datamodules.describe(colours, GptConfig(**SETTINGS, control="title"), tmp_path, kind=RESPONSES)


@pytest.mark.slow
def test_it_begins_with_the_weights_and_words_of_a_model_of_plain_text(spec: DataSpec, tmp_path: Path) -> None:
    from components.training.datamodules.text import train_tokenizer

    tokenizer = train_tokenizer(["plain text, and more of it"] * 3, 280)
    plain = DataSpec("text", vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str())
    config = GptConfig(**{**SETTINGS, "context_length": 32})
    written = write_package(
        Gpt(config, plain), family="gpt", config=config.model_dump(), data_spec=plain, model_name="gpt-plain", identity="6" * 64, dataset="plain",
        data_version="v1", data_sha256="b" * 64, folder=tmp_path / "plain", card="# gpt-plain\n",
    )  # fmt: skip
    start = Start(ref="gpt-plain/1", sha256=written.sha256, folder=written.folder / "artifacts")
    begun = started_data_spec(start, spec)
    assert (begun.modality, begun.vocab_size, begun.tokenizer) == (RESPONSES, plain.vocab_size, plain.tokenizer)
    model = Gpt(CONFIG, begun)
    load_start(model, start)
    assert prompt_tokens(model, Tokenizer.from_str(begun.tokenizer), "plain")[-1] == 0


def _project(package: Package) -> Any:
    from components.project import Project

    return Project(package.folder.parent)
