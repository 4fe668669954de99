"""The playground as a person uses it, in a browser."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from components.errors import UserError
from components.project import Project
from components.registry.package import Package
from components.registry.playing import Fields
from components.report.playground import Form, in_words_of_the_page, request_of
from genmill import serving
from pipelines.servers import answers, terminal_servers
from tests.browser import BROWSER_MARKS, expect, expect_pictures
from tests.registry.test_serving import free_port, wait_for
from tests.stores import digits_picture, register, tracker_in, write_digits_package, write_text_package, write_words_package
from tests.workshop import clean_environment

if TYPE_CHECKING:
    from playwright.sync_api import Page

FORM = Form("vae-digits", "A", "7", None, 9, 3, 0.5, 20, 2, 0.7, 64)


def test_what_is_hidden_is_not_asked_for() -> None:
    assert request_of(FORM, Fields()).model_dump(exclude_none=True, exclude_defaults=True) == {"seed": 3}
    everything = Fields(prompt=True, labels=("7",), image=True, strength=True, steps=True, temperature=True, num=16)
    asked = request_of(FORM._replace(image="/a.png"), everything)
    assert (asked.num, asked.prompt, asked.label, asked.image, asked.strength) == (9, "A", "7", Path("/a.png"), 0.5)
    assert (asked.steps, asked.guidance, asked.temperature, asked.max_new_tokens) == (20, 2, 0.7, 64)
    assert request_of(FORM, everything).strength is None


def test_what_is_not_filled_in_is_left_to_the_model() -> None:
    empty = FORM._replace(prompt="", label="", steps=0, guidance=0)
    asked = request_of(empty, Fields(prompt=True, labels=("7",), steps=True))
    assert (asked.prompt, asked.label, asked.steps, asked.guidance) == (None, None, None, None)


def test_options_of_the_command_line_are_told_as_fields() -> None:
    assert in_words_of_the_page("give a picture with --from, or leave --top-k out") == "give a picture with “Picture”, or leave --top-k out"


def test_without_gradio_the_fix_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r"needs Gradio: .*'\.\[playground\]'`"):
        serving.playground()


class Opened(NamedTuple):
    address: str
    project: Project
    process: "subprocess.Popen[str]"
    told: Path


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, empty_store: Path, package: Package) -> Iterator[Opened]:
    """`genmill playground` on two versions of a model that draws, and two models whose answers are words."""
    pytest.importorskip("gradio", reason="Gradio is not installed: `make dev` installs it")
    project = Project(tmp_path_factory.mktemp("playground"))
    for name in ("params.yaml", "dvc.yaml"):
        (project.root / name).touch()
    tracker = tracker_in(project, empty_store)
    for number, made in enumerate((package, write_digits_package(project.root / "second", seed=1))):
        register(tracker, made, fid=12.5 - number)
    tracker.set_alias("vae-digits", "champion", 1)
    register(tracker, write_text_package(project.root / "gpt", context_length=16, num_layers=1, width=16, num_heads=2))
    register(tracker, write_words_package(project.root / "word2vec", family="word2vec"))
    port, told = free_port(), project.root / "told.txt"
    command = [str(Path(sys.executable).with_name("genmill")), "playground", "--port", str(port)]
    with told.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=project.root, text=True, env=clean_environment())
    address = f"http://127.0.0.1:{port}"
    wait_for(lambda: answers(f"{address}/ping"), process, told)
    yield Opened(address, project, process, told)
    process.terminate()
    process.wait(20)
    shutil.rmtree(project.root)


def choose(page: "Page", label: str, option: str) -> None:
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def draw(page: "Page", seed: int, before: list[str]) -> list[str]:
    """Draw from ``seed`` and wait until other pictures than ``before`` stand there; their sources."""
    page.get_by_label("Seed", exact=True).fill(str(seed))
    page.get_by_role("button", name="Draw").click()
    shown = "[...document.querySelectorAll('.drawn img')].map(image => image.src)"
    page.wait_for_function(f"before => {{ const shown = {shown}; return shown.length === 2 && shown.every(one => !before.includes(one)) }}", arg=before)
    expect_pictures(page.locator(".drawn img"), 2)
    return [str(source) for source in page.evaluate(shown)]


@pytest.mark.slow
class TestInTheBrowser:
    pytestmark = BROWSER_MARKS

    def test_champion_and_candidate_draw_side_by_side_the_same_again_and_nothing_leaves_the_machine(self, opened: Opened, page: "Page") -> None:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(opened.address)
        expect(page.get_by_label("Model", exact=True))
        choose(page, "Model", "vae-digits")
        expect(page.get_by_text("champion · vae-digits/1"))
        expect(page.get_by_text("candidate · vae-digits/2"))
        expect(page.get_by_text("data digits@v1 · fid_own 11.5"))
        first = draw(page, 3, [])
        assert first[0] != first[1]
        other = draw(page, 5, first)
        assert draw(page, 3, other) == first
        assert asked
        assert not [url for url in asked if not url.startswith((opened.address, "data:", "blob:"))]

    def test_a_model_of_words_takes_a_prompt_and_answers_with_text(self, opened: Opened, page: "Page") -> None:
        page.goto(opened.address)
        expect(page.get_by_label("Model", exact=True))
        choose(page, "Model", "gpt-pydocs")
        expect(page.get_by_text("candidate · gpt-pydocs/1"))
        expect(page.get_by_label("Temperature").first)
        page.get_by_label("Prompt", exact=True).fill("Once upon")
        page.get_by_role("button", name="Draw").click()
        expect(page.locator(".drawn pre", has_text=re.compile("^Once upon.+", re.DOTALL)))
        assert page.locator(".drawn pre").count() == 1

    def test_a_mistake_is_a_sentence(self, opened: Opened, page: "Page") -> None:
        page.goto(opened.address)
        expect(page.get_by_label("Model", exact=True))
        choose(page, "Model", "word2vec-pydocs")
        expect(page.get_by_text("candidate · word2vec-pydocs/1"))
        page.get_by_label("Prompt", exact=True).fill("<b>zzzz</b>")
        page.get_by_role("button", name="Draw").click()
        expect(page.locator(".drawn .refused", has_text="'<b>zzzz</b>' is not one word"))

    def test_a_picture_is_given_and_what_is_none_is_refused(self, opened: Opened, page: "Page", tmp_path: Path) -> None:
        (tmp_path / "picture.png").write_bytes(digits_picture(0))
        (tmp_path / "words.png").write_text("no picture")
        for name, selector, answer in (
            ("picture.png", ".drawn", "the picture given and its reconstruction by vae-digits/2"),
            ("words.png", ".drawn .refused", re.compile("^words.png is no picture that can be taken .*: give “Picture” a PNG or JPEG")),
        ):
            page.goto(opened.address)
            expect(page.get_by_label("Model", exact=True))
            choose(page, "Model", "vae-digits")
            page.locator("input[type=file]").set_input_files(tmp_path / name)
            expect(page.get_by_text(name.removesuffix(".png")))
            page.get_by_role("button", name="Draw").click()
            expect(page.locator(selector, has_text=answer))

    def test_it_is_listed_while_it_runs_and_ends_well(self, opened: Opened) -> None:
        (entry,) = terminal_servers(opened.project)
        assert (entry.pid, entry.url) == (opened.process.pid, opened.address)
        opened.process.send_signal(signal.SIGINT)
        assert opened.process.wait(30) == 0
        assert opened.told.read_text().endswith("Stopped.\n")
        assert "Traceback" not in opened.told.read_text()
        assert not terminal_servers(opened.project)
