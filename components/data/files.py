"""What all sources have in common whose samples are files in a tree: folder, archive, bucket, web."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from components.data.readers import FilesConfig, find_reader
from components.data.sources import OtherModality, Reading
from components.data.tables import ENDINGS as TABLE_ENDINGS
from components.data.trees import Entry, Tree

_PICKLES = (".npy", ".npz", ".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib")


def check_files(tree: Tree, config: FilesConfig, modality: str, key: str = "path") -> None:
    """Refuse a tree without a file that the modality reads, or whose files make no rows; ``key`` of the source's block says where the tree is.

    Raises:
        UserError: with what is missing and what to do.
    """
    reader = find_reader(modality)
    if next(reader.samples(tree, config), None) is None:
        raise OtherModality(_nothing(tree, modality, reader.ENDINGS, key))
    reader.check(tree, config)


def files_fingerprint(tree: Tree, config: FilesConfig, modality: str) -> dict[str, Any]:
    """Of every file that rows come from: seen without reading one."""
    return entries_fingerprint(find_reader(modality).sources(tree, config))


def entries_fingerprint(entries: Iterable[Entry]) -> dict[str, Any]:
    """Names, sizes and stamps."""
    digest, number, num_bytes = hashlib.sha256(), 0, 0
    for entry in entries:
        number += 1
        num_bytes += entry.size
        digest.update(f"{entry.name}\0{entry.size}\0{entry.stamp}\n".encode())
    return {"sha256": digest.hexdigest(), "files": number, "bytes": num_bytes}


@contextmanager
def reading_files(tree: Tree, config: FilesConfig, modality: str, origin: dict[str, Any]) -> Iterator[Reading]:
    """The tree, once it was checked, as parts; it is closed with the block."""
    reader = find_reader(modality)
    try:
        check_files(tree, config, modality)
        num_files, class_names = reader.survey(tree, config)
        yield Reading(lambda: reader.parts(tree, config), {**origin, "files": num_files}, class_names)
    finally:
        tree.close()


def _nothing(tree: Tree, modality: str, endings: tuple[str, ...], key: str) -> str:
    pickled = next((entry.name for entry in tree.entries() if entry.name.lower().endswith(_PICKLES)), None)
    if pickled is not None:
        return (
            f"{tree.place} holds no {modality} files but arrays like {pickled}, which are never loaded, for they can hold code: "
            "convert them to PNG (images) or Parquet (rows) and put those there."
        )
    if any(entry.name.lower().endswith(TABLE_ENDINGS) for entry in tree.entries()):
        return f"{tree.place} holds no {modality} files but Parquet: use kind parquet for them."
    return f"{tree.place} holds no {modality} files ({', '.join(endings)}): put some there or mend source.{key}."
