"""Text pairs: rows of .jsonl, .csv and .tsv, see `components.data.pairs`."""

from collections.abc import Iterator, Mapping
from typing import Any

from components.data.layout import Layout
from components.data.pairs import MESSAGES, SIDES, check_pairs, pair_fields
from components.data.readers import Columns, FilesConfig, unlabelled, with_endings
from components.data.records import RECORD_ENDINGS, Record
from components.data.rows import record_parts
from components.data.sources import Part
from components.data.trees import Entry, Tree

ENDINGS = RECORD_ENDINGS

COLUMNS = Columns((*SIDES, (MESSAGES,)), (), {MESSAGES: ("conversation",)})


def samples(tree: Tree, config: FilesConfig) -> Iterator[Entry]:
    return with_endings(tree, ENDINGS)


sources = samples


def check(tree: Tree, config: FilesConfig) -> None:
    for entry in samples(tree, config):
        check_pairs(tree, entry)


def survey(tree: Tree, config: FilesConfig) -> tuple[int, tuple[str, ...]]:
    return unlabelled(samples(tree, config))


def parts(tree: Tree, config: FilesConfig) -> Iterator[Part]:
    layout = Layout.of(tree, RECORD_ENDINGS)
    for entry in samples(tree, config):
        yield from record_parts(tree, entry, layout, pair_fields)


def fields_of(values: Mapping[str, Any]) -> dict[str, Any]:
    return pair_fields(Record(0, dict(values)))
