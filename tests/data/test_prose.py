"""Pages, books and code as texts: what a reader sees, in order, and nothing that would run or be fetched."""

import io
import zipfile
from pathlib import Path

import pytest

from components.data.prose import NoProse, book_text, page_text
from tests.data.workbench import files, folder_project, quarantine, rows, run

PAGE = """<!DOCTYPE html><html><head><title>On  roses</title><style>p {color: red}</style><script>alert("no text")</script></head>
<body><h1>Roses</h1><p>A rose is a <b>rose</b> &amp; smells.</p><ul><li>red</li><li>white</li></ul><img src="http://127.0.0.1:1/x.png"></body></html>"""
CONTAINER = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>'
PACKAGE = """<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>A book</dc:title></metadata>
<manifest><item id="one" href="ch%201.xhtml"/><item id="two" href="two.xhtml"/><item id="toc" href="toc.xhtml"/></manifest>
<spine><itemref idref="two"/><itemref idref="one"/><itemref idref="toc" linear="no"/></spine></package>"""


def book(**files: str | None) -> bytes:
    """A book of two chapters; ``files`` replaces some of it, None takes it out."""
    whole = {
        "META-INF/container.xml": CONTAINER,
        "OPS/book.opf": PACKAGE,
        "OPS/ch 1.xhtml": "<html><body><p>It ends.</p></body></html>",
        "OPS/two.xhtml": "<html><body><p>It begins.</p></body></html>",
        "OPS/toc.xhtml": "<html><body><p>Contents</p></body></html>",
    } | files
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as packed:
        for name, text in whole.items():
            if text is not None:
                packed.writestr(name, text)
    return found.getvalue()


def test_a_page_becomes_its_title_and_what_is_seen_of_it() -> None:
    title, text = page_text(PAGE.encode(), "file")
    assert title == "On roses"
    assert "A rose is a rose & smells." in text.decode()
    assert "alert" not in text.decode()
    assert "color" not in text.decode()


@pytest.mark.parametrize(("encoding", "mark"), [("latin-1", '<meta charset="iso-8859-1">'), ("utf-8", ""), ("utf-16", ""), ("utf-8-sig", "")])
def test_a_page_is_read_in_the_encoding_that_it_names(encoding: str, mark: str) -> None:
    assert page_text(f"<html>{mark}<p>Grüße</p></html>".encode(encoding), "file") == ("file", "Grüße".encode())


@pytest.mark.parametrize(
    "content",
    [b"", b"   ", b"<p>Gr\xfc\xdfe</p>", b'<meta charset="no-such"><p>x</p>', b"<!-- nothing -->", b"<meta charset=idna>x", b"<meta charset=undefined>x"],
)
def test_what_is_no_page_says_why(content: bytes) -> None:
    with pytest.raises(NoProse, match="the page is"):
        page_text(content, "file")


@pytest.mark.parametrize("content", [bytes(2**24 + 1), b"<p>x" * 500_001])
def test_a_page_that_would_take_too_much_memory_is_refused_before_it_is_parsed(content: bytes) -> None:
    with pytest.raises(NoProse, match="the page has more than 16,777,216 bytes or 500,000 tags"):
        page_text(content, "file")


def test_a_page_of_a_hundred_thousand_nested_tags_is_no_crash() -> None:
    title, text = page_text(b"<div>" * 100_000 + b"deep", "file")
    assert (title, len(text) < 100) == ("file", True)


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<div><div><div>Deep <span>in</span>side</div></div></div>", "Deep inside"),
        ("<section>one</section><section>two</section>", "one\ntwo"),
        ("<dl><dt>word<dd>what it means</dl>", "word\nwhat it means"),
        ("<table><caption>Pets</caption><tr><th>name<th>age</tr><tr><td>Ann</td><td>3</td></tr></table>", "Pets\nname | age\nAnn | 3"),
        ("<table><tr><td>1</td><!-- c --><td>2</td></tr></table>", "1 | 2"),
        ("<table><tr><td><p>a</p></td><td><p>b</p></td></tr></table>", "a | b"),
        ("<table><tr><td><p>a</p><p>b</p></td></tr></table>", "a\n\nb"),
        ("<table><tr><td style='display:none'>a</td><td>b</td></tr></table>", "b"),
        ("<ul><li>one<ul><li>two</li></ul></li></ul>", "  * one\n      + two"),
        ("<p>seen<p style='color: red; DISPLAY: none'>not seen", "seen"),
        ("<pre>  code\n    more</pre>", "  code\n    more"),
        ("<p style='margin-left: 9em; padding-left: 9em'>as text", "as text"),
    ],
)
def test_a_page_is_laid_out_as_text_for_reading_without_what_only_fills_the_screen(page: str, text: str) -> None:
    assert page_text(page.encode(), "file")[1].decode() == text


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        '<ul style="padding-left:99999em"><li>x' * 1000,
        "<ul>" * 250 + "<li>x" * 10_000,
        f"<table><tr><td>{'y' * 100_000}<td>z</tr>{'<tr><td>x<td>y</tr>' * 10_000}</table>",
    ],
    ids=["margins", "lists in lists", "one wide cell"],
)
def test_a_page_made_to_become_gigabytes_of_white_space_does_not(page: str) -> None:
    assert len(page_text(page.encode(), "file")[1]) < 8 * len(page)


def test_a_book_is_read_in_the_order_of_its_spine() -> None:
    assert book_text(book(), "file") == ("A book", b"It begins.\n\nIt ends.")


@pytest.mark.slow
def test_a_chapter_that_the_spine_names_again_and_again_is_read_once() -> None:
    again = PACKAGE.replace('<itemref idref="two"/>', '<itemref idref="two"/>' * 50_000)
    assert book_text(book(**{"OPS/book.opf": again}), "file") == ("A book", b"It begins.\n\nIt ends.")


LONG = book(
    **{f"OPS/{number}.xhtml": ("<p>x" + " " * 2**20) * 15 for number in range(5)},
    **{
        "OPS/book.opf": PACKAGE.replace("<item ", "".join(f'<item id="{n}" href="{n}.xhtml"/>' for n in range(5)) + "<item ", 1).replace(
            "<itemref ", "".join(f'<itemref idref="{n}"/>' for n in range(5)) + "<itemref ", 1
        )
    },
)
"""Its chapters, each of a length that is read, have together more than is."""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK no book", "is no whole zip archive"),
        (book(**{"META-INF/container.xml": None}), "it has no META-INF/container.xml"),
        (book(**{"META-INF/container.xml": "<container/>"}), "names no package"),
        (book(**{"OPS/book.opf": "<package"}), "is no XML"),
        (book(**{"OPS/book.opf": "<package/>"}), "its spine names no chapters"),
        (book(**{"OPS/two.xhtml": None}), "its file OPS/two.xhtml is missing"),
        (book(**{"../evil.xhtml": "x"}), "leads out of the archive"),
        (LONG, "its chapters have more than 67,108,864 bytes"),
        (book(**{"OPS/two.xhtml": " " * (2**24 + 1)}), "its file OPS/two.xhtml cannot be read"),
    ],
)
def test_what_is_no_book_says_why(content: bytes, said: str) -> None:
    with pytest.raises(NoProse, match=said):
        book_text(content, "file")


def test_entities_of_a_book_neither_grow_nor_name_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    named = f'<!DOCTYPE p [<!ENTITY f SYSTEM "file://{tmp_path}/secret">]>' + PACKAGE.replace("A book", "&f;")
    assert book_text(book(**{"OPS/book.opf": named}), "file")[0] == "file"
    growing = f'<!DOCTYPE p [<!ENTITY a "{"x" * 1000}"><!ENTITY b "{"&a;" * 1000}">]>' + PACKAGE.replace("A book", "&b;")
    with pytest.raises(NoProse, match="its package is no XML"):
        book_text(book(**{"OPS/book.opf": growing}), "file")


def test_a_folder_of_pages_books_and_code_is_texts_and_what_cannot_be_made_out_is_quarantined(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text")
    for index in range(60):
        (files(project) / f"{index}.py").write_text(f"def number_{index}():\n    return {index}\n")
    (files(project) / "rose.html").write_text(PAGE)
    (files(project) / "a.epub").write_bytes(book())
    (files(project) / "bad.epub").write_bytes(b"no book")
    (files(project) / "bad.htm").write_bytes(b"<p>Gr\xfc\xdfe</p>")
    run(project)
    titles = {row["id"]: row["title"] for row in rows(project)}
    assert (titles["0.py"], titles["rose.html"], titles["a.epub"]) == ("0.py", "On roses", "A book")
    assert {name: reason for name, (reason, _) in quarantine(project).items()} == {"bad.epub": "unreadable", "bad.htm": "unreadable"}
