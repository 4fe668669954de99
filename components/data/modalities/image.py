"""Images, with an optional label and caption; stored as `{bytes, path}` structs, as Hugging Face datasets reads them."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from components.data.augmenting.pictures import COLOURS, PictureChanges, altered
from components.data.image_form import COLOUR, GREY, ImageForm, conforms, eight_bits, image_field, mode_words, suggested_form
from components.data.modalities import Examined, Limits, Rejection, rng_seed, spread
from components.data.near import Likeness
from components.data.near.hamming import ImageLikeness
from components.data.pixels import contact_sheet, encode_image, open_image, perceptual_hash, thumbnail
from components.params import Block

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from PIL.Image import Image as PILImage

PARTS = ("image",)
TEST_ROWS = 60
CAN_CUT = False
_LEAST_COMPARED = 24
"""Pixels of a side below which different pictures have the same perceptual hash too often."""


class CleanConfig(Limits):
    min_size: int = Field(1, ge=1)
    """Pixels of the shorter side."""
    max_size: int = Field(16384, ge=1)
    """Pixels of the longer side."""
    max_pixels: int = Field(50_000_000, ge=1, le=178_000_000)
    """Checked before a pixel is decoded; Pillow itself opens nothing above 178 million."""
    max_ratio: float | None = Field(None, ge=1)
    """Longer side by shorter side; null allows any."""
    blank: int | None = Field(None, ge=0, le=255)
    """An image whose brightest and darkest grey differ by no more than this shows nothing; null keeps such images."""
    near_duplicates: ImageLikeness | None = None
    """`{distance: 4}` drops images that look like an earlier one; null keeps them."""
    image: ImageForm = ImageForm()


AugmentConfig = PictureChanges


def raw_fields() -> "Sequence[pa.Field]":
    import pyarrow as pa

    return [image_field(), pa.field("label", pa.string()), pa.field("caption", pa.string())]


def clean_fields() -> "Sequence[pa.Field]":
    import pyarrow as pa

    return [
        image_field(),
        pa.field("label", pa.int64()),
        pa.field("caption", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("mode", pa.string()),
    ]


def schema_metadata(fields: "Sequence[pa.Field]") -> dict[str, str]:
    """What makes `datasets.load_dataset("parquet", ...)` open the column as images.

    Labels stay plain integers there: names in the schema would change the bytes of old shards when a class is added.
    """
    features: dict[str, Any] = {field.name: {"dtype": str(field.type), "_type": "Value"} for field in fields}
    features["image"] = {"_type": "Image"}
    return {"huggingface": json.dumps({"info": {"features": features}}, sort_keys=True)}


def content_key(row: Mapping[str, Any]) -> str:
    content = (row.get("image") or {}).get("bytes")
    label = json.dumps([row.get("label"), row.get("caption"), content is None])
    return hashlib.sha256(label.encode() + b"\0" + (content or b"")).hexdigest()


def examine(row: Mapping[str, Any], config: CleanConfig, labelled: bool) -> Examined | Rejection:
    if labelled and row["label"] is None:
        return Rejection("incomplete", "no label")
    content = row["image"]["bytes"] if row["image"] else None
    if not content:
        return Rejection("incomplete", "no image bytes")
    image = _decode(content, config.max_pixels)
    if isinstance(image, Rejection):
        return image
    grey = image if image.mode == GREY else image.convert(GREY)
    problem = _problem(image, grey, config)
    if problem:
        return problem
    head = f"{image.mode}:{image.size}:".encode()
    return Examined(
        duplicate_key=hashlib.sha256(head + image.tobytes()).hexdigest(),
        group_key=hashlib.sha256(f"{grey.size}:".encode() + grey.tobytes()).hexdigest(),
        form=(image.mode, image.width, image.height),
        compared=perceptual_hash(grey) if config.near_duplicates else None,
    )


def _problem(image: "PILImage", grey: "PILImage", config: CleanConfig) -> Rejection | None:
    short, long = sorted(image.size)
    if short < config.min_size or long > config.max_size:
        return Rejection("out-of-range", f"{image.width}x{image.height} pixels, allowed are sides from {config.min_size} to {config.max_size}")
    if config.max_ratio is not None and long > short * config.max_ratio:
        return Rejection("extreme-ratio", f"{image.width}x{image.height} pixels, allowed is a longer side of {config.max_ratio:g} times the shorter one")
    darkest, brightest = grey.getextrema()
    if config.blank is not None and brightest - darkest <= config.blank:  # type: ignore[operator]
        return Rejection("blank", f"all its greys are from {darkest} to {brightest}")
    return None


def likeness(config: CleanConfig) -> Likeness | None:
    return config.near_duplicates


def excerpt(row: Mapping[str, Any], config: CleanConfig) -> bytes | str | None:
    content = row["image"]["bytes"] if row["image"] else None
    image = _decode(content, config.max_pixels) if content else None
    return thumbnail(image) if image is not None and not isinstance(image, Rejection) else None


def suggested(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One form for all where they differ; what is blank, narrow or there twice is left out unless much of the sample would be."""
    usual = CleanConfig(blank=3, max_ratio=4, near_duplicates=ImageLikeness())
    found = [examine(row, usual, labelled=False) for row in rows]
    good = [one for one in found if isinstance(one, Examined)]
    few = len(rows) // 20
    block: dict[str, Any] = {}
    for reason, name, value in (("blank", "blank", 3), ("extreme-ratio", "max_ratio", 4)):
        if sum(isinstance(one, Rejection) and one.reason == reason for one in found) <= few:
            block[name] = value
    sides, looks = {min(one.form[1:]) for one in good}, {one.compared for one in good}
    if sides and min(sides) >= _LEAST_COMPARED and len(good) - len(looks) <= few:
        block["near_duplicates"] = {"distance": ImageLikeness().distance}
    forms = Counter(one.form for one in good)
    return {**block, **({"image": suggested_form(forms)} if forms else {})}


def common_form(forms: Mapping[tuple[Any, ...], int], config: CleanConfig, block: Block) -> tuple[Any, ...]:
    """(mode, width, height) of every image after cleaning."""
    return config.image.common(forms, block)


def convert(row: Mapping[str, Any], form: tuple[Any, ...], drop: Sequence[int], config: CleanConfig, class_names: Sequence[str]) -> dict[str, Any]:
    mode, width, height = form
    content: bytes = row["image"]["bytes"]
    if not conforms(content, form):
        image = _decode(content, config.max_pixels)
        assert not isinstance(image, Rejection)
        content = encode_image(config.image.fitted(image.convert(mode), width, height))
    label = class_names.index(row["label"]) if class_names else None
    path = row["image"]["path"] or row["id"]
    return {"image": {"bytes": content, "path": path}, "label": label, "caption": row["caption"], "width": width, "height": height, "mode": mode}


def blocks(row: Mapping[str, Any], size: int) -> Iterator[Mapping[str, Any]]:
    raise AssertionError("CAN_CUT is False")


def unfit_setting(row: Mapping[str, Any], config: PictureChanges, class_names: Sequence[str]) -> tuple[str, str] | None:
    colours = [name for name in COLOURS if getattr(config, name)]
    return (colours[0], "changes nothing in grey images: leave it out") if colours and row["mode"] == GREY else None


def augment(rows: Sequence[Mapping[str, Any]], config: PictureChanges, class_names: Sequence[str]) -> Iterator[dict[str, Any]]:
    for row in rows:
        image = _stored(row)
        for copy in range(1, config.copies + 1):
            name = f"{row['id']}~{copy}"
            content = encode_image(_altered(image, config, row, copy))
            yield {**row, "id": name, "parent_id": row["id"], "image": {"bytes": content, "path": f"{name}.png"}}


def before_after(table: "pa.Table", config: PictureChanges, class_names: Sequence[str], num: int = 12, cell: int = 64) -> bytes | None:
    """Each of ``num`` images with three of what it may become to its right."""
    if not config.is_on:
        return None
    rows = spread(table.select(["id", "image", "width", "height"]), num).to_pylist()
    shown = [[row["image"]["bytes"], *(encode_image(_altered(_stored(row), config, row, copy)) for copy in (1, 2, 3))] for row in rows]
    return contact_sheet([content for contents in shown for content in contents], 12, cell)


def _stored(row: Mapping[str, Any]) -> "PILImage":
    image = _decode(row["image"]["bytes"], row["width"] * row["height"])
    assert not isinstance(image, Rejection), row["id"]
    return image


def _altered(image: "PILImage", config: PictureChanges, row: Mapping[str, Any], copy: int) -> "PILImage":
    import numpy as np
    from PIL import Image

    return Image.fromarray(altered(np.asarray(image), config, rng_seed(config.seed, row["id"], copy)))


def metadata_columns() -> list[str]:
    return ["id", "split", "parent_id", "source", "image", "label", "caption", "width", "height", "mode"]


def metadata(table: "pa.Table", class_names: Sequence[str]) -> "pd.DataFrame":
    import pyarrow.compute as pc

    num_bytes = pc.binary_length(pc.struct_field(table["image"], "bytes"))
    names = [None if label is None else class_names[label] for label in table["label"].to_pylist()]
    frame = table.drop_columns(["image", "label"]).append_column("num_bytes", num_bytes).to_pandas()
    frame["label"] = names
    frame["content_sha256"] = [hashlib.sha256(content).hexdigest() for content in pc.struct_field(table["image"], "bytes").to_pylist()]
    return frame


def suite(config: CleanConfig, class_names: Sequence[str]) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = [
        {"rule": "expect_column_values_to_be_between", "column": side, "min_value": 1, "max_value": config.max_size} for side in ("width", "height")
    ]
    rules += [
        {"rule": "expect_column_values_to_be_in_set", "column": "mode", "value_set": mode_words()},
        {"rule": "expect_column_unique_value_count_to_be_between", "column": "mode", "min_value": 1, "max_value": 1},
        {"rule": "expect_column_values_to_be_between", "column": "num_bytes", "min_value": 1},
    ]
    if class_names:
        rules.append({"rule": "expect_column_values_to_not_be_null", "column": "label"})
        rules.append({"rule": "expect_column_values_to_be_in_set", "column": "label", "value_set": list(class_names)})
    return rules


def preview(table: "pa.Table", num: int = 48, columns: int = 12, cell: int = 48) -> bytes:
    """A PNG grid of ``num`` images spread evenly over ``table``."""
    return contact_sheet([row["image"]["bytes"] for row in spread(table.select(["image"]), num).to_pylist()], columns, cell)


def _decode(content: bytes, max_pixels: int) -> "PILImage | Rejection":
    """The upright image in mode L or RGB, or why it cannot be had."""
    from PIL import ImageOps

    return open_image(content, max_pixels, lambda image: _plain(ImageOps.exif_transpose(image)))


def _plain(source: "PILImage") -> "PILImage | Rejection":
    from PIL import Image

    image = eight_bits(source)
    if isinstance(image, Rejection) or image.mode in (GREY, COLOUR):
        return image
    if image.mode == "1":
        return image.convert(GREY)
    if image.has_transparency_data:
        whole = image.convert("RGBA")
        over = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole)
        return over.convert(GREY if image.mode in ("LA", "La") else COLOUR)
    return image.convert(COLOUR)
