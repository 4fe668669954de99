"""Make the pictures of docs/mlflow.md, docs/prefect.md and docs/serving.md: open the pages of a project in the Chromium of this machine, as a person does.

`genmill up` first; then `python docs/screenshots.py --project DIR --out docs/pictures`. Those of Prefect show the newest finished run of the schedule
`--schedule` that trained something, and the promotion that waits for approval; for that of the playground, `genmill playground` runs beside it.
"""

import argparse
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from PIL import Image

from components.project import Project
from components.report.mlflow_pages import COMPARISON
from components.tracking import Tracker
from pipelines.servers import find_server, terminal_servers

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
    parser.add_argument("--ui", choices=("mlflow", "prefect", "playground"), default="mlflow")
    parser.add_argument("--schedule", default="nightly")
    chosen = parser.parse_args()
    project = Project(chosen.project.resolve())
    if chosen.ui == "playground":
        take_playground(next(one.url for one in terminal_servers(project) if one.name.startswith("playground")), chosen.model, chosen.out)
        return
    server = find_server(project, chosen.ui)
    if server is None:
        raise SystemExit(f"No {chosen.ui} server runs for {project.root}: start it with `genmill up --project {project.root}`.")
    if chosen.ui == "prefect":
        take_prefect(server.url, chosen.schedule, chosen.out)
        return
    tracker = Tracker.of(project)
    newest = tracker.model_versions(chosen.model)[0]
    version = f"{server.url}/{tracker.version_link(newest.name, newest.version)}"
    take(tracker.view_urls(COMPARISON, server.url)[chosen.dataset], version, chosen.out)


def take_prefect(address: str, schedule: str, out: Path) -> None:
    """Write prefect-deployments, -run, -table and -approval.png to ``out``."""
    (deployment,) = ask(address, "deployments/filter", {"deployments": {"name": {"any_": [schedule]}}})
    done = {"deployment_id": {"any_": [deployment["id"]]}, "state": {"type": {"any_": ["COMPLETED"]}}}
    finished = ask(address, "flow_runs/filter", {"flow_runs": done, "sort": "END_TIME_DESC"})
    trained = next(run for run in finished if not run["state"]["message"])
    waiting = ask(address, "flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}})
    with browsing() as page:
        open_page(page, f"{address}/deployments", width=1300, height=560)
        page.get_by_text(schedule, exact=True).wait_for()
        save(page, out / "prefect-deployments.png")
        open_page(page, f"{address}/runs/flow-run/{trained['id']}", width=1300, height=1000)
        page.get_by_text("Flow run 'build").first.wait_for(state="attached")
        page.wait_for_timeout(4000)  # the graph is drawn on a canvas, which says nothing of when it is finished
        save(page, out / "prefect-run.png")
        page.get_by_text("Artifacts", exact=True).click()
        page.get_by_role("link", name="models").click()
        page.get_by_text("fid_own").first.wait_for()
        page.set_viewport_size({"width": 1300, "height": 420})
        save(page, out / "prefect-table.png")
        if waiting:
            open_page(page, f"{address}/runs/flow-run/{waiting[0]['id']}", width=1300, height=960)
            page.get_by_role("button", name="Resume").click()
            page.get_by_text("in production because").wait_for()
            page.wait_for_timeout(1000)  # it moves in
            save(page, out / "prefect-approval.png")


def take_playground(address: str, model: str, out: Path) -> None:
    """Write playground.png to ``out``."""
    with browsing() as page:
        open_page(page, address, width=1200, height=640)
        page.get_by_label("Model", exact=True).click()
        page.get_by_role("option", name=model, exact=True).click()
        page.get_by_text(f"candidate · {model}/").wait_for()
        page.get_by_label("Seed", exact=True).fill("7")
        page.get_by_role("button", name="Draw").click()
        for place in range(2):
            page.locator(".drawn img").nth(place).wait_for()
        page.wait_for_timeout(1000)  # what fades in
        page.evaluate("scrollTo(0, 0)")
        save(page, out / "playground.png")


def ask(address: str, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """What the Prefect server answers to a filter."""
    found: list[dict[str, Any]] = httpx.post(f"{address}/api/{path}", json=body, timeout=30).raise_for_status().json()
    return found


@contextlib.contextmanager
def browsing() -> "Iterator[Page]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.set_default_timeout(90_000)
        page.add_init_script(f"localStorage.setItem({ASSISTANT_SEEN!r}, 'true')")
        yield page
        browser.close()


def take(comparison: str, version: str, out: Path) -> None:
    """Write mlflow-runs, -charts, -compare, -model and -version.png to ``out``."""
    with browsing() as page:
        runs(page, comparison, out)
        charts(page, f"{comparison}&compareRunsMode=CHART", out)
        compare(page, comparison, out)
        registry(page, version, out)


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
