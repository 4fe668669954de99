"""The token stream of a split in a file: each text behind its mark, one after the other, read by its places and never whole.

It is written shard by shard, once per data version, tokenizer and what else its tokens depend on, and kept in the project's cache.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, repeat, tee
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from filelock import FileLock
from tokenizers import Tokenizer
from torch import Tensor

from components.cache import mark_used
from components.data.augmenting.passages import passages
from components.data.dataset import Dataset, Split
from components.models.token_rows import some_at_once
from components.params import Strict

TOKENS, STARTS, SUMMARY = "tokens.bin", "starts.bin", "summary.json"
_COUNTED_AT_ONCE = 2**20
Numbers = np.ndarray[Any, np.dtype[np.int64]]


class Summary(Strict):
    """What is in a folder of the cache; written last."""

    dtype: str
    tokens: int
    texts: int


@dataclass(frozen=True)
class Telling:
    """A column whose value is told of each document: its token stands behind the document's mark."""

    column: str
    tokens: Mapping[str, int]
    withheld: int
    """In place of the values that have no token."""

    def token(self, value: str | None) -> int:
        return self.tokens.get(value or "", self.withheld)


class TokenFile:
    """A stream of tokens on disk."""

    def __init__(self, folder: Path, summary: Summary, *, is_told: bool) -> None:
        self.tokens = np.memmap(folder / TOKENS, dtype=summary.dtype, mode="r") if summary.tokens else np.zeros(0, dtype=summary.dtype)
        self.starts = np.memmap(folder / STARTS, dtype=np.int64, mode="r")
        """Of each text the place of its mark, and the end of the stream: [texts + 1]."""
        self._is_told = is_told

    def __len__(self) -> int:
        return len(self.tokens)

    def windows(self, starts: Iterable[int], length: int) -> Tensor:
        """int64 [N, length + 1] from the places ``starts`` on."""
        begins = np.fromiter(starts, dtype=np.int64)
        found = np.stack([self.tokens[start : start + length + 1] for start in begins]).astype(np.int64)
        return torch.from_numpy(self.led(found, np.searchsorted(self.starts, begins, side="right") - 1))

    def led(self, windows: Numbers, texts: Numbers) -> Numbers:
        """``windows``, which begin in ``texts``; where values are told, one that begins within its text has the text's value in place of its first token."""
        if self._is_told:
            windows[:, 0] = np.where(windows[:, 0] == 0, 0, self.tokens[self.starts[texts] + 1])
        return windows

    def counts(self, vocab_size: int) -> tuple[int, ...]:
        """How often each entry of the vocabulary stands in the stream."""
        counts = np.zeros(vocab_size, dtype=np.int64)
        for start in range(0, len(self), _COUNTED_AT_ONCE):
            counts += np.bincount(self.tokens[start : start + _COUNTED_AT_ONCE], minlength=vocab_size)
        return tuple(counts.tolist())


class ShuffledTexts:
    """The texts of a stream in an order drawn from ``generator``."""

    def __init__(self, stream: TokenFile, generator: torch.Generator) -> None:
        self._stream = stream
        self._order = torch.randperm(len(stream.starts) - 1, generator=generator).numpy()
        self._ends = np.cumsum(np.diff(stream.starts)[self._order])

    def windows(self, starts: Iterable[int], length: int) -> Tensor:
        """As those of the stream."""
        begins = np.fromiter(starts, dtype=np.int64)
        first = np.searchsorted(self._ends, begins, side="right")
        found = np.stack([self._tokens(int(begin), int(text), length + 1) for begin, text in zip(begins, first, strict=True)])
        return torch.from_numpy(self._stream.led(found, self._order[first]))

    def _tokens(self, begin: int, text: int, num: int) -> Numbers:
        """``num`` tokens from the place ``begin`` on, which lies in the text that stands at ``text``."""
        parts: list[Numbers] = []
        while num:
            start, end = (int(place) for place in self._stream.starts[self._order[text] : self._order[text] + 2])
            skipped = max(0, begin - (int(self._ends[text]) - (end - start)))
            parts.append(self._stream.tokens[start + skipped : min(end, start + skipped + num)].astype(np.int64))
            num -= len(parts[-1])
            text += 1
        return np.concatenate(parts)


def token_file(
    dataset: Dataset, split: Split, tokenizer: Tokenizer, *, augmented: bool, telling: Telling | None = None, chunk_chars: int | None = None
) -> TokenFile:
    """The stream of ``split``, written now where it is not there yet; with ``chunk_chars`` each passage of a document is a text of its own."""
    shards = dataset.shards(split, augmented)
    key = [[shard.sha256 for shard in shards], tokenizer.to_str(), telling and (telling.column, telling.tokens, telling.withheld), chunk_chars]
    folder = dataset.project.cache / "tokens" / f"{dataset.name}-{split}-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # of two runs on one dataset the second finds what the first has written
        summary = _summary(folder) or _write(folder, _encoded(_texts(dataset, split, augmented, telling, chunk_chars), tokenizer), tokenizer.get_vocab_size())
    mark_used(folder)
    return TokenFile(folder, summary, is_told=telling is not None)


def _texts(dataset: Dataset, split: Split, augmented: bool, telling: Telling | None, chunk_chars: int | None) -> Iterator[tuple[str, int | None]]:
    """Each text, with the token that tells its value."""
    for table in dataset.tables(split, ["text", *([telling.column] if telling else [])], augmented):
        told = (telling.token(value) for value in table[telling.column].to_pylist()) if telling else repeat(None, table.num_rows)
        for text, token in zip(table["text"].to_pylist(), told, strict=True):
            yield from ((passage, token) for passage in passages(text, chunk_chars))


def _encoded(texts: Iterator[tuple[str, int | None]], tokenizer: Tokenizer) -> Iterator[list[int]]:
    """The tokens of each text with its mark and what is told of it."""
    read, told = tee(texts)
    encodings = chain.from_iterable(tokenizer.encode_batch_fast(some) for some in some_at_once(text for text, _ in read))
    for encoding, (_, token) in zip(encodings, told, strict=True):
        yield encoding.ids if token is None else [encoding.ids[0], token, *encoding.ids[1:]]


def _summary(folder: Path) -> Summary | None:
    """What a whole folder holds; None where there is none, or a file is shorter than it was."""
    if not (folder / SUMMARY).is_file():
        return None
    summary = Summary.model_validate_json((folder / SUMMARY).read_bytes())
    sizes = {TOKENS: summary.tokens * np.dtype(summary.dtype).itemsize, STARTS: 8 * (summary.texts + 1)}
    return summary if all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items()) else None


def _write(folder: Path, texts: Iterator[list[int]], vocab_size: int) -> Summary:
    """Into a folder beside it that takes its place when all is on disk; what was left there halfway is begun anew."""
    scratch = folder.with_suffix(".part")
    for stale in (scratch, folder):
        if stale.exists():
            shutil.rmtree(stale)
    scratch.mkdir()
    dtype = np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)
    num_tokens = num_texts = 0
    with _kept(scratch / TOKENS) as tokens, _kept(scratch / STARTS) as starts:
        for text in texts:
            starts.write(np.int64(num_tokens).tobytes())
            tokens.write(np.asarray(text, dtype=dtype).tobytes())
            num_tokens, num_texts = num_tokens + len(text), num_texts + 1
        starts.write(np.int64(num_tokens).tobytes())
    summary = Summary(dtype=dtype.name, tokens=num_tokens, texts=num_texts)
    (scratch / SUMMARY).write_text(summary.model_dump_json(), encoding="utf-8")
    scratch.replace(folder)
    return summary


@contextmanager
def _kept(path: Path) -> Iterator[BinaryIO]:
    """A file that is on disk when the block ends."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
