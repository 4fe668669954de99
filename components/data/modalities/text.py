"""Documents of plain text."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from components.data.modalities import Additions, Examined, Limits, Rejection, rng_seed
from components.params import Block

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_BLANK_LINES = re.compile(r"(\n(?:[ \t]*\n)+)")
_WORD = re.compile(r"\w+")
CAN_CUT = True


class CleanConfig(Limits):
    min_chars: int = Field(1, ge=1)
    max_chars: int = Field(20_000_000, ge=1)
    unique_paragraphs: bool = True
    """Keep a paragraph only in the first document that has it: text that stands in two splits would be leakage."""
    unique_chars: int = Field(1, ge=1)
    """Paragraphs of fewer characters may repeat: in code the short ones are idioms, whose removal would leave holes in what holds them."""


class AugmentConfig(Additions):
    chunk_chars: int = Field(2000, ge=1)
    """A copied document is cut at line ends into passages of at most this many characters; the passages of all documents get a new order."""


def raw_fields() -> "Sequence[pa.Field]":
    import pyarrow as pa

    # Bytes, because text that is not UTF-8 must reach cleaning to be reported there.
    return [pa.field("text", pa.binary()), pa.field("title", pa.string())]


def clean_fields() -> "Sequence[pa.Field]":
    import pyarrow as pa

    return [pa.field("text", pa.string()), pa.field("title", pa.string()), pa.field("num_chars", pa.int64())]


def schema_metadata(fields: "Sequence[pa.Field]") -> dict[str, str]:
    return {}


def content_key(row: Mapping[str, Any]) -> str:
    content = row.get("text")
    return hashlib.sha256(f"{row.get('title')}\0{content is None}\0".encode() + (content or b"")).hexdigest()


def examine(row: Mapping[str, Any], config: CleanConfig, labelled: bool) -> Examined | Rejection:
    if row["text"] is None:
        return Rejection("incomplete", "no text")
    try:
        text = _decoded(row["text"])
    except UnicodeDecodeError as error:
        return Rejection("corrupt", f"not UTF-8 at byte {error.start:,}")
    if "\0" in text:
        return Rejection("corrupt", "holds NUL characters: not plain text")
    rejection = _out_of_range(text, config)
    if rejection:
        return rejection
    words = " ".join(text.split())
    return Examined(
        duplicate_key=_digest(words),
        group_keys=(_digest(" ".join(_WORD.findall(words.lower()))),),
        parts=tuple(_parts(text, config)) if config.unique_paragraphs else (),
        least=config.min_chars,
    )


def common_form(forms: Mapping[tuple[Any, ...], int], config: CleanConfig, block: Block) -> tuple[Any, ...]:
    return ()


def convert(row: Mapping[str, Any], form: tuple[Any, ...], drop: Sequence[int], config: CleanConfig, class_names: Sequence[str]) -> dict[str, Any]:
    text = _decoded(row["text"])
    if drop:
        text = _without(text, set(drop))
    return {"text": text, "title": row["title"], "num_chars": len(text)}


def blocks(row: Mapping[str, Any], size: int) -> Iterator[Mapping[str, Any]]:
    """The document in contiguous blocks of at most ``size`` characters, cut behind paragraphs or, where one is too long, behind lines.

    A document that grows at its end keeps its earlier blocks and their ids.
    """
    text, start, index = _decoded(row["text"]), 0, 0
    while start < len(text):
        end = _cut_before(text, start, start + size)
        if text[start:end].strip():
            yield {**row, "id": f"{row['id']}#{index}", "text": text[start:end].encode()}
            index += 1
        start = end


def _cut_before(text: str, start: int, end: int) -> int:
    if end >= len(text):
        return len(text)
    for sign in ("\n\n", "\n"):
        found = text.rfind(sign, start, end)
        if found > start:
            return found + len(sign)
    return end


def augment(rows: Sequence[Mapping[str, Any]], config: AugmentConfig) -> Iterator[dict[str, Any]]:
    for copy in range(1, config.copies + 1):
        passages = [
            {**row, "id": f"{row['id']}~{copy}.{index}", "parent_id": row["id"], "text": passage, "num_chars": len(passage)}
            for row in rows
            for index, passage in enumerate(_passages(row["text"], config.chunk_chars))
        ]
        yield from sorted(passages, key=lambda passage: rng_seed(config.seed, passage["id"]))


def metadata_columns() -> list[str]:
    return ["id", "split", "parent_id", "source", "text", "title", "num_chars"]


def metadata(table: "pa.Table", class_names: Sequence[str]) -> "pd.DataFrame":
    texts = table["text"].to_pylist()
    frame = table.drop_columns(["text"]).to_pandas()
    frame["num_words"] = [len(text.split()) for text in texts]
    frame["num_lines"] = [text.count("\n") + 1 for text in texts]
    frame["content_sha256"] = [_digest(text) for text in texts]
    return frame


def suite(config: CleanConfig, class_names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"rule": "expect_column_values_to_be_between", "column": "num_chars", "min_value": 1, "max_value": config.max_chars},
        {"rule": "expect_column_values_to_be_between", "column": "num_words", "min_value": 1, "severity": "warning"},
    ]


def preview(table: "pa.Table", num: int = 3, chars: int = 600) -> str:
    """The beginnings of ``num`` documents spread evenly over ``table``."""
    count = min(num, table.num_rows)
    rows = table.take([index * table.num_rows // count for index in range(count)]).to_pylist() if count else []
    return "\n\n".join(f"[{row['title'] or row['id']}]\n{row['text'][:chars].rstrip()}{' …' if len(row['text']) > chars else ''}" for row in rows)


def _decoded(content: bytes) -> str:
    text = content.decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _out_of_range(text: str, config: CleanConfig) -> Rejection | None:
    if not text.strip():
        return Rejection("incomplete", "no text")
    if not config.min_chars <= len(text) <= config.max_chars:
        return Rejection("out-of-range", f"{len(text):,} characters, allowed are {config.min_chars:,} to {config.max_chars:,}")
    return None


def _parts(text: str, config: CleanConfig) -> Iterator[tuple[str, int]]:
    """Digest and length of each paragraph; one that may repeat has a digest of its own in each document."""
    whole = _digest(text)
    for index, paragraph in enumerate(_BLANK_LINES.split(text)[0::2]):
        words = " ".join(paragraph.split())
        yield _digest(words if len(paragraph) >= config.unique_chars else f"{whole}:{index}"), len(paragraph)


def _without(text: str, drop: set[int]) -> str:
    """``text`` without the paragraphs ``drop`` and the blank lines after them."""
    pieces = _BLANK_LINES.split(text)
    kept = [index for index in range(0, len(pieces), 2) if index // 2 not in drop]
    return "".join(pieces[index] + (pieces[index + 1] if index + 1 < len(pieces) else "") for index in kept).strip("\n")


def _passages(text: str, limit: int) -> Iterator[str]:
    """As many whole lines as fit into ``limit`` characters; a longer line is cut anywhere."""
    passage = ""
    for piece in (part for paragraph in _BLANK_LINES.split(text) for part in paragraph.splitlines(keepends=True)):
        if passage.strip() and len(passage) + len(piece) > limit:
            yield passage.strip("\n")
            passage = ""
        whole = len(piece) // limit * limit if len(piece) > limit else 0
        yield from (piece[start : start + limit] for start in range(0, whole, limit))
        passage += piece[whole:]
    if passage.strip():
        yield passage.strip("\n")
