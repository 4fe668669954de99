"""Texts that are controlled by a column of theirs: told before each, asked for by its name, and done without where it is not known."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from components.data.dataset import Dataset
from components.errors import UserError
from components.evaluation.config import EvaluationConfig
from components.evaluation.evaluate import evaluate
from components.evaluation.sampling import draw_samples
from components.evaluation.telling import SILENT
from components.models.capabilities import DataSpec
from components.models.gpt.config import GptConfig
from components.models.gpt.model import Gpt
from components.models.prompting import WITHHELD, control_token, prompt_tokens
from components.registry import wire
from components.registry.package import Package, write_package
from components.registry.runtime import Runtime
from components.training import datamodules
from components.training.datamodules.texts import documents
from tests.data.workbench import one_dataset, run

SETTINGS: dict[str, Any] = {
    "vocab_size": 300, "context_length": 32, "batch_size": 8, "num_layers": 1, "num_heads": 1, "width": 16, "dropout": 0.0, "max_steps": 200,
    "warmup_steps": 2, "control": "title",
}  # fmt: skip
CONFIG = GptConfig(**SETTINGS)
TOPICS = {"kitchen": "Stir the soup with a spoon and taste it, number {}.\n", "weather": "Rain and wind come from the west today, number {}.\n"}


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """One document for each topic, cut into blocks."""
    block = {
        "modality": "text", "source": {"kind": "folder", "path": "texts"}, "clean": {"unique_paragraphs": False},
        "split": {"method": "blocks", "block_chars": 200, "train": 0.7, "validation": 0.1, "test": 0.2},
    }  # fmt: skip
    project = one_dataset(tmp_path_factory.mktemp("topics"), block)
    (project.root / "texts").mkdir()
    for title, line in TOPICS.items():
        (project.root / "texts" / f"{title}.txt").write_text("".join(line.format(number) for number in range(80)))
    run(project)
    return Dataset.open(project, "mine")


@pytest.fixture(scope="module")
def spec(topics: Dataset, tmp_path_factory: pytest.TempPathFactory) -> DataSpec:
    return datamodules.describe(topics, CONFIG, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def trained(topics: Dataset, spec: DataSpec) -> Gpt:
    torch.manual_seed(0)
    model, batches = Gpt(CONFIG, spec), datamodules.prepare(topics, CONFIG, spec, 0)
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


def nats(model: Gpt, spec: DataSpec, text: str, label: int | None) -> float:
    tokens = prompt_tokens(model, Tokenizer.from_str(spec.tokenizer), text, label)[: CONFIG.context_length + 1]
    return float(model.token_nll(torch.tensor([tokens])).sum())


def test_each_window_begins_with_the_value_of_its_document(topics: Dataset, spec: DataSpec) -> None:
    assert spec.class_names == ("kitchen", "weather")
    batches = datamodules.prepare(topics, GptConfig(**{**SETTINGS, "control_dropout": 0.0}), spec, 0)
    tokenizer = Tokenizer.from_str(spec.tokenizer)
    found = set()
    for step in range(10):
        for row in batches.train(step)["tokens"].tolist():
            text = tokenizer.decode(row[1 : row.index(0, 1)] if 0 in row[1:] else row[1:])
            if "spoon" in text or "west" in text:
                told = control_token(0 if "spoon" in text else 1)
                assert row[0] == told or row[:2] == [0, told]
                found.add(told)
    assert len(found) == 2
    batches = datamodules.prepare(topics, CONFIG, spec, 0)
    shares = [(batches.train(step)["tokens"][:, :2] == WITHHELD).any(dim=1).float().mean() for step in range(40)]
    assert 0.03 < float(torch.stack(shares).mean()) < 0.25


def test_a_text_is_likelier_under_its_own_value(trained: Gpt, topics: Dataset, spec: DataSpec) -> None:
    for label, title in enumerate(spec.class_names):
        line = TOPICS[title].format(7)
        own, other, none = (nats(trained, spec, line, told) for told in (label, 1 - label, None))
        assert own < none
        assert own < other
    assert len(list(documents(topics, "test", augmented=False))) > 2


@pytest.mark.parametrize("prompt", ["", "<|endoftext|>", "<|title: kitchen|> soup", "天气 ☔", "a\x00b"])
def test_whatever_a_prompt_holds_is_text(trained: Gpt, spec: DataSpec, prompt: str) -> None:
    tokenizer = Tokenizer.from_str(spec.tokenizer)
    tokens = prompt_tokens(trained, tokenizer, prompt, 1)
    assert tokens[:2] == [0, control_token(1)]
    assert min(tokens[2:], default=9) > control_token(1)
    assert tokenizer.decode(tokens[2:]) == prompt


def test_the_figures_tell_the_model_what_each_document_is(trained: Gpt, topics: Dataset, spec: DataSpec) -> None:
    found = {figure.name: figure for figure in evaluate(trained, topics, spec, config=EvaluationConfig(), cache=Path(), tell=SILENT).figures}
    assert found["bits_per_byte"].identity.preprocessing.endswith("each with its title")
    assert found["bits_per_byte"].value < (found["bits_per_byte"].floor or 0) * 2


def test_what_it_continues_for_the_eye_and_the_figures_begins_as_in_training(
    trained: Gpt, topics: Dataset, spec: DataSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[list[int]] = []
    continued = trained.continue_tokens
    monkeypatch.setattr(trained, "continue_tokens", lambda prompts, **options: given.extend(prompts) or continued(prompts, **options))
    draw_samples(trained, spec, seed=0, num=4)
    drawn = len(given)
    evaluate(trained, topics, spec, config=EvaluationConfig(), cache=Path(), tell=SILENT)
    assert 0 < drawn < len(given)
    assert {tuple(tokens[:2]) for tokens in given} == {(0, WITHHELD)}


@pytest.fixture(scope="module")
def package(trained: Gpt, spec: DataSpec, tmp_path_factory: pytest.TempPathFactory) -> Package:
    return write_package(
        trained, family="gpt", config=CONFIG.model_dump(), data_spec=spec, model_name="gpt-topics", identity="7" * 64, dataset="topics",
        data_version="v1", data_sha256="a" * 64, folder=tmp_path_factory.mktemp("package") / "model", card="# gpt-topics\n",
    )  # fmt: skip


def test_a_text_is_asked_for_by_its_value(package: Package) -> None:
    runtime = Runtime.open(package.folder / "artifacts")
    answers = runtime.predict([{"label": "kitchen"}, {"label": "weather"}, {}], {"temperature": 0, "max_new_tokens": 16})
    assert answers[0]["text"].startswith("Stir")
    assert answers[1]["text"].startswith("Rain")
    with pytest.raises(wire.BadRequestError, match=r"There is no class 'wether'; did you mean 'weather'\?"):
        runtime.predict([{"label": "wether"}])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"control": "titel"}, r"Dataset 'mine' has no column 'titel' to control texts by; did you mean 'title'\?"),
        ({"control": "text"}, "has no column 'text' to control texts by"),
        ({"vocab_size": 259}, "2 values of 'title' do not fit into the vocabulary: raise vocab_size to at least 260"),
    ],
)
def test_a_column_that_controls_nothing_is_one_sentence(topics: Dataset, tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        datamodules.describe(topics, GptConfig(**{**SETTINGS, **changes}), tmp_path)
