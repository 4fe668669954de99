"""The page of a run grows, is one file, and shows what was measured."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from components.errors import UserError
from components.registry.gates import GateRow
from components.report.page import duration, number, size, write_page
from components.report.run import DatasetEntry, ModelEntry, RunReport
from tests.stores import figure

PNG = b"\x89PNG\r\n\x1a\nnot really"


def dataset(**more: object) -> DatasetEntry:
    return DatasetEntry.model_validate(
        {"name": "digits", "modality": "image", "version": "v1", "rows": {"train": 898, "test": 719}, "validation": "passed", **more}
    )


def model(**more: object) -> ModelEntry:
    base = {"name": "vae-digits", "family": "vae", "size": "tiny", "dataset": "digits", "data_version": "v1", "status": "trained", "primary": "fid_own"}
    return ModelEntry.model_validate({**base, "figures": (figure(value=9.5, floor=5.2),), **more})


class Links(HTMLParser):
    """Every address that a browser would fetch, and every tag that is left open."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "srcset", "data") or (tag == "link" and name == "href")]
        assert tag not in {"script", "iframe", "object"}
        if tag not in {"meta", "img", "br", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parse(path: Path) -> Links:
    links = Links()
    links.feed(path.read_text())
    assert links.open == []
    return links


def test_the_page_is_there_at_once_and_says_what_is_to_come(tmp_path: Path) -> None:
    report = RunReport(tmp_path / "deep" / "run.html", project="/a/project", plan=["digits", "vae-digits"])
    html = report.path.read_text()
    assert "Still to come: digits, vae-digits" in html
    assert 'http-equiv="refresh"' in html
    parse(report.path)


def test_the_verdicts_of_the_gates_are_on_the_page(tmp_path: Path) -> None:
    rows = (
        GateRow(rule="limit", figure="fid_own", value=50.0, limit="at most 40", verdict="failed"),
        GateRow(rule="data", value=None, limit="every file as it was published", verdict="passed", note="12 files re-hashed"),
    )
    report = RunReport(tmp_path / "run.html")
    report.add_model(model(gates=rows, verdict="stays candidate", promotion="vae-digits/2 stays out of production."))
    html = report.path.read_text()
    parse(report.path)
    assert all(text in html for text in ("at most 40", "12 files re-hashed", "vae-digits stays candidate.", "vae-digits/2 stays out of production."))
    assert html.index("at most 40") < html.index('<span class="tag bad">failed</span>')


def test_it_grows_after_each_entry_and_stops_refreshing_at_the_end(tmp_path: Path) -> None:
    report = RunReport(tmp_path / "run.html", plan=["digits", "vae-digits"])
    report.add_dataset(dataset(picture=PNG, dropped={"duplicate": 3}, licence="CC BY 4.0"))
    html = report.path.read_text()
    assert "898 train, 719 test" in html
    assert "3 duplicate" in html
    assert "Still to come: vae-digits" in html
    report.add_model(model(version="vae-digits/1", aliases=("candidate",), pictures={"samples": PNG}, run_id="r" * 32, run_url="http://127.0.0.1:5000/#/x"))
    html = report.path.read_text()
    assert "vae-digits/1" in html
    assert "Still to come" not in html
    report.finish(links=[("MLflow", "http://127.0.0.1:5000"), ("Next", "genmill promote vae-digits")])
    html = report.path.read_text()
    assert 'http-equiv="refresh"' not in html
    assert '<a href="http://127.0.0.1:5000">' in html
    assert "<code>genmill promote vae-digits</code>" in html


def test_an_entry_of_the_same_name_replaces_the_former(tmp_path: Path) -> None:
    report = RunReport(tmp_path / "run.html")
    report.add_model(model(status="failed", message="It broke.", figures=()))
    report.add_model(model())
    assert "It broke." not in report.path.read_text()
    assert report.path.read_text().count('id="model-vae-digits"') == 1


def test_it_fetches_nothing_and_pictures_are_inside(tmp_path: Path) -> None:
    report = RunReport(tmp_path / "run.html")
    report.add_dataset(dataset(picture=PNG))
    report.add_model(model(pictures={"samples": PNG, "reconstructions": PNG}))
    fetched = parse(report.path).fetched
    assert len(fetched) == 3
    assert all(address.startswith("data:image/png;base64,") for address in fetched)
    assert not re.search(r"url\(|@import", report.path.read_text())


def test_figures_stand_with_floor_and_protocol(tmp_path: Path) -> None:
    report = RunReport(tmp_path / "run.html")
    report.add_model(model())
    html = re.sub(r"<[^>]+>|\s+", " ", report.path.read_text())
    for part in ("9.5", "5.2 real images", "test, N = 700", "lower", "reference d"):
        assert part in re.sub(r" +", " ", html)


def test_texts_and_messages_are_escaped(tmp_path: Path) -> None:
    report = RunReport(tmp_path / "run.html")
    report.add_model(model(texts={"samples": "<script>alert(1)</script>"}, message="a < b"))
    assert "<script>" not in report.path.read_text()
    assert "&lt;script&gt;" in report.path.read_text()


def test_what_a_model_says_comes_before_what_is_said_of_its_vocabulary(tmp_path: Path) -> None:
    report = RunReport(tmp_path / "run.html")
    report.add_model(model(texts={"analogies": "a", "tokens": "t", "samples": "s", "answers": "x"}))
    headings = re.findall("<h4>([a-z]+)</h4>", report.path.read_text())
    assert headings[:4] == ["answers", "samples", "analogies", "tokens"]


def test_a_failed_model_is_shown_with_its_message(tmp_path: Path) -> None:
    report = RunReport(tmp_path / "run.html")
    report.add_model(model(status="failed", message="The loss stayed non-finite.", figures=()))
    assert "The loss stayed non-finite." in report.path.read_text()
    parse(report.path)


def test_no_half_page_is_ever_seen_and_others_may_read_it(tmp_path: Path) -> None:
    path = write_page(tmp_path / "page.html", "<p>1</p>")
    write_page(path, "<p>2</p>")
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    assert path.stat().st_mode & 0o444 == 0o444


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_page(tmp_path / "file" / "page.html", "")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (number(None), "–"), (number(1234.0), "1,234"), (number(0.012345), "0.01235"), (number(float("nan")), "nan"), (number(float("inf")), "inf"),
        (duration(0.42), "0.4 s"), (duration(59.7), "1 min 0 s"), (duration(42), "42 s"), (duration(185), "3 min 5 s"), (duration(7440), "2 h 4 min"),
        (size(512), "512 B"), (size(3482), "3.4 KiB"), (size(1.5 * 2**30), "1.5 GiB"), (size(3 * 2**40), "3.0 TiB"),
    ],
)  # fmt: skip
def test_numbers_are_written_for_people(written: str, read: str) -> None:
    assert written == read
