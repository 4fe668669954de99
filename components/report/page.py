"""What every page shares: the style, how numbers are written, and writing a page in one step."""

import base64
import functools
import importlib.resources
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.evaluation.sections import sections


def render(template: str, **context: Any) -> str:
    """The page of ``templates/TEMPLATE`` as HTML; every value is escaped."""
    return str(_environment().get_template(template).render(now=time.strftime("%Y-%m-%d %H:%M:%S"), **context))


def write_page(path: Path, html: str) -> Path:
    """Replace ``path`` in one step, so that a browser never reads half a page."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False) as scratch:
            scratch.write(html)
        # A temporary file is readable by its owner alone; a report is for everyone who may read the folder.
        Path(scratch.name).chmod(0o666 & ~_umask())
        Path(scratch.name).replace(path)
    except OSError as error:
        raise UserError(f"The page {path} cannot be written ({error.strerror}): free some space or make the folder writable.") from None
    return path


def data_uri(image: bytes) -> str:
    """A picture (PNG) or an animation (GIF) as part of the page."""
    kind = "gif" if image.startswith(b"GIF8") else "png"
    return f"data:image/{kind};base64," + base64.b64encode(image).decode("ascii")


def duration(seconds: float) -> str:
    """`0.4 s`, `42 s`, `3 min 5 s`, `2 h 4 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(num_bytes: float) -> str:
    """`512 B`, `3.4 KiB`, `1.2 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} TiB"


def number(value: float | None) -> str:
    """Four significant digits, whole numbers with separators, a dash for none."""
    if value is None:
        return "–"
    if math.isfinite(value) and float(value).is_integer() and abs(value) < 1e12:
        return f"{int(value):,}"
    return f"{value:.4g}"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@functools.cache
def _environment() -> Any:
    import jinja2

    folder = importlib.resources.files("components.report") / "templates"
    loader = jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8"))
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    filters: dict[str, Callable[..., Any]] = {"duration": duration, "size": size, "number": number, "data_uri": data_uri, "sections": sections}
    environment.filters.update(filters)
    return environment
