"""Images with a caption each: both are required. What is not about captions is as for images.

A picture stands once, with the first of its captions, unless ``several_captions`` keeps it with each of them; then all of them are in one split.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from components.data.augmenting.wording import CaptionedChanges, filled, needs_labels
from components.data.boilerplate import says_nothing
from components.data.modalities import Examined, Rejection, image, rng_seed, spread
from components.data.pixels import captioned_sheet
from components.data.text_rules import Wording, WordingRules, suggested_wording, worded
from components.data.texts import decode_text, digest, length_problem, plain_excerpt

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PARTS = ("image", "text")
CAN_CUT = image.CAN_CUT
TEST_ROWS = image.TEST_ROWS
AugmentConfig = CaptionedChanges
clean_fields = image.clean_fields
schema_metadata = image.schema_metadata
likeness = image.likeness
common_form = image.common_form
blocks = image.blocks
metadata_columns = image.metadata_columns


class CleanConfig(image.CleanConfig, WordingRules):
    min_caption_chars: int = Field(1, ge=1)
    max_caption_chars: int = Field(2_000, ge=1)
    boilerplate: bool = False
    """Drop captions that say nothing of the picture: names of files, links, `image`, `untitled`, `click to enlarge`."""
    max_same_caption: int | None = Field(None, ge=1)
    """Rows that one caption may stand with, the first ones; null allows any number."""
    several_captions: bool = False
    """Keep a picture once per caption instead of once: for data where people described each picture several times."""


def raw_fields() -> "Sequence[pa.Field]":
    import pyarrow as pa

    # Bytes, because a caption that is not UTF-8 must reach cleaning to be reported there.
    return [pa.field("caption", pa.binary()) if field.name == "caption" else field for field in image.raw_fields()]


def content_key(row: Mapping[str, Any]) -> str:
    caption = row.get("caption")
    content = caption.encode() if isinstance(caption, str) else caption or b""
    picture = image.content_key({**row, "caption": caption is None})
    return hashlib.sha256(picture.encode() + content).hexdigest()


def examine(row: Mapping[str, Any], config: CleanConfig, labelled: bool) -> Examined | Rejection:
    caption = _caption(row, config)
    if isinstance(caption, Rejection):
        return caption
    found = image.examine(row, config, labelled)
    if isinstance(found, Rejection):
        return found
    if config.several_captions:
        both = json.dumps([found.duplicate_key, caption.text])
        found = replace(found, duplicate_key=hashlib.sha256(both.encode()).hexdigest())
    if config.max_same_caption is not None:
        found = replace(found, repeated_key=digest(caption.text.lower()), most=config.max_same_caption)
    return replace(found, changes=caption.changes)


def convert(row: Mapping[str, Any], form: tuple[Any, ...], drop: Sequence[int], config: CleanConfig, class_names: Sequence[str]) -> dict[str, Any]:
    caption = _caption(row, config)
    assert isinstance(caption, Wording), "it was good when it was examined"
    return {**image.convert(row, form, drop, config, class_names), "caption": caption.text}


def excerpt(row: Mapping[str, Any], config: CleanConfig) -> bytes | str | None:
    return image.excerpt(row, config) or plain_excerpt(row["caption"])


def suggested(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """As for images; captions that say nothing are left out, and what is private in them is replaced."""
    captions = [text for row in rows if isinstance(text := decode_text(row["caption"], "caption"), str)]
    alike = {name: value for name, value in suggested_wording(captions).items() if name != "near_duplicates"}
    return {**image.suggested(rows), **alike, "boilerplate": True}


def _caption(row: Mapping[str, Any], config: CleanConfig) -> Wording | Rejection:
    """The caption with each run of white space as one blank, or why there is none."""
    wording = worded(row["caption"], config, "caption")
    if isinstance(wording, Rejection):
        return wording
    caption = " ".join(wording.text.split())
    if config.boilerplate and says_nothing(caption):
        return Rejection("boilerplate", f"the caption {caption[:60]!r} says nothing of the picture")
    return length_problem(caption, config.min_caption_chars, config.max_caption_chars, "caption") or Wording(caption, wording.changes)


def unfit_setting(row: Mapping[str, Any], config: CaptionedChanges, class_names: Sequence[str]) -> tuple[str, str] | None:
    if needs_labels(config) and not class_names:
        return "templates", "has {label}, and the pictures have no labels: write {caption} there"
    return image.unfit_setting(row, config, class_names)


def augment(rows: Sequence[Mapping[str, Any]], config: CaptionedChanges, class_names: Sequence[str]) -> Iterator[dict[str, Any]]:
    for row in image.augment(rows, config, class_names):
        yield {**row, "caption": _reworded(row, config, class_names)}


def before_after(table: "pa.Table", config: CaptionedChanges, class_names: Sequence[str], num: int = 12, cell: int = 64) -> bytes | None:
    """Each of ``num`` images with what it may become to its right, both with their captions."""
    if not config.is_on:
        return None
    rows = spread(table.select(["id", "image", "caption", "label", "width", "height"]), num).to_pylist()
    added = augment(rows, config.model_copy(update={"copies": 1}), class_names)
    shown = [one for pair in zip(rows, added, strict=True) for one in pair]
    return captioned_sheet([row["image"]["bytes"] for row in shown], [row["caption"] for row in shown], 2, cell)


def _reworded(row: Mapping[str, Any], config: CaptionedChanges, class_names: Sequence[str]) -> str:
    """The caption of an added row, which still has its parent's."""
    if not config.templates:
        return str(row["caption"])
    template = config.templates[rng_seed(config.seed, row["id"], "template") % len(config.templates)]
    return filled(template, row["caption"], row["label"], class_names)


def metadata(table: "pa.Table", class_names: Sequence[str]) -> "pd.DataFrame":
    frame = image.metadata(table, class_names)
    frame["caption_chars"] = frame["caption"].str.len()
    return frame


def suite(config: CleanConfig, class_names: Sequence[str]) -> list[dict[str, Any]]:
    bounds = {"min_value": config.min_caption_chars, "max_value": config.max_caption_chars}
    return [
        *image.suite(config, class_names),
        {"rule": "expect_column_values_to_not_be_null", "column": "caption"},
        {"rule": "expect_column_values_to_be_between", "column": "caption_chars", **bounds},
    ]


def preview(table: "pa.Table", num: int = 24, columns: int = 3, cell: int = 64) -> bytes:
    """A PNG of ``num`` images spread evenly over ``table``, each with its caption beside it."""
    rows = spread(table.select(["image", "caption"]), num).to_pylist()
    return captioned_sheet([row["image"]["bytes"] for row in rows], [row["caption"] for row in rows], columns, cell)
