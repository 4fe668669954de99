"""The block of `datasets:` for what was looked at."""

from collections.abc import Mapping
from typing import Any

from components.data.adding.look import Look, raw_fields

_FEW = 60
"""Documents below which whole ones are too few to deal to three splits."""


def dataset_block(look: Look, source: Mapping[str, Any], licence: str) -> dict[str, Any]:
    """In the order in which one writes it by hand."""
    clean = look.whole.suggested([raw_fields(row, look.modality) for row in look.rows])
    return {
        "modality": look.modality,
        "source": {**source, **({"licence": licence} if licence else {})},
        "split": split_block(look),
        **({"clean": clean} if clean else {}),
    }


def split_block(look: Look) -> dict[str, Any]:
    """The source's own where it has one to train on and one to test on."""
    if {"train", "test"} <= look.splits.keys():
        return {"method": "given", **({} if "validation" in look.splits else {"validation": 0.1})}
    shares = {"train": 0.8, "validation": 0.1, "test": 0.1}
    if look.whole.CAN_CUT and look.is_exact and look.num < _FEW:
        return {"method": "blocks", **shares}
    return {"method": "hash", **shares}
