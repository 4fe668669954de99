"""Documents of plain text, each with a title and a label where the source gives them: a topic, a genre, an author."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from components.data.augmenting.passages import BLANK_LINES, PassageChanges, masked, passages
from components.data.modalities import Examined, Rejection, rng_seed, spread
from components.data.near import Likeness
from components.data.text_quality import symbols
from components.data.text_rules import TextRules, Wording, suggested_rules, suggested_wording, unwanted, worded
from components.data.texts import decode_text, digest, length_problem, plain_excerpt, word_key
from components.params import Block

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PARTS = ("text",)
TEST_ROWS = 10
CAN_CUT = True
_CODE_SYMBOLS = 0.1
"""Share of symbols from which a text is taken for source code; English prose has 0.03 to 0.05."""


class CleanConfig(TextRules):
    min_chars: int = Field(1, ge=1)
    max_chars: int = Field(20_000_000, ge=1)
    unique_paragraphs: bool = True
    """Keep a paragraph only in the first document that has it: text that stands in two splits would be leakage."""
    unique_chars: int = Field(1, ge=1)
    """Paragraphs of fewer characters may repeat: in code the short ones are idioms, whose removal would leave holes in what holds them."""


AugmentConfig = PassageChanges


def raw_fields() -> "Sequence[pa.Field]":
    import pyarrow as pa

    # Bytes, because text that is not UTF-8 must reach cleaning to be reported there.
    return [pa.field("text", pa.binary()), *(pa.field(name, pa.string()) for name in ("title", "label"))]


def clean_fields() -> "Sequence[pa.Field]":
    import pyarrow as pa

    return [*(pa.field(name, pa.string()) for name in ("text", "title", "label")), pa.field("num_chars", pa.int64())]


def schema_metadata(fields: "Sequence[pa.Field]") -> dict[str, str]:
    return {}


def content_key(row: Mapping[str, Any]) -> str:
    content = row.get("text")
    said = "\0".join(str(row.get(name)) for name in ("title", "label"))
    return hashlib.sha256(f"{said}\0{content is None}\0".encode() + (content or b"")).hexdigest()


def examine(row: Mapping[str, Any], config: CleanConfig, labelled: bool) -> Examined | Rejection:
    wording = worded(row["text"], config)
    if isinstance(wording, Rejection):
        return wording
    text = wording.text
    problem = length_problem(text, config.min_chars, config.max_chars) or unwanted(text, config)
    if problem:
        return problem
    words = " ".join(text.split())
    return Examined(
        duplicate_key=digest(words),
        group_key=word_key(words),
        parts=tuple(_parts(text, config)) if config.unique_paragraphs else (),
        least=config.min_chars,
        compared=text if config.near_duplicates else None,
        changes=wording.changes,
    )


def likeness(config: CleanConfig) -> Likeness | None:
    return config.near_duplicates


def excerpt(row: Mapping[str, Any], config: CleanConfig) -> bytes | str | None:
    return plain_excerpt(row["text"])


def suggested(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rules that most of the texts stand; in source code short paragraphs may repeat."""
    texts = [text for row in rows if isinstance(text := decode_text(row["text"]), str)]
    block: dict[str, Any] = {"min_chars": 40} if min(map(len, texts), default=0) >= 40 else {}
    if sum(symbols(text) > _CODE_SYMBOLS for text in texts) > len(texts) / 2:
        return {**block, "unique_chars": 100, **suggested_wording(texts)}
    return {**block, **suggested_rules(texts)}


def common_form(forms: Mapping[tuple[Any, ...], int], config: CleanConfig, block: Block) -> tuple[Any, ...]:
    return ()


def convert(row: Mapping[str, Any], form: tuple[Any, ...], drop: Sequence[int], config: CleanConfig, class_names: Sequence[str]) -> dict[str, Any]:
    wording = worded(row["text"], config)
    assert isinstance(wording, Wording), "it was good when it was examined"
    text = _without(wording.text, set(drop)) if drop else wording.text
    return {"text": text, "title": row["title"], "label": row["label"], "num_chars": len(text)}


def blocks(row: Mapping[str, Any], size: int) -> Iterator[Mapping[str, Any]]:
    """The document in contiguous blocks of at most ``size`` characters, cut behind paragraphs or, where one is too long, behind lines.

    A document that grows at its end keeps its earlier blocks and their ids; one that is no text stays whole, for `examine` to say so.
    """
    text, start, index = decode_text(row["text"]), 0, 0
    if isinstance(text, Rejection):
        yield row
        return
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


def unfit_setting(row: Mapping[str, Any], config: PassageChanges, class_names: Sequence[str]) -> tuple[str, str] | None:
    return None


def augment(rows: Sequence[Mapping[str, Any]], config: PassageChanges, class_names: Sequence[str]) -> Iterator[dict[str, Any]]:
    for copy in range(1, config.copies + 1):
        added = [passage for row in rows for passage in _passages(row, config, copy)]
        yield from sorted(added, key=lambda passage: rng_seed(config.seed, passage["id"])) if config.shuffle else added


def _passages(row: Mapping[str, Any], config: PassageChanges, copy: int) -> Iterator[dict[str, Any]]:
    for index, passage in enumerate(passages(row["text"], config.chunk_chars)):
        name = f"{row['id']}~{copy}.{index}"
        text = masked(passage, config, name)
        yield {**row, "id": name, "parent_id": row["id"], "text": text, "num_chars": len(text)}


def before_after(table: "pa.Table", config: PassageChanges, class_names: Sequence[str], num: int = 3, chars: int = 400) -> str | None:
    """The beginnings of ``num`` documents, and of what stands in their place in an altered copy of them."""
    if not config.is_on:
        return None
    rows = spread(table, num).to_pylist()
    added = list(augment(rows, config.model_copy(update={"copies": 1}), class_names))[:num]
    return "\n\n".join(f"{title}\n{_beginnings(some, chars)}" for title, some in (("Before", rows), ("After", added)))


def _beginnings(rows: Sequence[Mapping[str, Any]], chars: int) -> str:
    return "\n\n".join(f"[{row['title'] or row['id']}]\n{row['text'][:chars].rstrip()}{' …' if len(row['text']) > chars else ''}" for row in rows)


def metadata_columns() -> list[str]:
    return ["id", "split", "parent_id", "source", "text", "title", "label", "num_chars"]


def metadata(table: "pa.Table", class_names: Sequence[str]) -> "pd.DataFrame":
    texts = table["text"].to_pylist()
    frame = table.drop_columns(["text"]).to_pandas()
    frame["num_words"] = [len(text.split()) for text in texts]
    frame["num_lines"] = [text.count("\n") + 1 for text in texts]
    frame["content_sha256"] = [digest(text) for text in texts]
    return frame


def suite(config: CleanConfig, class_names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"rule": "expect_column_values_to_be_between", "column": "num_chars", "min_value": 1, "max_value": config.max_chars},
        {"rule": "expect_column_values_to_be_between", "column": "num_words", "min_value": 1, "severity": "warning"},
    ]


def preview(table: "pa.Table", num: int = 3, chars: int = 600) -> str:
    """The beginnings of ``num`` documents spread evenly over ``table``."""
    return _beginnings(spread(table, num).to_pylist(), chars)


def _parts(text: str, config: CleanConfig) -> Iterator[tuple[str, int]]:
    """Digest and length of each paragraph; one that may repeat has none."""
    for paragraph in BLANK_LINES.split(text)[0::2]:
        yield digest(" ".join(paragraph.split())) if len(paragraph) >= config.unique_chars else "", len(paragraph)


def _without(text: str, drop: set[int]) -> str:
    """``text`` without the paragraphs ``drop`` and the blank lines after them."""
    pieces = BLANK_LINES.split(text)
    kept = [index for index in range(0, len(pieces), 2) if index // 2 not in drop]
    return "".join(pieces[index] + (pieces[index + 1] if index + 1 < len(pieces) else "") for index in kept).strip("\n")
