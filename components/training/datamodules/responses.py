"""Batches of text pairs for a causal model: `tokens` int64 [B, T + 1] and `scored` bool [B, T], where tokens[:, 1:] belong to a response.

A row is the end-of-text mark, the source, the mark, the target, the mark: the vocabulary is that of a model of plain text, with which training may
begin.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import torch
from tokenizers import Tokenizer

from components.data.dataset import Dataset
from components.data.modalities import Additions
from components.errors import UserError
from components.models.capabilities import DataSpec
from components.models.family import TrainingConfig
from components.models.prompting import END_OF_TEXT, RESPONSES
from components.models.token_rows import encodings
from components.training.datamodules import Batch, require_a_batch
from components.training.datamodules.encoding import told_of_cut
from components.training.datamodules.reading import Columns
from components.training.datamodules.rows import RowBatches
from components.training.datamodules.text import ControlConfig, kept_tokenizer, recipe_of
from components.training.datamodules.text_pairs import SIDES
from components.training.datamodules.texts import vocabulary_texts

if TYPE_CHECKING:
    import pyarrow as pa


class ResponsesConfig(Protocol):
    """What a family that learns responses has in its config."""

    batch_size: int
    context_length: int
    response_length: int
    """Tokens of a response with its end mark, at most."""
    prompt_length: int
    """Tokens of a prompt, at most."""


def describe(dataset: Dataset, config: TrainingConfig, cache: Path) -> DataSpec:
    """One vocabulary over both sides of the training split.

    Raises:
        UserError: the config asks for a value to be told, for which a prompt and its response have no place.
    """
    if isinstance(config, ControlConfig) and config.control:
        raise UserError(f"Pairs of texts are not controlled by {config.control!r}, they are answers to their prompts: leave control out of the model's config.")
    tokenizer = kept_tokenizer(dataset, lambda: vocabulary_texts(dataset, *SIDES), recipe_of(config), cache)
    return DataSpec(modality=RESPONSES, vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str())


def prepare(dataset: Dataset, config: TrainingConfig, data_spec: DataSpec, seed: int, changes: Additions | None = None) -> RowBatches:
    """
    Raises:
        UserError: there is no room for a prompt, or too few pairs.
    """
    assert changes is None, "pairs of texts are never altered"
    wanted = cast(ResponsesConfig, config)
    if wanted.prompt_length < 1:
        raise UserError(
            f"A response of {wanted.response_length} tokens leaves no room for a prompt in a context of {wanted.context_length}: "
            "raise context_length, or lower response_length."
        )
    require_a_batch(dataset, config.batch_size, "pairs")
    return RowBatches(dataset, ResponsesReader(data_spec, wanted), batch_size=config.batch_size, seed=seed, buffer_mib=config.buffer_mib)


@dataclass(frozen=True)
class ResponsesReader:
    """`tokens` int32 [N, context_length + 1], and where the response begins and the row ends, `begin` and `end` [N]."""

    data_spec: DataSpec
    config: ResponsesConfig

    @property
    def columns(self) -> list[str]:
        return list(SIDES)

    def read(self, table: "pa.Table") -> Columns:
        tokenizer, config = Tokenizer.from_str(self.data_spec.tokenizer), self.config
        rows = torch.full((table.num_rows, config.context_length + 1), END_OF_TEXT, dtype=torch.int32)
        begin, end = torch.zeros(len(rows), dtype=torch.int64), torch.zeros(len(rows), dtype=torch.int64)
        long_prompts = long_responses = 0
        sides = (encodings(tokenizer, table[side].to_pylist(), marks=False) for side in SIDES)
        for index, (source, target) in enumerate(zip(*sides, strict=True)):
            asked, said = source.ids, target.ids
            long_prompts += len(asked) > config.prompt_length
            long_responses += len(said) >= config.response_length
            prompt = [END_OF_TEXT, *asked[: config.prompt_length], END_OF_TEXT]
            row = [*prompt, *said[: config.response_length - 1], END_OF_TEXT]
            rows[index, : len(row)] = torch.tensor(row, dtype=torch.int32)
            begin[index], end[index] = len(prompt), len(row)
        told = {
            **told_of_cut(long_prompts, "prompts", config.prompt_length, "context_length"),
            **told_of_cut(long_responses, "responses", config.response_length, "response_length"),
        }
        return Columns({"tokens": rows, "begin": begin, "end": end}, told)

    def finish(self, batch: Batch) -> Batch:
        tokens = batch["tokens"][:, : int(batch["end"].max())].long()
        places = torch.arange(1, tokens.size(1))
        return {"tokens": tokens, "scored": (places >= batch["begin"][:, None]) & (places < batch["end"][:, None])}
