"""The block of `datasets:` for what was looked at."""

import math
from collections.abc import Mapping
from typing import Any

from components.data.adding.look import Look, raw_fields

_FEW = 60
"""Documents below which whole ones are too few to deal to three splits."""
_LARGEST_TEST = 0.4


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
    if look.whole.CAN_CUT and look.is_exact and look.num < _FEW:
        return {"method": "blocks", **_shares(0.1)}
    return {"method": "hash", **_shares(look.whole.TEST_ROWS / look.num)}


def _shares(test: float) -> dict[str, float]:
    """A tenth to test on, more in steps of a twentieth where that takes more, and never so much that little is left to train on."""
    test = min(_LARGEST_TEST, max(0.1, math.ceil(20 * test) / 20))
    return {"train": round(0.9 - test, 2), "validation": 0.1, "test": test}
