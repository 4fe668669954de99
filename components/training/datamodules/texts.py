"""Texts of a dataset as streams of shards, and samples of what is too much to be looked at whole."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from components.data.dataset import Dataset, ShardInfo, Split

VOCABULARY_BYTES = 256 * 2**20
"""Of text that a vocabulary is learnt from: what is rarer than once in that is no word worth a token."""
LOOKED_AT_ROWS = 10_000
"""Among which examples are chosen."""


def texts_of(dataset: Dataset, split: Split, column: str, *, augmented: bool = False) -> Iterator[str]:
    """The column of every row of ``split``, shard by shard."""
    return chain.from_iterable(table[column].to_pylist() for table in dataset.tables(split, [column], augmented))


def documents(dataset: Dataset, split: Split, augmented: bool) -> Iterator[str]:
    return texts_of(dataset, split, "text", augmented=augmented)


def vocabulary_texts(dataset: Dataset, *columns: str) -> Iterator[str]:
    """What a vocabulary is learnt from: the columns of the training split without added rows, of evenly spread shards where that is too much."""
    shards = dataset.shards("train", augmented=False)
    chosen = spread_shards(shards, [dataset.num_bytes(shard, columns) for shard in shards], VOCABULARY_BYTES)
    for shard in chosen:
        table = dataset.read(shard, list(columns))
        for column in columns:
            yield from table[column].to_pylist()


def example_rows(dataset: Dataset, split: Split, column: str) -> Iterator[str]:
    """The column of ``split`` without added rows, of evenly spread shards where there are many."""
    shards = dataset.shards(split, augmented=False)
    chosen = spread_shards(shards, [shard.rows for shard in shards], LOOKED_AT_ROWS)
    return chain.from_iterable(dataset.read(shard, [column])[column].to_pylist() for shard in chosen)


def spread_shards(shards: Sequence[ShardInfo], sizes: Iterable[int], most: int) -> Sequence[ShardInfo]:
    """All of ``shards`` where their sizes come to ``most`` at most, else every second one, every third one, …, at least one."""
    return shards[:: max(1, -(-sum(sizes) // most))]
