"""Batches of captioned images: `image` and `label` as in `image.py`; of the captions `tokens` int64 [B, T] and `mask` bool [B, T], False behind their ends."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

from components.data.dataset import Dataset, Split
from components.models.capabilities import DataSpec
from components.models.family import ImageTextTrainingConfig, TrainingConfig
from components.models.token_rows import mask_of
from components.training.datamodules import Batch, RowBatches, image, require_a_batch
from components.training.datamodules.text import encode_split, kept_tokenizer, rows_recipe


def describe(dataset: Dataset, config: TrainingConfig, cache: Path) -> DataSpec:
    """What images and captions of the training split say; added images have the captions of their originals."""
    assert isinstance(config, ImageTextTrainingConfig)
    images = image.describe(dataset, config, cache)
    tokenizer = kept_tokenizer(dataset, lambda: captions(dataset, "train", augmented=False), rows_recipe(config.vocab_size), cache)
    return replace(images, modality="image-text", vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str())


def prepare(dataset: Dataset, config: TrainingConfig, data_spec: DataSpec, seed: int) -> RowBatches:
    assert isinstance(config, ImageTextTrainingConfig)
    require_a_batch(dataset, config.batch_size, "images")
    load = partial(_load, dataset, data_spec, config.caption_length)
    return RowBatches(dataset, batch_size=config.batch_size, seed=seed, load=load, finish=_finished)


def captions(dataset: Dataset, split: Split, augmented: bool) -> list[str]:
    return cast(list[str], dataset.table(split, columns=["caption"], augmented=augmented)["caption"].to_pylist())


def _load(dataset: Dataset, data_spec: DataSpec, length: int, split: Split, augmented: bool) -> Batch:
    texts = captions(dataset, split, augmented)
    tokens = encode_split(data_spec, texts, length, f"{split} captions", "caption_length")
    return {**image.load_images(dataset, data_spec, split, augmented), "tokens": tokens}


def _finished(batch: Batch) -> Batch:
    tokens = batch["tokens"].long()
    return {**image.scaled(batch), "tokens": tokens, "mask": mask_of(tokens)}
