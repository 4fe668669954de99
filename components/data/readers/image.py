"""Images, flat or in one folder per class."""

from collections.abc import Iterator
from functools import partial

from components.data.layout import Layout
from components.data.readers import FilesConfig, content_of, unlabelled, whose, with_endings
from components.data.sources import Part, RawRow
from components.data.trees import Entry, Tree

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")


def samples(tree: Tree, config: FilesConfig) -> Iterator[Entry]:
    return with_endings(tree, ENDINGS)


sources = samples


def check(tree: Tree, config: FilesConfig) -> None:
    """Any file will do; what is no image goes to quarantine."""


def survey(tree: Tree, config: FilesConfig) -> tuple[int, tuple[str, ...]]:
    return Layout.of(tree).survey(samples(tree, config)) if config.labels == "folders" else unlabelled(samples(tree, config))


def parts(tree: Tree, config: FilesConfig) -> Iterator[Part]:
    layout = Layout.of(tree)
    for entry in samples(tree, config):
        split, label = layout.place(entry)
        label = label if config.labels == "folders" else None
        yield Part(entry.name, f"{entry.stamp} {split} {label}", partial(_row, tree, entry, split, label))


def _row(tree: Tree, entry: Entry, split: str | None, label: str | None) -> Iterator[RawRow]:
    content, problem = content_of(tree, entry)
    caption = (entry.said or {}).get("caption")
    fields = {"image": {"bytes": content, "path": entry.name}, "label": label, "caption": caption}
    yield RawRow(id=entry.name, source=whose(entry.name, problem), fields=fields, split=split)
