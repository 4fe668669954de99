"""The page of a run: it is there from the first second and grows after every dataset and every model."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from components.evaluation.protocol import Figure
from components.params import Strict
from components.registry.gates import GateRow
from components.report.page import render, write_page


class DatasetEntry(Strict):
    """What the page says of one dataset."""

    name: str
    modality: str
    version: str
    new: bool = True
    """Whether this run made the version."""
    rows: dict[str, int]
    """Rows per split."""
    validation: str
    """`passed`, `warnings` or `failed`."""
    message: str = ""
    source: str = ""
    licence: str = ""
    num_bytes: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)
    """Rows put aside, by reason."""
    picture: bytes | None = None
    """PNG of some rows."""
    excerpt: str = ""
    seconds: float = 0.0
    links: tuple[tuple[str, str], ...] = ()
    """Text and address, e.g. of the validation page."""


class ModelEntry(Strict):
    """What the page says of one model."""

    name: str
    family: str
    size: str
    dataset: str
    data_version: str
    status: str
    """`trained`, `resumed`, `reused`, `finished`, `interrupted`, `diverged` or `failed`."""
    message: str = ""
    summary: str = ""
    primary: str = ""
    """Name of the figure that ranks runs of this family."""
    figures: tuple[Figure, ...] = ()
    gates: tuple[GateRow, ...] = ()
    verdict: str = ""
    """One line: whether it passed its gates, and why not."""
    promotion: str = ""
    """What became of its automatic promotion."""
    pictures: dict[str, bytes] = Field(default_factory=dict)
    animations: dict[str, bytes] = Field(default_factory=dict)
    texts: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    version: str = ""
    """Reference in the registry, e.g. `vae-digits/3`."""
    aliases: tuple[str, ...] = ()
    run_id: str = ""
    run_url: str = ""
    steps: int = 0
    parameters: int = 0
    train_s: float = 0.0
    evaluate_s: float = 0.0
    package_s: float = 0.0
    core_s: float = 0.0
    peak_memory_bytes: int = 0

    @property
    def first(self) -> Figure | None:
        """The primary figure, where it was measured."""
        return next((figure for figure in self.figures if figure.name == self.primary), None)


class RunReport:
    """The page at ``path``; every change rewrites it in one step. Safe to call from several threads."""

    def __init__(self, path: Path, *, title: str = "Genmill run", project: str = "", plan: Sequence[str] = ()) -> None:
        """``plan`` names the datasets and models to come, which the page shows as waiting. The first page is written at once."""
        self.path, self._title, self._project, self._plan = path, title, project, list(plan)
        self._started, self._started_s = time.strftime("%Y-%m-%d %H:%M:%S"), time.monotonic()
        self._datasets: dict[str, DatasetEntry] = {}
        self._models: dict[str, ModelEntry] = {}
        self._lock = threading.Lock()
        self._write()

    def add_dataset(self, entry: DatasetEntry) -> None:
        with self._lock:
            self._datasets[entry.name] = entry
            self._write()

    def add_model(self, entry: ModelEntry) -> None:
        with self._lock:
            self._models[entry.name] = entry
            self._write()

    def finish(self, *, status: str = "finished", links: Sequence[tuple[str, str]] = (), timings: Sequence[tuple[str, float]] = ()) -> None:
        """The last state of the page: it stops refreshing itself and says where to look (text and address or command)."""
        with self._lock:
            self._write(status, links, timings)

    def _write(self, status: str = "running", links: Sequence[tuple[str, str]] = (), timings: Sequence[tuple[str, float]] = ()) -> None:
        done = self._datasets.keys() | self._models.keys()
        html = render(
            "run.html.j2",
            title=self._title,
            project=self._project,
            status=status,
            started=self._started,
            seconds=time.monotonic() - self._started_s,
            datasets=list(self._datasets.values()),
            models=list(self._models.values()),
            waiting=[name for name in self._plan if name not in done] if status == "running" else [],
            links=links,
            timings=list(timings) or self._timings(),
        )
        write_page(self.path, html)

    def _timings(self) -> list[tuple[str, float]]:
        """Seconds by what they were spent on, as far as the entries tell."""
        found = [(f"{entry.name}: data", entry.seconds) for entry in self._datasets.values()]
        for entry in self._models.values():
            found += [
                (f"{entry.name}: training", entry.train_s),
                (f"{entry.name}: evaluation", entry.evaluate_s),
                (f"{entry.name}: packaging", entry.package_s),
            ]
        return [(label, seconds) for label, seconds in found if seconds > 0]
