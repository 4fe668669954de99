"""1,797 real handwritten digits, 8x8 grey, with labels; they come with scikit-learn.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
"""

import gzip
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from components.data.pixels import encode_image
from components.data.sources import RawRow, SourceConfig
from components.errors import UserError

MODALITIES = ("image", "image-text")
LICENCE = "CC BY 4.0 (UCI Machine Learning Repository, doi:10.24432/C50P49)"
NUM_ROWS = 1797
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SIDE, _LEVELS = 8, 16


class Config(SourceConfig):
    kind: Literal["digits"]
    rows: int = Field(NUM_ROWS, ge=1, le=NUM_ROWS)
    """Take the first ``rows`` digits; raise it to grow the dataset."""


def check(config: Config, modality: str, root: Path) -> None:
    _file()


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(_file().read_bytes()).hexdigest(), "rows": config.rows}


def describe(config: Config, modality: str, root: Path) -> dict[str, Any]:
    return {"kind": "digits", "of": "sklearn.datasets.load_digits", **fingerprint(config, modality, root)}


def class_names(config: Config, modality: str, root: Path) -> tuple[str, ...]:
    return tuple(str(digit) for digit in range(10))


def read(config: Config, modality: str, root: Path) -> Iterator[RawRow]:
    import numpy as np

    # The file itself, because importing sklearn.datasets for it costs a second and more.
    with gzip.open(_file(), "rt") as file:
        rows = np.loadtxt(file, delimiter=",", max_rows=config.rows, dtype=np.int64)
    for index, row in enumerate(np.atleast_2d(rows)):
        digit = int(row[-1])
        yield RawRow(
            id=f"digits-{index:05d}",
            source=f"digits.csv.gz row {index}",
            fields={
                "image": {"bytes": _png(row[:-1]), "path": f"digits-{index:05d}.png"},
                "label": str(digit),
                "caption": f"a handwritten digit {NAMES[digit]}",
            },
        )


def _png(values: Any) -> bytes:
    import numpy as np
    from PIL import Image

    pixels = np.rint(values.reshape(_SIDE, _SIDE) * (255 / _LEVELS)).astype(np.uint8)
    return encode_image(Image.fromarray(pixels))


def _file() -> Path:
    spec = importlib.util.find_spec("sklearn")
    path = Path(spec.origin).parent / "datasets/data/digits.csv.gz" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise UserError("scikit-learn and its digits.csv.gz are missing: install the pinned requirements again (`pip install -r requirements.lock`).")
    return path
