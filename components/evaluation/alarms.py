"""What nobody may overlook: the least or the most that an honest model reaches. Beyond it the report says ALARM, and no gate lets the model pass."""

from collections.abc import Iterable, Mapping

from components.evaluation.protocol import Figure

COLLAPSE: Mapping[str, float] = {"coverage_own": 0.2}
"""Figure and the least of it that a model must reach which draws more than a few kinds of images."""
MEMORISATION: Mapping[str, float] = {"neighbour_ratio": 0.7, "data_copying": -6.0}
"""Figure and the least of it that a model must reach which draws images of its own. Samples that are half copies come to a neighbour_ratio of 0.7 or less
and to a data_copying of about -6, copies alone to -12, an honest model that draws smooth images to -4."""
COPYING: Mapping[str, float] = {"copy_rate": 0.5}
"""Figure and the most of it that a model may reach which writes text of its own, where real text does not reach more."""
DEGENERATION: Mapping[str, float] = {"repetition": 0.5}
"""Figure and the most of it that a model may reach which does not get stuck, where real text does not reach more."""


def alarms(figures: Iterable[Figure]) -> list[str]:
    """One sentence for each figure below its least or above its most, with what to do."""
    figures = list(figures)
    known = {figure.name: figure.value for figure in figures}
    copied = [name for name, least in MEMORISATION.items() if known.get(name, least) < least]
    collapsed = [name for name, least in COLLAPSE.items() if known.get(name, least) < least]
    return [
        *(f"ALARM: the samples are near copies of training images ({name} {known[name]:.2f}): train it for fewer steps." for name in copied),
        *(f"ALARM: mode collapse, the samples leave out most kinds of test images ({name} {known[name]:.2f})." for name in collapsed),
        *(
            f"ALARM: what it writes stands in the training text ({_beside(figure)}): train it for fewer steps, or on more text."
            for figure in _above(COPYING, figures)
        ),
        *(f"ALARM: what it writes repeats itself ({_beside(figure)}): train it for longer." for figure in _above(DEGENERATION, figures)),
    ]


def _above(most: Mapping[str, float], figures: Iterable[Figure]) -> list[Figure]:
    """Those of ``figures`` that are above the ``most`` of their name, and above what real text comes to."""
    return [figure for figure in figures if figure.name in most and figure.value > max(most[figure.name], figure.floor or 0.0)]


def _beside(figure: Figure) -> str:
    return f"{figure.name} {figure.value:.2f}" + ("" if figure.floor is None else f", real text {figure.floor:.2f}")
