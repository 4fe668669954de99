"""Saved views of an experiment's page in MLflow: which columns its table has and which charts stand beside it, in which order.

The UI of MLflow keeps such a view as a tag of the experiment (`mlflow.sharedViewState.KEY`): a JSON envelope with a name, which it lists under
"Saved views", and the state of the page, deflated. The address of the page of runs with `?viewStateShareKey=KEY` opens it. The state follows
`ExperimentPageUIState` and `RunsChartsCardConfig` of mlflow/server/js/src/experiment-tracking of MLflow 3.17; what it does not know it ignores.
"""

import base64
import json
import uuid
import zlib
from typing import Any, Literal

from components.params import Strict

VIEW_TAG = "mlflow.sharedViewState."
MODEL_METRICS, SYSTEM_METRICS = "Model metrics", "System metrics"
"""The sections that the UI keeps for what has no prefix; without them it cannot place a chart."""
TRAINING = "workflowType=machine_learning"
"""Part of every address: a browser that was never here would else be shown the pages for agents and their traces."""


def attribute(name: Literal["Created", "Dataset", "Duration", "Source", "Models", "User"]) -> str:
    return _column("attributes", name)


def metric(key: str) -> str:
    return _column("metrics", key)


def param(key: str) -> str:
    return _column("params", key)


def tag(key: str) -> str:
    return _column("tags", key)


def _column(kind: str, key: str) -> str:
    """The UI's name of a column."""
    return f"{kind}.`{key}`"


def view_path(experiment_id: str, key: str, *, charts: bool = False) -> str:
    """The address of a view (its table, or its ``charts``) below its server's, and as a link on any page of the UI."""
    return f"#/experiments/{experiment_id}/runs?{TRAINING}{'&compareRunsMode=CHART' if charts else ''}&viewStateShareKey={key}"


class Chart(Strict):
    """A metric of every run as bars or over the steps of training; or pictures.

    The UI draws several keys of pictures as a table with a column per run, but those of a single key below each other.
    """

    kind: Literal["bar", "line", "pictures"]
    keys: tuple[str, ...]
    hidden: bool = False
    """The UI makes a chart of its own for each key; this one stands for it and is not shown."""


class Section(Strict):
    """Charts under a heading that can be folded. The UI adds metrics without a chart to the section that is named like their prefix."""

    name: str
    charts: tuple[Chart, ...] = ()
    open: bool = True
    per_row: int = 3
    height: int = 360
    """Of each chart, in pixels."""


class View(Strict):
    """A saved view."""

    key: str
    """Opens it: `?viewStateShareKey=KEY`."""
    name: str
    """What the UI calls it."""
    columns: tuple[str, ...]
    sections: tuple[Section, ...] = ()
    shows: str = ""
    """What the runs shown must be like, in MLflow's language of search; empty shows all."""

    def encoded(self, now_ms: int) -> str:
        """The value of the experiment's tag."""
        state = base64.b64encode(zlib.compress(json.dumps(self._state()).encode())).decode()
        return json.dumps({"name": self.name, "createdAt": now_ms, "updatedAt": now_ms, "state": f"deflate;{state}"})

    def _state(self) -> dict[str, Any]:
        sections = [*self.sections, *(Section(name=name) for name in (MODEL_METRICS, SYSTEM_METRICS))]
        return {
            "searchFilter": self.shows,
            "selectedColumns": list(self.columns),
            "columnOrder": list(self.columns),
            "compareRunCharts": [self._chart(section, chart) for section in self.sections for chart in section.charts],
            "compareRunSections": [
                {
                    "uuid": self._id(section.name),
                    "name": section.name,
                    "display": section.open,
                    "columns": section.per_row,
                    "cardHeight": section.height,
                    "isReordered": True,
                    "deleted": False,
                    "isGenerated": True,
                }
                for section in sections
            ],
            # Otherwise the UI sorts the sections by their names.
            "isAccordionReordered": True,
            "hideEmptyCharts": True,
        }

    def _chart(self, section: Section, chart: Chart) -> dict[str, Any]:
        metrics = {"metricKey": chart.keys[0], "selectedMetricKeys": list(chart.keys)}
        pictures = {"imageKeys": list(chart.keys), "step": 0, "showRunParams": False}
        own: dict[str, Any] = pictures if chart.kind == "pictures" else {**metrics, **(_LINE if chart.kind == "line" else {})}
        return {
            "uuid": self._id(section.name, *chart.keys),
            "type": {"bar": "BAR", "line": "LINE", "pictures": "IMAGE"}[chart.kind],
            "metricSectionId": self._id(section.name),
            "displayName": chart.keys[0].rpartition("/")[2],
            "runsCountToCompare": 10,
            "deleted": chart.hidden,
            "isGenerated": True,
            **own,
        }

    def _id(self, *parts: str) -> str:
        """The same for the same chart, so that writing a view again changes nothing."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join((self.key, *parts))))


_LINE = {
    "xAxisKey": "step", "selectedXAxisMetricKey": "", "yAxisKey": "metric", "yAxisExpressions": [], "lineSmoothness": 0, "xAxisScaleType": "linear",
    "scaleType": "linear", "range": {}, "ignoreOutliers": False, "useGlobalXaxisKey": True, "useGlobalLineSmoothing": True,
}  # fmt: skip
"""What the UI gives a new line chart."""
