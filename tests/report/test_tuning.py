"""The page of a search: every trial with what became of it, and charts of what was measured."""

import re
from pathlib import Path

from components.report.svg import Dots, scatter_chart
from components.report.tuning import TuningText, write_tuning_page
from components.tuning.verdict import Verdict
from tests.tuning.trials import AIMS, search, trial


def test_the_page_shows_every_trial_the_offer_and_a_chart_per_setting(tmp_path: Path) -> None:
    about = search(tmp_path)
    params = [{**about.present, "learning_rate": rate, "width": width} for rate, width in ((0.002, 32), (0.004, 48), (0.001, 24))]
    records = [trial(0, 10, 2.0, params=params[0]), trial(1, 8, 1.9, params=params[1])]
    records.append(trial(2, params=params[2], status="pruned", reason="hopeless & <slow>"))
    verdict = Verdict(offered=True, sentence="Better by 2 where two trainings differ by 1.", settings={"width": 48})
    text = TuningText(verdict=verdict, line="config: {width: 48}", wanted=3)
    page = write_tuning_page(tmp_path / "tune.html", about, records, AIMS, {"learning_rate": 0.75, "width": 0.25}, text).read_text()
    assert "2 finished, 1 pruned" in page
    assert "Better by 2 where two trainings differ by 1." in page
    assert "<pre>config: {width: 48}</pre>" in page
    assert "hopeless &amp; &lt;slow&gt;" in page
    assert page.count("<svg") == 2 + len(about.space)
    assert not re.search(r'(src|href)="https?://', page)


def test_the_dots_of_a_scatter_chart_stand_where_their_values_are() -> None:
    dots = [Dots(0, [(1.0, 10.0, "a"), (3.0, 30.0, "b"), (2.0, 20.0, "c")])]
    found = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', scatter_chart("t", dots, x_name="x", y_name="y"))
    (x1, y1), (x3, y3), (x2, y2) = [(float(x), float(y)) for x, y in found]
    assert x1 < x2 < x3
    assert y1 > y2 > y3
    assert abs(x2 - (x1 + x3) / 2) <= 0.1
    assert abs(y2 - (y1 + y3) / 2) <= 0.1
    named = scatter_chart("t", [Dots(0, [(1.0, 1.0, "a"), (1.0, 2.0, "b")])], x_name="x", y_name="y", x_names=("small", "large"))
    assert ">small</text>" in named
    assert ">large</text>" in named
