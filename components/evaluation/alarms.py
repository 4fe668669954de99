"""What nobody may overlook: the least that an honest model reaches. Below it the report says ALARM, and no gate lets the model pass."""

from collections.abc import Iterable, Mapping

from components.evaluation.protocol import Figure

COLLAPSE: Mapping[str, float] = {"coverage_own": 0.2}
"""Figure and the least of it that a model must reach which draws more than a few kinds of images."""
MEMORISATION: Mapping[str, float] = {"neighbour_ratio": 0.7}
"""Figure and the least of it that a model must reach which draws images of its own; samples that are half copies come to about this."""


def alarms(figures: Iterable[Figure]) -> list[str]:
    """One sentence for each figure below its least, with what to do."""
    known = {figure.name: figure.value for figure in figures}
    copied = [name for name, least in MEMORISATION.items() if known.get(name, least) < least]
    collapsed = [name for name, least in COLLAPSE.items() if known.get(name, least) < least]
    return [
        *(f"ALARM: the samples are near copies of training images ({name} {known[name]:.2f}): train it for fewer steps." for name in copied),
        *(f"ALARM: mode collapse, the samples leave out most kinds of test images ({name} {known[name]:.2f})." for name in collapsed),
    ]
