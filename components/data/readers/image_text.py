"""Images with captions: a .txt of the same name beside the image, `metadata.jsonl` or `metadata.csv`, or what an index says, see `components.data.captions`."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from components.data.captions import METADATA_NAMES, Caption, captions_in
from components.data.layout import Layout
from components.data.readers import Columns, FilesConfig, content_of, image, with_endings
from components.data.sources import PROBLEM, OtherModality, Part, RawRow
from components.data.trees import Entry, Tree

_CAPTION = ".txt"
ENDINGS = image.ENDINGS
COLUMNS = Columns((("image", "caption"),), ("label",), {**image.COLUMNS.also, "caption": ("text", "sentence")})
samples = image.samples
survey = image.survey


def sources(tree: Tree, config: FilesConfig) -> Iterator[Entry]:
    yield from samples(tree, config)
    yield from _beside(tree, config).values()
    yield from _metadata(tree)


def check(tree: Tree, config: FilesConfig) -> None:
    said = any("caption" in (entry.said or {}) for entry in samples(tree, config))
    if not said and next(_metadata(tree), None) is None and not _beside(tree, config):
        raise OtherModality(
            f"{tree.place} holds images without captions: put a {_CAPTION} of the same name beside each image, or {METADATA_NAMES[0]} with file_name and text "
            "above them; to train on the images alone set modality to image."
        )


def parts(tree: Tree, config: FilesConfig) -> Iterator[Part]:
    """One part per image, with a row per caption: those that metadata files give, else the one beside the image.

    Images that are named but not among the files come last, without bytes.
    """
    layout = Layout.of(tree)
    named = captions_in(tree, _metadata(tree))
    beside = _beside(tree, config)
    # A tape would be wound back and forth between images and captions, so these, which are short, are read in one passage before.
    ready = {entry.name: content_of(tree, entry)[0] for entry in _in_order(tree, beside)} if tree.sequential else {}
    for entry in samples(tree, config):
        split, label = layout.place(entry)
        stem = _stem(entry.name)
        row = partial(_rows, tree, entry, split, label if config.labels == "folders" else None)
        if found := named.pop(entry.name, []):
            yield Part(entry.name, f"{entry.stamp} {split} {label} {_digest(found)}", partial(row, found))
        elif "caption" in (entry.said or {}):
            yield Part(entry.name, f"{entry.stamp} {split} {label}", partial(row, [Caption((entry.said or {})["caption"].encode(), entry.name)]))
        else:
            text = beside.get(stem)
            stamp = f"{entry.stamp} {split} {label} {text.stamp if text else ''}"
            yield Part(entry.name, stamp, partial(_rows_beside, tree, row, entry, text, ready))
    for name, missing in sorted(named.items()):
        split, label = layout.place_of(name)
        gone = Entry(name, 0, "")
        row = partial(_rows, None, gone, split, label if config.labels == "folders" else None)
        yield Part(name, f"missing {split} {label} {_digest(missing)}", partial(row, missing))


def _rows_beside(tree: Tree, row: "partial[Iterator[RawRow]]", entry: Entry, text: Entry | None, ready: dict[str, bytes | None]) -> Iterator[RawRow]:
    content = ready[text.name] if text and text.name in ready else content_of(tree, text)[0]
    return row([Caption(content, entry.name)])


def _rows(tree: Tree | None, entry: Entry, split: str | None, label: str | None, captions: Sequence[Caption]) -> Iterator[RawRow]:
    """The image once with each of its captions; without a tree it is not there."""
    content, problem = content_of(tree, entry) if tree else (None, "")
    for number, caption in enumerate(captions, 1):
        yield RawRow(
            id=entry.name if number == 1 else f"{entry.name}#{number}",
            source=caption.source,
            fields={"image": {"bytes": content, "path": entry.name}, "label": label, "caption": caption.content, PROBLEM: problem or None},
            split=split,
        )


def _beside(tree: Tree, config: FilesConfig) -> dict[str, Entry]:
    """The texts that have the name of an image, by that name without its ending."""
    images = {_stem(entry.name) for entry in samples(tree, config)}
    return {_stem(entry.name): entry for entry in with_endings(tree, (_CAPTION,)) if _stem(entry.name) in images}


def _in_order(tree: Tree, found: dict[str, Entry]) -> Iterator[Entry]:
    wanted = {entry.name for entry in found.values()}
    return (entry for entry in tree.entries() if entry.name in wanted)


def _metadata(tree: Tree) -> Iterator[Entry]:
    return (entry for entry in with_endings(tree, METADATA_NAMES) if entry.name.lower().rsplit("/", 1)[-1] in METADATA_NAMES)


def _stem(name: str) -> str:
    """Without the ending, as `with_suffix("")` of a path."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)


def _digest(captions: Sequence[Caption]) -> str:
    found = hashlib.blake2b(digest_size=16)
    for caption in captions:
        found.update(repr((caption.content, caption.source)).encode())
    return found.hexdigest()


def fields_of(values: Mapping[str, Any]) -> dict[str, Any]:
    caption = values.get("caption")
    return {**image.fields_of(values), "caption": caption.encode() if isinstance(caption, str) else None}
