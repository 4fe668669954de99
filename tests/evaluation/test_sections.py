"""Figures of privacy and of use as training data stand under headings of their own, and none is lost."""

from components.evaluation.sections import sections
from tests.stores import figure

NAMES = ("fid_own", "membership_auc", "accuracy_tstr", "matching_accuracy", "closest_record_ratio", "accuracy_augmented", "membership_auc_by_loss")


def test_every_figure_stands_in_one_section_and_the_general_ones_come_first() -> None:
    found = sections([figure(name) for name in NAMES])
    assert [(section.title, [one.name for one in section.figures]) for section in found] == [
        ("", ["fid_own", "matching_accuracy"]),
        ("Synthetic data as training data", ["accuracy_tstr", "accuracy_augmented"]),
        ("Privacy", ["membership_auc", "closest_record_ratio", "membership_auc_by_loss"]),
    ]


def test_what_was_not_measured_has_no_heading() -> None:
    (first,) = sections([figure("fid_own")])
    assert first.title == ""
