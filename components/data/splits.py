"""Deals rows to splits, one after the other, so that what was dealt before never moves."""

import hashlib
from dataclasses import dataclass, field

from components.data.config import SplitConfig
from components.data.dataset import Split
from components.data.modalities import Examined, Rejection


@dataclass(frozen=True)
class Dealt:
    """Where a row goes."""

    split: Split
    drop: tuple[int, ...] = ()
    """Indices of the row's parts that stand in an earlier row."""


@dataclass
class Dealer:
    """Earlier rows win: a later duplicate is rejected, a later member of a group follows the group's first."""

    config: SplitConfig
    source_has_validation: bool = True
    _rows: dict[str, tuple[str, Split]] = field(default_factory=dict)
    """Duplicate key to (id, split)."""
    _groups: dict[str, tuple[str, Split]] = field(default_factory=dict)
    """Group key to (id of its first member, split)."""
    _parts: set[str] = field(default_factory=set)

    def deal(self, row_id: str, examined: Examined, given: Split | None) -> Dealt | Rejection:
        if examined.duplicate_key in self._rows:
            first, split = self._rows[examined.duplicate_key]
            return Rejection("duplicate", f"the same as {first} ({split})")
        drop = tuple(index for index, (digest, _) in enumerate(examined.parts) if digest in self._parts)
        left = sum(length for digest, length in examined.parts if digest not in self._parts)
        if drop and left < max(examined.least, 1):
            return Rejection("duplicate", f"{len(drop)} of its {len(examined.parts)} paragraphs stand in earlier documents")
        place = self._split(row_id, examined, given)
        if isinstance(place, Rejection):
            return place
        self._remember(row_id, examined, place)
        return Dealt(place, drop)

    def _split(self, row_id: str, examined: Examined, given: Split | None) -> Split | Rejection:
        allowed = self._allowed(given)
        matched = {self._groups[key] for key in examined.group_keys if key in self._groups}
        wanted = {split for _, split in matched}
        if len(wanted) > 1 or not wanted <= set(allowed):
            firsts = ", ".join(f"{first} ({split})" for first, split in sorted(matched))
            return Rejection("bridges-splits", f"is like {firsts}" + (f", but the source puts it in {given}" if given else ""))
        return wanted.pop() if wanted else draw(f"{self.config.seed}:{row_id}", allowed)

    def _allowed(self, given: Split | None) -> dict[Split, float]:
        """The splits that the row may go to, with their shares."""
        if given is None:
            return self.config.fractions
        if given == "train" and not self.source_has_validation:
            return {"train": 1 - self.config.validation, "validation": self.config.validation}
        return {given: 1.0}

    def _remember(self, row_id: str, examined: Examined, split: Split) -> None:
        self._rows[examined.duplicate_key] = (row_id, split)
        for key in examined.group_keys:
            self._groups.setdefault(key, (row_id, split))
        self._parts.update(digest for digest, _ in examined.parts)


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
