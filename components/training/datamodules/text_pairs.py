"""Batches of text pairs: `source` int64 [B, S] and `target` int64 [B, T] with `source_mask` and `target_mask` bool, False behind the texts' ends.

Both sides begin and end with a mark and have one vocabulary; see `components.models.token_rows`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from components.data.dataset import Dataset
from components.data.modalities import Additions
from components.models.capabilities import DataSpec
from components.models.family import TrainingConfig
from components.models.token_rows import mask_of
from components.training.datamodules import Batch, require_a_batch
from components.training.datamodules.encoding import encoded
from components.training.datamodules.reading import Columns
from components.training.datamodules.rows import RowBatches
from components.training.datamodules.text import kept_tokenizer, rows_recipe, spread_examples
from components.training.datamodules.texts import example_rows, vocabulary_texts

if TYPE_CHECKING:
    import pyarrow as pa

SIDES = ("source_text", "target_text")
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
    tokenizer = kept_tokenizer(dataset, lambda: vocabulary_texts(dataset, *SIDES), rows_recipe(wanted), cache)
    return DataSpec(modality="text-pairs", vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str(), example_texts=_examples(dataset))


def _examples(dataset: Dataset) -> tuple[str, ...]:
    """Sources that are short enough to be shown whole, where there are such."""
    sources = list(example_rows(dataset, "validation" if dataset.shards("validation") else "train", "source_text"))
    return spread_examples([source for source in sources if len(source) <= EXAMPLE_CHARS] or sources, EXAMPLE_CHARS)


def prepare(dataset: Dataset, config: TrainingConfig, data_spec: DataSpec, seed: int, changes: Additions | None = None) -> RowBatches:
    assert changes is None, "pairs of texts are never altered"
    require_a_batch(dataset, config.batch_size, "pairs")
    reader = PairsReader(data_spec, cast(PairsConfig, config))
    return RowBatches(dataset, reader, batch_size=config.batch_size, seed=seed, buffer_mib=config.buffer_mib)


@dataclass(frozen=True)
class PairsReader:
    """The tokens of both sides, int32 [N, S] and [N, T]."""

    data_spec: DataSpec
    config: PairsConfig

    @property
    def columns(self) -> list[str]:
        return list(SIDES)

    def read(self, table: "pa.Table") -> Columns:
        sources, targets = (table[side].to_pylist() for side in SIDES)
        source, sources_told = encoded(self.data_spec, sources, self.config.source_length, "sources", "source_length")
        target, targets_told = encoded(self.data_spec, targets, self.config.target_length, "targets", "target_length")
        return Columns({"source": source, "target": target}, {**sources_told, **targets_told})

    def finish(self, batch: Batch) -> Batch:
        sides = {name: tokens.long() for name, tokens in batch.items()}
        return {**sides, **{f"{name}_mask": mask_of(tokens) for name, tokens in sides.items()}}
