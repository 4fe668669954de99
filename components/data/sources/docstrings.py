"""Pairs of a Python function and what its docstring says, out of the standard library that every interpreter carries.

The source of a pair is the function's signature and body as they stand in the file, moved to the left; the target is the first paragraph of its docstring.
"""

import ast
import functools
import hashlib
import inspect
import io
import textwrap
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from components.data.sources import RawRow, SourceConfig
from components.data.standard_library import library_files, library_fingerprint, require_library

MODALITIES = ("text-pairs",)
LICENCE = "PSF License Version 2 (Python's standard library)"
_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Config(SourceConfig):
    kind: Literal["docstrings"]
    rows: int = Field(10_000, ge=1)
    """Take the first ``rows`` functions, at most all there are (some 6,000), in an order mixed by hash; raise it to grow the dataset."""


@dataclass(frozen=True)
class Documented:
    """A function with its docstring's first paragraph."""

    id: str
    place: str
    """File and line."""
    code: str
    says: str


def check(config: Config, modality: str, root: Path) -> None:
    require_library()


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    return {**library_fingerprint(), "rows": config.rows}


def describe(config: Config, modality: str, root: Path) -> dict[str, Any]:
    return {"kind": "docstrings", "of": "Python's standard library without tests", **fingerprint(config, modality, root)}


def class_names(config: Config, modality: str, root: Path) -> tuple[str, ...]:
    return ()


def read(config: Config, modality: str, root: Path) -> Iterator[RawRow]:
    for found in all_documented()[: config.rows]:
        yield RawRow(id=found.id, source=found.place, fields={"source_text": found.code.encode(), "target_text": found.says.encode()})


@functools.cache
def all_documented() -> tuple[Documented, ...]:
    """Every documented function of every file, mixed by a hash of its id: the first rows stay the first when there are more."""
    found = [function for name, path in library_files().items() for function in documented_in(name, path.read_bytes())]
    return tuple(sorted(found, key=lambda function: hashlib.sha256(function.id.encode()).hexdigest()))


def documented_in(name: str, content: bytes) -> list[Documented]:
    """The functions and methods of one file that have a docstring and do something, in order; none of a file that is no Python."""
    try:
        tree = ast.parse(content)
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    except (SyntaxError, ValueError):
        return []
    # Not `splitlines`, for which a form feed ends a line too; the parser counts otherwise.
    lines = io.StringIO(content.decode(encoding), newline=None).readlines()
    found: dict[str, Documented] = {}
    for path, function in _functions(tree, ()):
        code, says = _code(function, lines), _first_paragraph(function)
        if code and says:
            found_id = _free(f"docstrings-{name}:{'.'.join(path)}", found)
            found[found_id] = Documented(found_id, f"lib/python/{name} line {function.lineno}", code, says)
    return list(found.values())


def _functions(node: ast.AST, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], _Function]]:
    """Each function below ``node`` with the names that lead to it."""
    for child in ast.iter_child_nodes(node):
        below = path
        if isinstance(child, _Function | ast.ClassDef):
            below = (*path, child.name)
        if isinstance(child, _Function):
            yield below, child
        yield from _functions(child, below)


def _free(wanted: str, taken: dict[str, Documented]) -> str:
    """``wanted``, numbered where it is taken: what is defined once per platform has one name."""
    number, free = 1, wanted
    while free in taken:
        number += 1
        free = f"{wanted}~{number}"
    return free


def _code(function: _Function, lines: list[str]) -> str | None:
    """Signature and body without the docstring; None where nothing is left of the body, or the docstring shares a line with code."""
    first, rest = function.body[0], function.body[1:]
    assert first.end_lineno is not None
    assert function.end_lineno is not None
    if not rest or lines[first.lineno - 1][: first.col_offset].strip() or rest[0].lineno == first.end_lineno:
        return None
    kept = lines[function.lineno - 1 : first.lineno - 1] + lines[first.end_lineno : function.end_lineno]
    return textwrap.dedent("".join(kept)).strip("\n")


def _first_paragraph(function: _Function) -> str:
    """The docstring's first paragraph on one line; empty where it has none, or begins with an example."""
    paragraph = inspect.cleandoc(ast.get_docstring(function) or "").split("\n\n")[0]
    return "" if paragraph.startswith(">>>") else " ".join(paragraph.split())
