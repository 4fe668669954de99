"""Params and tags that are not the same on every side."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from components.params import Strict


class DifferenceRow(Strict):
    """One param or tag that is not the same on every side; empty where a side has none."""

    name: str
    values: tuple[str, ...]


def differences(sides: Sequence[Mapping[str, str]]) -> tuple[DifferenceRow, ...]:
    names = dict.fromkeys(name for side in sides for name in side)
    rows = (DifferenceRow(name=name, values=tuple(side.get(name, "") for side in sides)) for name in names)
    return tuple(row for row in rows if len(set(row.values)) > 1)


def flat(values: Mapping[str, Any], prefix: str) -> dict[str, str]:
    """``values`` as text by dotted names below ``prefix``."""
    return dict(_flat(values.items(), prefix))


def _flat(items: Iterable[tuple[str, Any]], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in items:
        if isinstance(value, Mapping):
            yield from _flat(value.items(), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
