"""Figures that answer a question of their own, and so stand under a heading of their own on every page and card."""

from collections.abc import Sequence
from typing import NamedTuple

from components.evaluation.protocol import Figure


class Section(NamedTuple):
    """Some figures of a model, and what they are for."""

    title: str
    """Empty for those that stand first, without a heading."""
    says: str
    figures: tuple[Figure, ...]


_SECTIONS = {
    ("accuracy_",): (
        "Synthetic data as training data",
        "How often a small classifier names real test images rightly when it was trained on this model's samples alone (accuracy_tstr), or on real rows "
        "and samples together (accuracy_augmented); beside it what training on real rows alone comes to.",
    ),
    ("membership_", "closest_record_ratio"): (
        "Privacy",
        "How well somebody who holds a row can tell whether it was trained on: 0.5 is guessing, 1 is certainty. Members are training rows, the others test "
        "rows. The attack looks for the nearest sample, or, where the name ends in by_loss, at how well the model scores the row. A figure near 0.5 says that "
        "these attacks fail, not that none succeeds; and where training and test rows are of different kinds it says that they differ. "
        "closest_record_ratio is a screen for copies alone.",
    ),
}
"""Beginnings of the names of figures, and the heading and sentence of their section."""


def sections(figures: Sequence[Figure]) -> list[Section]:
    """All ``figures``, in their order: first those without a section of their own."""
    left, found = list(figures), []
    for beginnings, (title, says) in _SECTIONS.items():
        ours = tuple(figure for figure in left if figure.name.startswith(beginnings))
        left = [figure for figure in left if figure not in ours]
        found += [Section(title, says, ours)] if ours else []
    return [Section("", "", tuple(left)), *found]
