"""Parquet: a file, a folder of files or a glob, whose rows are samples; images stand in them as bytes or as `{bytes, path}`, as Hugging Face has them."""

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from components.data.files import entries_fingerprint
from components.data.readers import find_table_reader, reader_modules, table_reader_names
from components.data.sources import Reading, SourceConfig
from components.data.tables import ENDINGS, labels_in, layout_of, table_parts, tables_in
from components.data.trees import Caps, Entry
from components.data.trees.folder import Folder
from components.errors import UserError

MODALITIES = table_reader_names()
LICENCE = ""
code = reader_modules


class Config(SourceConfig, Caps):
    kind: Literal["parquet"]
    path: str
    """A file, a folder or a glob like `data/*.parquet`; relative to the project, or absolute."""
    columns: dict[str, str] = {}
    """Which column gives what, where it is called otherwise: e.g. `{image: picture, label: species}`."""
    licence: str = ""


def check(config: Config, modality: str, root: Path) -> None:
    tree, entries = _tables(config, root)
    layout_of(tree, entries[0], find_table_reader(modality).COLUMNS, config.columns)


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    return entries_fingerprint(_tables(config, root)[1])


@contextmanager
def reading(config: Config, modality: str, root: Path) -> Iterator[Reading]:
    tree, entries = _tables(config, root)
    reader = find_table_reader(modality)
    layout = layout_of(tree, entries[0], reader.COLUMNS, config.columns)
    class_names = labels_in(tree, entries, layout, config) if modality.startswith("image") else ()
    origin = {"kind": "parquet", "path": config.path, "columns": dict(layout.columns), "files": len(entries)}
    yield Reading(lambda: table_parts(tree, entries, layout, reader.fields_of, config), origin, class_names)


def _tables(config: Config, root: Path) -> tuple[Folder, list[Entry]]:
    """The folder that holds the files, and these by name."""
    path = root / Path(config.path).expanduser()
    if path.is_dir():
        tree = Folder(path)
        entries = tables_in(tree)
    else:
        names = [str(path)] if path.is_file() else sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - the pattern may be absolute
        above = os.path.commonpath([os.path.dirname(name) for name in names]) if names else str(root)  # noqa: PTH120
        tree = Folder(Path(above))
        entries = [entry for name in names if (entry := tree.find(os.path.relpath(name, above)))]
    if not entries:
        raise UserError(f"there is no Parquet file ({', '.join(ENDINGS)}) at {path}: give source.path a file, a folder or a glob that has some.")
    return tree, entries
