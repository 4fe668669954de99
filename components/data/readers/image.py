"""Images, flat or in one folder per class."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from components.data.layout import Layout
from components.data.readers import Columns, FilesConfig, content_of, unlabelled, with_endings
from components.data.sources import PROBLEM, Part, RawRow
from components.data.trees import Entry, Tree

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")

COLUMNS = Columns((("image",),), ("label", "caption"), {"image": ("img", "picture"), "label": ("labels", "class")})


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
    fields = {"image": {"bytes": content, "path": entry.name}, "label": label, "caption": caption, PROBLEM: problem or None}
    yield RawRow(id=entry.name, source=entry.name, fields=fields, split=split)


def fields_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """An image stands there as its encoded bytes, or as these with a path."""
    label, caption = values.get("label"), values.get("caption")
    return {"image": image_of(values.get("image")), "label": None if label is None else str(label), "caption": caption if isinstance(caption, str) else None}


def image_of(value: Any) -> dict[str, Any]:
    inner = value if isinstance(value, dict) else {"bytes": value}
    content, path = inner.get("bytes"), inner.get("path")
    return {"bytes": content if isinstance(content, bytes) else None, "path": path if isinstance(path, str) else None}
