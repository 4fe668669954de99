"""A folder of files: images (flat, or one folder per class) with or without captions, texts (.txt, .md, or rows of .jsonl, .csv, .tsv), or text pairs.

An image's caption is a .txt of the same name beside it, or stands in `metadata.jsonl` or `metadata.csv`, see `components.data.captions`.
Where the folders (or the files of rows) at the top are named train, validation and test, they are the source's own split.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from components.data.captions import METADATA_NAMES, Caption, captions_in
from components.data.documents import check_documents, document_fields
from components.data.pairs import check_pairs, pair_fields
from components.data.records import RECORD_SUFFIXES, Record, read_records
from components.data.sources import RawRow, SourceConfig
from components.errors import UserError

MODALITIES = ("image", "image-text", "text", "text-pairs")
LICENCE = ""
_CAPTION = ".txt"
_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_SUFFIXES = {"image": _IMAGES, "image-text": _IMAGES, "text": (".txt", ".md", *RECORD_SUFFIXES), "text-pairs": RECORD_SUFFIXES}
_SPLIT_NAMES = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
_Files = list[tuple[str, Path]]


class Config(SourceConfig):
    kind: Literal["folder"]
    path: str
    """Relative to the project, or absolute."""
    labels: Literal["folders", "none"] = "folders"
    """`folders`: the folder that an image or a text lies in is its class; where they lie in no folder there are no labels."""
    label_column: str = "label"
    """Of rows of texts: the column that says their label, like a topic, a genre or an author."""
    licence: str = ""


def check(config: Config, modality: str, root: Path) -> None:
    folder = _folder(config, root)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: give source.path a folder that exists.")
    if next(_walk(folder, _SUFFIXES[modality]), None) is None:
        raise UserError(f"{folder} holds no {modality} files ({', '.join(_SUFFIXES[modality])}): put some there or mend source.path.")
    if modality == "image-text" and not _caption_files(folder):
        raise UserError(
            f"{folder} holds images without captions: put a {_CAPTION} of the same name beside each image, or {METADATA_NAMES[0]} with file_name and text "
            "above them; to train on the images alone set modality to image."
        )
    if modality == "text-pairs":
        for name, path in _files(folder, modality):
            check_pairs(name, path)
    if modality == "text":
        for name, path in _files(folder, modality):
            if path.suffix.lower() in RECORD_SUFFIXES:
                check_documents(name, path)


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    """Names, sizes and times of every file: seen without reading one."""
    digest, num_bytes = hashlib.sha256(), 0
    folder = _folder(config, root)
    files = _files(folder, modality) + (_caption_files(folder) if modality == "image-text" else [])
    for name, path in files:
        status = path.stat()
        num_bytes += status.st_size
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return {"sha256": digest.hexdigest(), "files": len(files), "bytes": num_bytes}


def describe(config: Config, modality: str, root: Path) -> dict[str, Any]:
    return {"kind": "folder", "path": config.path, "files": len(_files(_folder(config, root), modality))}


def class_names(config: Config, modality: str, root: Path) -> tuple[str, ...]:
    if modality not in ("image", "image-text") or config.labels == "none":
        return ()
    folder = _folder(config, root)
    has_splits = _has_splits(folder, modality)
    return tuple(sorted({label for name, _ in _files(folder, modality) if (label := _place(name, has_splits)[1])}))


def read(config: Config, modality: str, root: Path) -> Iterator[RawRow]:
    folder = _folder(config, root)
    readers = {"image": _read_images, "image-text": _read_captioned, "text": _read_texts, "text-pairs": _read_pairs}
    yield from readers[modality](folder, _files(folder, modality), config)


def _read_images(folder: Path, files: _Files, config: Config) -> Iterator[RawRow]:
    has_splits = _has_splits(folder, "image")
    for name, path in files:
        yield _image_row(name, path, has_splits, config)


def _read_captioned(folder: Path, files: _Files, config: Config) -> Iterator[RawRow]:
    """One row per caption: those that metadata files give, else the one beside the image.

    Images that are named but not among ``files`` come last, without bytes.
    """
    has_splits = _has_splits(folder, "image-text")
    captions = captions_in([(name, path) for name, path in _caption_files(folder) if path.name.lower() in METADATA_NAMES])
    for name, path in files:
        for number, caption in enumerate(captions.pop(name, []) or [Caption(_content(path.with_suffix(_CAPTION)), name)], 1):
            yield _image_row(name, path, has_splits, config, caption, number)
    for name, missing in sorted(captions.items()):
        for number, caption in enumerate(missing, 1):
            yield _image_row(name, None, has_splits, config, caption, number)


def _image_row(name: str, path: Path | None, has_splits: bool, config: Config, caption: Caption | None = None, number: int = 1) -> RawRow:
    """The image with its caption, the ``number``-th of it."""
    split, label = _place(name, has_splits)
    fields = {
        "image": {"bytes": _content(path) if path else None, "path": name},
        "label": label if config.labels == "folders" else None,
        "caption": caption.content if caption else None,
    }
    return RawRow(id=name if number == 1 else f"{name}#{number}", source=caption.source if caption else name, fields=fields, split=split)


def _read_texts(folder: Path, files: _Files, config: Config) -> Iterator[RawRow]:
    has_splits = _has_splits(folder, "text")
    for name, path in files:
        if path.suffix.lower() in RECORD_SUFFIXES:
            yield from _read_rows(name, path, has_splits, lambda record: document_fields(record, config.label_column))
        else:
            split, label = _place(name, has_splits)
            fields = {"text": _content(path), "title": PurePosixPath(name).stem, "label": label if config.labels == "folders" else None}
            yield RawRow(id=name, source=name, fields=fields, split=split)


def _read_pairs(folder: Path, files: _Files, config: Config) -> Iterator[RawRow]:
    has_splits = _has_splits(folder, "text-pairs")
    for name, path in files:
        yield from _read_rows(name, path, has_splits, pair_fields)


def _read_rows(name: str, path: Path, has_splits: bool, fields: Callable[[Record], dict[str, Any]]) -> Iterator[RawRow]:
    """The rows of one file; its own name may be that of a split."""
    split, _ = _place(f"{PurePosixPath(name).with_suffix('')}/row", has_splits)
    for record in read_records(path):
        yield RawRow(id=f"{name}:{record.line}", source=f"{name} line {record.line}", fields=fields(record), split=split)


def _folder(config: Config, root: Path) -> Path:
    return root / Path(config.path).expanduser()


def _files(folder: Path, modality: str) -> _Files:
    """(relative name, path) of every visible file of the modality, sorted by name."""
    return sorted(_walk(folder, _SUFFIXES[modality]))


def _caption_files(folder: Path) -> _Files:
    """Where captions of images stand: texts of the same name, and metadata files."""
    images = {path.with_suffix("") for _, path in _walk(folder, _IMAGES)}
    return sorted(
        [
            *((name, path) for name, path in _walk(folder, (_CAPTION,)) if path.with_suffix("") in images),
            *((name, path) for name, path in _walk(folder, METADATA_NAMES) if path.name.lower() in METADATA_NAMES),
        ]
    )


def _walk(folder: Path, endings: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = os.path.relpath(at, folder)
        for name in names:
            if name.lower().endswith(endings) and not name.startswith("."):
                path = Path(at, name)
                if path.is_file():
                    yield _text(name if here == "." else f"{here}/{name}"), path


def _text(name: str) -> str:
    """The name as text, also where the file system holds bytes that are no UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _has_splits(folder: Path, modality: str) -> bool:
    tops = {path.name.lower() for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    if modality in ("text", "text-pairs"):
        tops |= {path.stem.lower() for path in folder.iterdir() if path.suffix.lower() in RECORD_SUFFIXES and not path.name.startswith(".")}
    return "train" in tops and len(tops) > 1 and tops <= set(_SPLIT_NAMES)  # a lone folder `train` may hold pictures of trains


def _place(name: str, has_splits: bool) -> tuple[str | None, str | None]:
    """The split and the class that a file's relative name says."""
    parts = PurePosixPath(name).parts
    split = _SPLIT_NAMES.get(parts[0].lower()) if has_splits and len(parts) > 1 else None
    inner = parts[1:-1] if split else parts[:-1]
    return split, inner[-1] if inner else None


def _content(path: Path) -> bytes | None:
    """The file's bytes; None where it cannot be read, which cleaning reports as incomplete."""
    try:
        return path.read_bytes()
    except OSError:
        return None
