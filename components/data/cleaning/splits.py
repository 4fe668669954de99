"""Deals rows to splits, one after the other, so that what was dealt before never moves."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field

from components.data.config import SplitConfig
from components.data.dataset import Split


@dataclass(frozen=True)
class Row:
    """What dealing must know of a good row. Keys and parts that stand in no other row are left out: there is nothing to compare."""

    position: int
    """Its place in the order of the dataset."""
    id: str
    given: Split | None = None
    duplicate: int | None = None
    """Equal numbers: the same sample."""
    group: int | None = None
    """Equal numbers: rows that stay in one split."""
    repeated: int | None = None
    """Equal numbers: rows of which ``most`` may stay, the first ones."""
    most: int = 0
    near: tuple[int, ...] = ()
    """Positions of earlier rows that are nearly the same."""
    parts: tuple[tuple[int, int, int], ...] = ()
    """Index in the row, number and length of each part that may stand in one row only."""
    num_parts: int = 0
    length: int = 0
    """Of all its parts together."""
    least: int = 0
    """Length that must remain when the parts of earlier rows are taken away."""


@dataclass(frozen=True)
class Dealt:
    """Where a row goes."""

    split: Split
    drop: tuple[int, ...] = ()
    """Indices of the row's parts that stand in an earlier row."""


@dataclass(frozen=True)
class Refused:
    """Why a row goes nowhere, and the row that came before it."""

    reason: str
    of: int | None = None
    """Its position."""
    num_parts: int = 0
    """Parts that stand in earlier rows."""


@dataclass
class Dealer:
    """Earlier rows win: a later duplicate is refused, a later member of a group follows the group's first.

    It remembers no row that is like no other, so its memory grows with the repetitions in a dataset and not with the dataset.
    """

    config: SplitConfig
    source_has_validation: bool = True
    _rows: dict[int, int] = field(default_factory=dict)
    """Duplicate number to position."""
    _groups: dict[int, tuple[int, Split]] = field(default_factory=dict)
    """Group number to the position of its first member, and the split."""
    _repeated: Counter[int] = field(default_factory=Counter)
    _parts: set[int] = field(default_factory=set)
    _refused: set[int] = field(default_factory=set)
    """Positions that were refused: what is like them alone may stay."""

    def deal(self, row: Row) -> Dealt | Refused:
        found = self._judge(row)
        if isinstance(found, Refused):
            self._refused.add(row.position)
        else:
            self._remember(row, found.split)
        return found

    def _judge(self, row: Row) -> Dealt | Refused:
        if row.duplicate is not None and row.duplicate in self._rows:
            return Refused("duplicate", self._rows[row.duplicate])
        near = next((position for position in row.near if position not in self._refused), None)
        if near is not None:
            return Refused("near-duplicate", near)
        if row.repeated is not None and self._repeated[row.repeated] >= row.most:
            return Refused("boilerplate")
        repeated = [part for part in row.parts if part[1] in self._parts]
        drop = tuple(index for index, _, _ in repeated)
        if drop and row.length - sum(length for _, _, length in repeated) < max(row.least, 1):
            return Refused("duplicate", num_parts=len(drop))
        split = self._split(row)
        return split if isinstance(split, Refused) else Dealt(split, drop)

    def _split(self, row: Row) -> Split | Refused:
        allowed = self._allowed(row.given)
        first = self._groups.get(row.group) if row.group is not None else None
        if first is None:
            return draw(f"{self.config.seed}:{row.id}", allowed)
        return first[1] if first[1] in allowed else Refused("bridges-splits", first[0])

    def _allowed(self, given: Split | None) -> dict[Split, float]:
        """The splits that the row may go to, with their shares."""
        if given is None:
            return self.config.fractions
        if given == "train" and not self.source_has_validation:
            return {"train": 1 - self.config.validation, "validation": self.config.validation}
        return {given: 1.0}

    def _remember(self, row: Row, split: Split) -> None:
        if row.duplicate is not None:
            self._rows[row.duplicate] = row.position
        if row.group is not None:
            self._groups.setdefault(row.group, (row.position, split))
        if row.repeated is not None:
            self._repeated[row.repeated] += 1
        self._parts.update(number for _, number, _ in row.parts)


def draw(key: str, fractions: dict[Split, float]) -> Split:
    """The split of ``key``: a hash spread evenly over [0, 1), so it depends on nothing else."""
    position = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    reached = 0.0
    chosen: Split = "train"
    for split, fraction in fractions.items():
        if fraction > 0:
            chosen = split
            reached += fraction
            if position < reached:
                break
    return chosen
