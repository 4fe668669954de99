"""Posed photos: `transforms.json` or `transforms_train.json` and the photos that it names, see `components.data.frames`."""

from collections.abc import Iterator

from components.data.frames import SPLIT_FILES, WHOLE, Frame, frame_entries, frame_parts, frames_in, refuse_unusable, transforms_in
from components.data.readers import FilesConfig, unlabelled
from components.data.sources import Part
from components.data.trees import Entry, Tree

ENDINGS = (WHOLE, *SPLIT_FILES)


def samples(tree: Tree, config: FilesConfig) -> Iterator[Entry]:
    return iter(frame_entries(_frames(tree)))


def sources(tree: Tree, config: FilesConfig) -> Iterator[Entry]:
    yield from transforms_in(tree)
    yield from samples(tree, config)


def check(tree: Tree, config: FilesConfig) -> None:
    refuse_unusable(tree.place, _frames(tree))


def survey(tree: Tree, config: FilesConfig) -> tuple[int, tuple[str, ...]]:
    return unlabelled(samples(tree, config))


def parts(tree: Tree, config: FilesConfig) -> Iterator[Part]:
    return frame_parts(tree, _frames(tree))


def _frames(tree: Tree) -> list[Frame]:
    """In the order of the files with the cameras, or where that would wind a tape back and forth, in the tree's."""
    frames = frames_in(tree, transforms_in(tree))
    if not tree.sequential:
        return frames
    order = {entry.name: number for number, entry in enumerate(tree.entries())}
    return sorted(frames, key=lambda frame: order.get(frame.name, -1))
