"""Text on disk as tokens: what a split says, written once, whole or not at all."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from components.data.dataset import Dataset
from components.models.bert.config import BertConfig
from components.models.gpt.config import GptConfig
from components.training import datamodules
from components.training.datamodules import texts
from components.training.datamodules.text import train_tokenizer
from components.training.datamodules.token_files import SUMMARY, TOKENS, Telling, TokenFile, token_file
from tests.training import made

DOCUMENTS = [f"Document {number} says {'very ' * (number % 7)}little of naïve Ωmega.\n" for number in range(50)]
CONFIG = GptConfig(vocab_size=300, context_length=16, batch_size=4)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return made.texts(tmp_path, {"train": DOCUMENTS, "validation": DOCUMENTS[:3]}, shard_rows=7, titles=("a", "b", ""))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(DOCUMENTS, 300)


def folders(dataset: Dataset) -> list[Path]:
    return sorted(path for path in (dataset.project.cache / "tokens").iterdir() if path.is_dir())


def tokens_of(stream: TokenFile) -> list[int]:
    return stream.windows([0], len(stream) - 1)[0].tolist()


def test_the_stream_is_every_document_behind_its_mark_in_order(dataset: Dataset, tokenizer: Tokenizer) -> None:
    stream = token_file(dataset, "train", tokenizer, augmented=True)
    expected = [tokenizer.encode(text).ids for text in DOCUMENTS]
    assert tokens_of(stream) == [token for text in expected for token in text]
    assert stream.starts.tolist() == np.cumsum([0, *map(len, expected)]).tolist()
    assert (folders(dataset)[0] / TOKENS).stat().st_size == 2 * len(stream)
    assert stream.counts(300) == tuple(torch.bincount(torch.tensor(tokens_of(stream)), minlength=300).tolist())


def test_windows_begin_anywhere_and_are_as_long_as_asked_for(dataset: Dataset, tokenizer: Tokenizer) -> None:
    stream = token_file(dataset, "train", tokenizer, augmented=True)
    whole = torch.tensor(tokens_of(stream))
    found = stream.windows([0, 5, len(stream) - 10], 9)
    assert found.dtype == torch.int64
    assert torch.equal(found, torch.stack([whole[:10], whole[5:15], whole[-10:]]))


def test_values_stand_behind_the_marks_and_lead_windows_that_begin_within_a_text(dataset: Dataset, tokenizer: Tokenizer) -> None:
    stream = token_file(dataset, "train", tokenizer, augmented=True, telling=Telling("title", {"a": 290, "b": 291}, withheld=289))
    whole, starts = tokens_of(stream), stream.starts.tolist()
    assert [whole[start : start + 2] for start in starts[:3]] == [[0, 290], [0, 291], [0, 289]]
    assert stream.windows([starts[1]], 3)[0].tolist() == whole[starts[1] : starts[1] + 4]
    assert stream.windows([starts[1] + 4], 3)[0].tolist() == [291, *whole[starts[1] + 5 : starts[1] + 8]]


def test_a_large_vocabulary_has_wider_tokens(dataset: Dataset) -> None:
    tokenizer = train_tokenizer(DOCUMENTS, 300)
    tokenizer.add_tokens([f"<{number}>" for number in range(2**16)])
    stream = token_file(dataset, "validation", tokenizer, augmented=False)
    assert (folders(dataset)[0] / TOKENS).stat().st_size == 4 * len(stream)


def test_is_written_once_per_content_and_tokenizer(dataset: Dataset, tokenizer: Tokenizer) -> None:
    token_file(dataset, "train", tokenizer, augmented=True)
    written = (folders(dataset)[0] / TOKENS).stat().st_mtime_ns
    token_file(Dataset.open(dataset.project, "mine"), "train", tokenizer, augmented=False)  # there are no added rows
    assert (folders(dataset)[0] / TOKENS).stat().st_mtime_ns == written
    assert len(folders(dataset)) == 1
    token_file(dataset, "train", train_tokenizer(DOCUMENTS, 290), augmented=True)
    assert len(folders(dataset)) == 2


@pytest.mark.parametrize("name", [TOKENS, SUMMARY])
def test_a_file_that_was_cut_short_or_is_gone_is_written_anew(dataset: Dataset, tokenizer: Tokenizer, name: str) -> None:
    whole = tokens_of(token_file(dataset, "train", tokenizer, augmented=True))
    path = folders(dataset)[0] / name
    if name == TOKENS:
        path.write_bytes(path.read_bytes()[:-2])
    else:
        path.unlink()
    assert tokens_of(token_file(dataset, "train", tokenizer, augmented=True)) == whole


KILLED = """
import os, signal, sys
from pathlib import Path
from components.data.dataset import Dataset
from components.project import Project
from components.training.datamodules.text import train_tokenizer
from components.training.datamodules.token_files import token_file

dataset = Dataset.open(Project(Path(sys.argv[1])), "mine")
tokenizer = train_tokenizer(["some text"], 300)
read, left = dataset.read, [5]

def dying(*arguments, **named):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(*arguments, **named)

dataset.read = dying
token_file(dataset, "train", tokenizer, augmented=True)
"""


@pytest.mark.slow
def test_what_was_killed_halfway_is_redone(dataset: Dataset) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(dataset.project.root)], capture_output=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.suffix for path in folders(dataset)] == [".part"]
    tokenizer = train_tokenizer(["some text"], 300)
    stream = token_file(dataset, "train", tokenizer, augmented=True)
    assert tokens_of(stream) == [token for text in DOCUMENTS for token in tokenizer.encode(text).ids]
    assert [path.suffix for path in folders(dataset)] == [""]


@pytest.mark.parametrize("config", [CONFIG, BertConfig(vocab_size=300, context_length=16, batch_size=4)])
def test_how_a_split_is_dealt_to_shards_does_not_change_what_is_learnt_from_it(tmp_path: Path, config: GptConfig | BertConfig) -> None:
    many, one = (made.texts(tmp_path / str(rows), {"train": DOCUMENTS, "validation": DOCUMENTS[:3]}, shard_rows=rows) for rows in (3, 50))
    first, second = (datamodules.describe(dataset, config, tmp_path / "cache") for dataset in (many, one))
    assert first == second
    ours, theirs = (datamodules.prepare(dataset, config, first, 0) for dataset in (many, one))
    assert all(torch.equal(ours.train(step)["tokens"], theirs.train(step)["tokens"]) for step in range(30))
    assert all(torch.equal(mine["tokens"], other["tokens"]) for mine, other in zip(ours.originals(), theirs.originals(), strict=True))


def test_a_vocabulary_is_learnt_from_shards_all_over_a_split_that_is_too_much(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(texts.vocabulary_texts(dataset, "text")) == DOCUMENTS
    size = sum(dataset.num_bytes(shard, ["text"]) for shard in dataset.shards("train"))
    assert len("".join(DOCUMENTS).encode()) < size < 2 * len("".join(DOCUMENTS).encode())
    monkeypatch.setattr(texts, "VOCABULARY_BYTES", size // 3)
    assert list(texts.vocabulary_texts(dataset, "text")) == [*DOCUMENTS[:7], *DOCUMENTS[28:35]]
