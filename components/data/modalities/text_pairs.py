"""Pairs of texts, of which the second follows from the first: a translation, an answer, a summary, a response.

A raw row gives both sides, or a conversation whose last message is the assistant's: that is the target, and what went before is the source,
each message as `role: content`, a blank line between two. The columns are named `source_text` and `target_text`, for in every dataset `source` says
where a row came from.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from components.data.modalities import Additions, Examined, Rejection, spread
from components.data.near import Likeness
from components.data.text_rules import TextRules, Wording, suggested_wording, unwanted, worded
from components.data.texts import decode_text, digest, length_problem, plain_excerpt, word_key
from components.params import Block

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PARTS = ("text", "text")
TEST_ROWS = 10
CAN_CUT = False
ASSISTANT = "assistant"
_COLUMNS = ("source_text", "target_text", "messages")


class CleanConfig(TextRules):
    min_source_chars: int = Field(1, ge=1)
    max_source_chars: int = Field(100_000, ge=1)
    min_target_chars: int = Field(1, ge=1)
    max_target_chars: int = Field(100_000, ge=1)


class AugmentConfig(Additions):
    """Nothing: an altered text would no longer be what the other one belongs to."""

    @field_validator("copies", "when")
    @classmethod
    def _none(cls, value: int | str) -> int | str:
        if value not in (0, "stage"):
            raise ValueError(f"text pairs are not augmented, an altered side does not belong to the other one: leave it {'out' if value == 'load' else 'at 0'}")
        return value


def raw_fields() -> "Sequence[pa.Field]":
    import pyarrow as pa

    # Bytes, because text that is not UTF-8 must reach cleaning to be reported there.
    return [pa.field(name, pa.binary()) for name in _COLUMNS]


def clean_fields() -> "Sequence[pa.Field]":
    import pyarrow as pa

    texts = [pa.field(name, pa.string()) for name in ("source_text", "target_text")]
    return [*texts, pa.field("source_chars", pa.int64()), pa.field("target_chars", pa.int64())]


def schema_metadata(fields: "Sequence[pa.Field]") -> dict[str, str]:
    return {}


def content_key(row: Mapping[str, Any]) -> str:
    found = hashlib.sha256()
    for name in _COLUMNS:
        value = row.get(name)
        content = value.encode() if isinstance(value, str) else value or b""
        found.update(f"{name} {-1 if value is None else len(content)}\0".encode() + content)
    return found.hexdigest()


def examine(row: Mapping[str, Any], config: CleanConfig, labelled: bool) -> Examined | Rejection:
    pair = _pair(row, config)
    if isinstance(pair, Rejection):
        return pair
    source, target = (side.text for side in pair)
    problem = length_problem(source, config.min_source_chars, config.max_source_chars, "source")
    problem = problem or length_problem(target, config.min_target_chars, config.max_target_chars, "target")
    problem = problem or unwanted(f"{source}\n{target}", config)
    if problem:
        return problem
    both = [" ".join(side.split()) for side in (source, target)]
    return Examined(
        duplicate_key=digest(json.dumps(both)),
        group_key=word_key(source),
        compared=f"{source}\n{target}" if config.near_duplicates else None,
        changes=Counter(pair[0].changes) + Counter(pair[1].changes),
    )


def likeness(config: CleanConfig) -> Likeness | None:
    return config.near_duplicates


def excerpt(row: Mapping[str, Any], config: CleanConfig) -> bytes | str | None:
    pair = _pair(row, config)
    sides = [row["source_text"], row["target_text"]] if isinstance(pair, Rejection) else [side.text.encode() for side in pair]
    shown = [said for side in sides if (said := plain_excerpt(side, 200))]
    return "\n→ ".join(shown) or plain_excerpt(row["messages"])


def suggested(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is private is replaced, and pairs that are nearly the same are left out; of language and quality no rule fits both sides."""
    pairs = [pair for row in rows if not isinstance(pair := _pair(row, CleanConfig()), Rejection)]
    return suggested_wording([f"{source.text}\n{target.text}" for source, target in pairs])


def common_form(forms: Mapping[tuple[Any, ...], int], config: CleanConfig, block: Block) -> tuple[Any, ...]:
    return ()


def convert(row: Mapping[str, Any], form: tuple[Any, ...], drop: Sequence[int], config: CleanConfig, class_names: Sequence[str]) -> dict[str, Any]:
    pair = _pair(row, config)
    assert not isinstance(pair, Rejection), "it was good when it was examined"
    source, target = (side.text for side in pair)
    return {"source_text": source, "target_text": target, "source_chars": len(source), "target_chars": len(target)}


def _pair(row: Mapping[str, Any], config: CleanConfig) -> tuple[Wording, Wording] | Rejection:
    """Source and target, or why they cannot be had."""
    sides: tuple[bytes | None, bytes | None] = row["source_text"], row["target_text"]
    if row["messages"] is not None:
        said = _conversation(row["messages"])
        if isinstance(said, Rejection):
            return said
        sides = said[0].encode(), said[1].encode()
    source = worded(sides[0], config, "source")
    if isinstance(source, Rejection):
        return source
    target = worded(sides[1], config, "target")
    return target if isinstance(target, Rejection) else (source, target)


def _conversation(content: bytes) -> tuple[str, str] | Rejection:
    """The pair in the JSON list of messages ``content``."""
    text = decode_text(content, "conversation")
    if isinstance(text, Rejection):
        return text
    messages = _messages(text)
    if isinstance(messages, Rejection):
        return messages
    *before, (role, target) = messages
    if role != ASSISTANT:
        return Rejection("incomplete", f"the last message is from {role!r}, not from {ASSISTANT!r}")
    if not before:
        return Rejection("incomplete", f"nothing stands before the message of {ASSISTANT!r}")
    return "\n\n".join(f"{role}: {said}" for role, said in before), target


def _messages(conversation: str) -> list[tuple[str, str]] | Rejection:
    """(role, content) of each message, or why they cannot be had."""
    try:
        messages = json.loads(conversation)
        json.dumps(messages, ensure_ascii=False).encode()  # half a character may stand there as an escape, which no text can hold
    except (json.JSONDecodeError, UnicodeEncodeError, RecursionError) as error:
        return Rejection("corrupt", f"the messages are no JSON ({error})")
    if not isinstance(messages, list) or not messages:
        return Rejection("incomplete", "the messages are no list with at least one message")
    found = []
    for number, message in enumerate(messages, 1):
        role, content = (message.get(key) for key in ("role", "content")) if isinstance(message, dict) else (None, None)
        if not isinstance(role, str) or not isinstance(content, str):
            return Rejection("corrupt", f"message {number} is no object with the texts role and content")
        text = decode_text(content.encode(), f"text of message {number}")
        if isinstance(text, Rejection):
            return text
        found.append((role, text))
    return found


def blocks(row: Mapping[str, Any], size: int) -> Iterator[Mapping[str, Any]]:
    raise AssertionError("CAN_CUT is False")


def unfit_setting(row: Mapping[str, Any], config: AugmentConfig, class_names: Sequence[str]) -> tuple[str, str] | None:
    return None


def augment(rows: Sequence[Mapping[str, Any]], config: AugmentConfig, class_names: Sequence[str]) -> Iterator[dict[str, Any]]:
    assert not config.copies, "the config allows none"
    return iter(())


def before_after(table: "pa.Table", config: AugmentConfig, class_names: Sequence[str]) -> None:
    return None


def metadata_columns() -> list[str]:
    return ["id", "split", "parent_id", "source", "source_text", "target_text", "source_chars", "target_chars"]


def metadata(table: "pa.Table", class_names: Sequence[str]) -> "pd.DataFrame":
    frame = table.drop_columns(["source_text", "target_text"]).to_pandas()
    sources = table["source_text"].to_pylist()
    frame["source_words"] = [len(text.split()) for text in sources]
    frame["target_words"] = [len(text.split()) for text in table["target_text"].to_pylist()]
    # Of the source alone: what must not stand in two splits is the question, whatever its answers.
    frame["content_sha256"] = [digest(text) for text in sources]
    return frame


def suite(config: CleanConfig, class_names: Sequence[str]) -> list[dict[str, Any]]:
    between = "expect_column_values_to_be_between"
    return [
        {"rule": between, "column": "source_chars", "min_value": config.min_source_chars, "max_value": config.max_source_chars},
        {"rule": between, "column": "target_chars", "min_value": config.min_target_chars, "max_value": config.max_target_chars},
        {"rule": between, "column": "source_words", "min_value": 1, "severity": "warning"},
        {"rule": between, "column": "target_words", "min_value": 1, "severity": "warning"},
    ]


def preview(table: "pa.Table", num: int = 3, chars: int = 400) -> str:
    """The beginnings of both sides of ``num`` pairs spread evenly over ``table``."""
    rows = spread(table, num).to_pylist()
    return "\n\n".join(f"[{row['id']}]\n{_beginning(row['source_text'], chars)}\n→ {_beginning(row['target_text'], chars)}" for row in rows)


def _beginning(text: str, chars: int) -> str:
    return text[:chars].rstrip() + (" …" if len(text) > chars else "")
