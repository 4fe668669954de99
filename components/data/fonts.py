"""The fonts that come with matplotlib: DejaVu and STIX, with Latin, Greek, Cyrillic and many symbols."""

import importlib.util
from pathlib import Path

from components.errors import UserError


def font_file(face: str) -> Path:
    """The file of ``face``, e.g. `DejaVuSans-Bold`."""
    # Found without importing matplotlib, which costs half a second in every probe.
    spec = importlib.util.find_spec("matplotlib")
    path = Path(spec.origin).parent / "mpl-data/fonts/ttf" / f"{face}.ttf" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise UserError(f"matplotlib and its font {face}.ttf are missing: install the pinned requirements again (`pip install -r requirements.lock`).")
    return path
