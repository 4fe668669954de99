"""An alarm is raised below the least of a figure and not at it, and says which figure it was."""

import pytest

from components.evaluation.alarms import COLLAPSE, COPYING, DEGENERATION, MEMORISATION, alarms
from components.evaluation.protocol import Figure, Identity


def figure(name: str, value: float) -> Figure:
    return Figure(name=name, value=value, goal="max", identity=Identity(metric=name, num_samples=10, reference_sha256="a" * 64, split="test"))


@pytest.mark.parametrize(("name", "least"), [*COLLAPSE.items(), *MEMORISATION.items()])
def test_a_figure_below_its_least_raises_one_alarm_that_names_it(name: str, least: float) -> None:
    assert alarms([figure(name, least)]) == []
    (alarm,) = alarms([figure("fid_own", 3.0), figure(name, least - 0.1)])
    assert alarm.startswith("ALARM: ")
    assert name in alarm


def test_what_was_not_measured_raises_no_alarm() -> None:
    assert alarms([figure("fid_own", 900.0)]) == []


@pytest.mark.parametrize(("name", "most"), [*COPYING.items(), *DEGENERATION.items()])
def test_a_figure_of_text_above_its_most_raises_an_alarm_unless_real_text_reaches_as_much(name: str, most: float) -> None:
    assert alarms([figure(name, most)]) == []
    (alarm,) = alarms([figure(name, most + 0.1)])
    assert name in alarm
    assert alarms([figure(name, most + 0.1).model_copy(update={"floor": most + 0.2})]) == []
