"""Batches of text pairs: `source` int64 [B, S] and `target` int64 [B, T] with `source_mask` and `target_mask` bool, False behind the texts' ends.

Both sides begin and end with a mark and have one vocabulary; see `components.models.token_rows`.
"""

from functools import partial
from pathlib import Path
from typing import Protocol, cast

from components.data.dataset import Dataset, Split
from components.models.capabilities import DataSpec
from components.models.family import TrainingConfig
from components.models.token_rows import mask_of
from components.training.datamodules import Batch, RowBatches, require_a_batch
from components.training.datamodules.text import encode_split, kept_tokenizer, rows_recipe, spread_examples

EXAMPLE_CHARS = 300
"""Of a source that is kept as an example, at most."""


class PairsConfig(Protocol):
    """What a family that trains on pairs has in its config."""

    batch_size: int
    vocab_size: int
    source_length: int
    """Tokens of a source with its two marks, S; longer ones are cut at their end."""
    target_length: int
    """The same of a target, T."""


def describe(dataset: Dataset, config: TrainingConfig, cache: Path) -> DataSpec:
    """One byte-pair vocabulary over both sides of the training split."""
    wanted = cast(PairsConfig, config).vocab_size
    tokenizer = kept_tokenizer(dataset, lambda: [text for column in pairs(dataset, "train", augmented=False) for text in column], rows_recipe(wanted), cache)
    return DataSpec(modality="text-pairs", vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str(), example_texts=_examples(dataset))


def _examples(dataset: Dataset) -> tuple[str, ...]:
    """Sources that are short enough to be shown whole, where there are such."""
    sources = pairs(dataset, "validation", augmented=False)[0] or pairs(dataset, "train", augmented=False)[0]
    return spread_examples([source for source in sources if len(source) <= EXAMPLE_CHARS] or sources, EXAMPLE_CHARS)


def prepare(dataset: Dataset, config: TrainingConfig, data_spec: DataSpec, seed: int) -> RowBatches:
    require_a_batch(dataset, config.batch_size, "pairs")
    load = partial(_load, dataset, data_spec, cast(PairsConfig, config))
    return RowBatches(dataset, batch_size=config.batch_size, seed=seed, load=load, finish=_finished)


def pairs(dataset: Dataset, split: Split, augmented: bool) -> tuple[list[str], list[str]]:
    """All sources and all targets, in the order of the rows."""
    table = dataset.table(split, columns=["source_text", "target_text"], augmented=augmented)
    return table["source_text"].to_pylist(), table["target_text"].to_pylist()


def _load(dataset: Dataset, data_spec: DataSpec, config: PairsConfig, split: Split, augmented: bool) -> Batch:
    sources, targets = pairs(dataset, split, augmented)
    return {
        "source": encode_split(data_spec, sources, config.source_length, f"{split} sources", "source_length"),
        "target": encode_split(data_spec, targets, config.target_length, f"{split} targets", "target_length"),
    }


def _finished(batch: Batch) -> Batch:
    sides = {name: tokens.long() for name, tokens in batch.items()}
    return {**sides, **{f"{name}_mask": mask_of(tokens) for name, tokens in sides.items()}}
