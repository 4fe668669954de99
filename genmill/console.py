"""What a person sees: lines that stay, one live progress bar, tables; or JSON for programs."""

import json
import os
import re
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.errors import MarkupError
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 160
"""Columns where no terminal says how many it has."""
KEPT_WIDTH = 32
"""Signs of a table's cell that are kept in one line, at most, where that is asked for."""


_OTHERS = re.compile(r"(\\*)\[(?!(?:green|red|yellow|bold|dim|/)\])")
"""A bracket that does not begin one of the few styles used here, with the backslashes before it."""


class _Console(Console):
    """Takes only our own few styles for markup: brackets in a person's words, a path or a pattern stay what they are."""

    def render_str(self, text: str, **options: Any) -> Text:
        try:
            return super().render_str(_OTHERS.sub(lambda found: f"{found[1] * 2}\\[", text), **options)
        except MarkupError:
            return super().render_str(text, **{**options, "markup": False})


def _console(stream: TextIO, *, stderr: bool = False) -> Console:
    return _Console(stderr=stderr, highlight=False, emoji=False, width=None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH)


out = _console(sys.stdout)
err = _console(sys.stderr, stderr=True)
LINE_EVERY_S = 15.0
"""Without a terminal a bar would be noise: one line per phase and then one every so often."""


class LiveListener:
    """Shows what the flows tell: a bar on a terminal, sparse lines elsewhere."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
            console=err,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._last_line: dict[str, float] = {}

    def __enter__(self) -> "LiveListener":
        if err.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def say(self, message: str) -> None:
        err.print(message)

    def progress(self, label: str, done: float, total: float, detail: str) -> None:
        if err.is_terminal:
            self._move_bar(label, done, total, detail)
        elif done < total and time.monotonic() - self._last_line.get(label, -LINE_EVERY_S) >= LINE_EVERY_S:
            self._last_line[label] = time.monotonic()
            err.print(f"  {label}: {100 * done / total:.0f} % {detail}")

    def _move_bar(self, label: str, done: float, total: float, detail: str) -> None:
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=total, detail=detail)
        if done >= total:
            self._bars.remove_task(self._tasks.pop(label))
        else:
            self._bars.update(self._tasks[label], completed=done, total=total, detail=detail)


def print_json(value: Any) -> None:
    """``value`` (pydantic models included) as JSON on stdout."""
    json.dump(_plain(value), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, whole: Collection[str] = ()) -> None:
    """A table on stdout; an empty one says so. In a narrow terminal the first column and those named in ``whole`` keep what is not overlong in one line."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", show_edge=False, pad_edge=False)
    for place, column in enumerate(columns):
        longest = max((out.render_str(line).cell_len for row in cells for line in row[place].split("\n")), default=0) if _kept(place, column, whole) else 0
        table.add_column(column, overflow="fold", min_width=min(longest, KEPT_WIDTH))
    for row in cells:
        table.add_row(*row)
    out.print(table if cells else f"{title}: none yet.")


def _kept(place: int, column: str, whole: Collection[str]) -> bool:
    return place == 0 or column in whole


def human_bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def human_seconds(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
