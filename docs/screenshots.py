"""Make the pictures of docs/mlflow.md: open the pages of a project's MLflow in the Chromium of this machine, as a person does.

`genmill up` first; then `python docs/screenshots.py --project DIR --out docs/pictures`.
"""

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from components.project import Project
from components.report.mlflow_pages import COMPARISON
from components.tracking import Tracker
from pipelines.servers import find_server

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTH = 1200
"""Of the pictures; the pages are wider."""
ASSISTANT_SEEN = "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1"
"""What the browser keeps when its user has closed the assistant, which opens on the first visit of a local server."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, required=True, help="where `genmill up` runs")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--model", default="vae-digits")
    chosen = parser.parse_args()
    project = Project(chosen.project.resolve())
    server = find_server(project, "mlflow")
    if server is None:
        raise SystemExit(f"No MLflow server runs for {project.root}: start it with `genmill up --project {project.root}`.")
    tracker = Tracker.of(project)
    newest = tracker.model_versions(chosen.model)[0]
    version = f"{server.url}/{tracker.version_link(newest.name, newest.version)}"
    take(tracker.view_urls(COMPARISON, server.url)[chosen.dataset], version, chosen.out)


def take(comparison: str, version: str, out: Path) -> None:
    """Write mlflow-runs, -charts, -compare, -model and -version.png to ``out``."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.set_default_timeout(90_000)
        page.add_init_script(f"localStorage.setItem({ASSISTANT_SEEN!r}, 'true')")
        runs(page, comparison, out)
        charts(page, f"{comparison}&compareRunsMode=CHART", out)
        compare(page, comparison, out)
        registry(page, version, out)
        browser.close()


def runs(page: "Page", address: str, out: Path) -> None:
    open_page(page, address, width=1800, height=620)
    page.get_by_role("checkbox", name="Select all runs").wait_for()
    page.get_by_text("matching run").wait_for()
    save(page, out / "mlflow-runs.png")


def charts(page: "Page", address: str, out: Path) -> None:
    open_page(page, address, width=1500, height=1400)
    pictures = page.get_by_role("row").filter(has_text="evidence/samples").locator("img")
    pictures.first.wait_for()
    pictures.evaluate_all("images => Promise.all(images.map(image => image.decode()))")
    save(page, out / "mlflow-charts.png")


def compare(page: "Page", address: str, out: Path) -> None:
    """The two oldest runs, with the samples of both."""
    open_page(page, address, width=1500, height=1200)
    boxes = page.get_by_role("checkbox", name="toggle row selection")
    boxes.first.wait_for()
    for place in (-1, -2):
        boxes.nth(place).check()
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_text("samples.png", exact=True).click()
    pictures = page.get_by_role("img", name="samples.png")
    for place in range(2):
        pictures.nth(place).wait_for()
    pictures.first.scroll_into_view_if_needed()
    save(page, out / "mlflow-compare.png")


def registry(page: "Page", version: str, out: Path) -> None:
    """The registered model with its aliases, and one of its versions."""
    address, _, query = version.partition("?")
    open_page(page, f"{address.rpartition('/versions/')[0]}?{query}", width=1500, height=990)
    page.get_by_text("@\u00a0champion").first.wait_for()
    page.get_by_role("link", name="Version").first.wait_for()
    save(page, out / "mlflow-model.png")
    open_page(page, version, width=1500, height=1050)
    page.get_by_text("Gates ", exact=False).first.wait_for()
    save(page, out / "mlflow-version.png")


def open_page(page: "Page", address: str, *, width: int, height: int) -> None:
    """``address`` in a window of that many pixels, loaded anew: what follows a `#` alone would not be."""
    page.set_viewport_size({"width": width, "height": height})
    page.goto("about:blank")
    page.goto(address)


def save(page: "Page", path: Path) -> None:
    """What the window shows, `WIDTH` pixels wide; rounded colours halve the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, animations="disabled")
    picture = Image.open(path).convert("RGB")
    smaller = picture.resize((WIDTH, picture.height * WIDTH // picture.width), Image.Resampling.LANCZOS)
    smaller.point(lambda value: min(255, round(value / 8) * 8)).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
