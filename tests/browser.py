"""A real browser for the pages of the UIs: what tests of pages share."""

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_MS = 90_000
ASSISTANT_SEEN = "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1"
"""What the browser keeps when its user has closed MLflow's assistant, which opens on the first visit of a local server."""
BROWSER_MARKS = [
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine: install the package chromium"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of Playwright's own pipes, when its driver ends
]


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: `make dev` installs it")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        yield found
        found.close()


@pytest.fixture
def page(browser: "Browser") -> "Iterator[Page]":
    """A page of a person who was never here, but for having closed the assistant."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    context.add_init_script(f"localStorage.setItem({ASSISTANT_SEEN!r}, 'true')")
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


def expect(locator: "Locator") -> None:
    locator.first.wait_for(state="visible")


def expect_pictures(locator: "Locator", count: int) -> None:
    """``count`` pictures that the browser could decode; a picture that is missing has no width."""
    for place in range(count):
        expect(locator.nth(place))
    widths = locator.evaluate_all("images => Promise.all(images.map(image => image.decode().then(() => image.naturalWidth)))")
    assert len(widths) == count
    assert min(widths) > 50
