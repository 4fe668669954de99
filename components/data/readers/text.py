"""Documents: plain text and Markdown, HTML and EPUB as plain text, source code, and rows of .jsonl, .csv and .tsv."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from components.data.documents import check_documents, document_fields
from components.data.layout import Layout
from components.data.prose import BOOK_ENDINGS, PAGE_ENDINGS, NoProse, book_text, page_text
from components.data.readers import Columns, FilesConfig, content_of, unlabelled, with_endings
from components.data.records import RECORD_ENDINGS, Record, is_records
from components.data.rows import record_parts
from components.data.sources import PROBLEM, Part, RawRow
from components.data.trees import Entry, Tree

_PLAIN = (".txt", ".md", ".markdown", ".rst")
_CODE = (
    ".py", ".pyi", ".js", ".mjs", ".jsx", ".ts", ".tsx", ".java", ".kt", ".scala", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".go", ".rs", ".rb", ".php",
    ".swift", ".sh", ".sql", ".lua", ".pl", ".r", ".jl", ".hs", ".ml", ".ex", ".exs", ".erl", ".clj", ".dart", ".zig", ".css",
)  # fmt: skip
ENDINGS = (*_PLAIN, *PAGE_ENDINGS, *BOOK_ENDINGS, *RECORD_ENDINGS, *_CODE)

COLUMNS = Columns((("text",),), ("title", "label"), {"text": ("content",)})


def samples(tree: Tree, config: FilesConfig) -> Iterator[Entry]:
    return with_endings(tree, ENDINGS)


sources = samples


def check(tree: Tree, config: FilesConfig) -> None:
    for entry in samples(tree, config):
        if is_records(entry.name):
            check_documents(tree, entry)


def survey(tree: Tree, config: FilesConfig) -> tuple[int, tuple[str, ...]]:
    return unlabelled(samples(tree, config))  # a label of a text is a word of its own, not one of a list


def parts(tree: Tree, config: FilesConfig) -> Iterator[Part]:
    layout = Layout.of(tree, RECORD_ENDINGS)
    for entry in samples(tree, config):
        if is_records(entry.name):
            yield from record_parts(tree, entry, layout, partial(document_fields, label_column=config.label_column))
        else:
            split, label = layout.place(entry)
            label = label if config.labels == "folders" else None
            yield Part(entry.name, f"{entry.stamp} {split} {label}", partial(_document, tree, entry, split, label))


def _document(tree: Tree, entry: Entry, split: str | None, label: str | None) -> Iterator[RawRow]:
    """The file as one document; a page or a book that cannot be made out is said to be so."""
    content, problem = content_of(tree, entry)
    title, text, lower = _title(entry.name), content, entry.name.lower()
    try:
        if content is not None and lower.endswith(PAGE_ENDINGS):
            title, text = page_text(content, title)
        elif content is not None and lower.endswith(BOOK_ENDINGS):
            title, text = book_text(content, title)
    except NoProse as error:
        text, problem = None, str(error)
    fields = {"text": text, "title": title, "label": label, PROBLEM: problem or None}
    yield RawRow(id=entry.name, source=entry.name, fields=fields, split=split)


def _title(name: str) -> str:
    """The file's name, of code with its ending, which says the language."""
    path = PurePosixPath(name)
    return path.name if path.suffix.lower() in _CODE else path.stem


def fields_of(values: Mapping[str, Any]) -> dict[str, Any]:
    return document_fields(Record(0, dict(values)), "label")
