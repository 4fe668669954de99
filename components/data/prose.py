"""Plain text from pages (HTML) and books (EPUB); nothing that they name is fetched, and no script in them runs."""

import codecs
import io
import posixpath
import re
import urllib.parse
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from components.data.trees import Caps, Unreadable, read_entry
from components.data.trees.zipped import Zip
from components.errors import UserError

if TYPE_CHECKING:
    from lxml.etree import _Element

PAGE_ENDINGS = (".html", ".htm", ".xhtml")
BOOK_ENDINGS = (".epub",)
_CONTAINER = "META-INF/container.xml"
_TABLE, _CELLS, _LISTS = ("table", "thead", "tbody", "tfoot", "tr"), ("td", "th"), ("ul", "ol")
_MORE_BLOCKS = ("section", "dl", "dt", "dd", "caption", "details", "summary", "form", "fieldset", "legend", "option", "center", "hr")
"""What a line begins with beside the blocks that the library knows."""
_DEEPEST_LIST = 6
"""Lists within more lists than that are not set in further."""
_CHARSET = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]+)""")
_CHARSET_WITHIN = 2048
_MOST_BYTES, _MOST_TAGS = 16 * 2**20, 500_000
"""Of a page: while it is read each tag takes some 400 bytes. War and Peace has three million characters."""
_MOST_BOOK_BYTES = 4 * _MOST_BYTES
"""Of all chapters of a book."""
_BOOK = Caps(max_file_bytes=2**30, max_total_bytes=2**32, max_files=20_000)
"""Only chapters are read; pictures and fonts may be large."""
_NO_CHARSETS = ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "utf-7", "undefined")
"""Encodings of Python's that no page is in, the first two of which take time with the square of the length."""


class NoProse(Exception):
    """No text can be had from it, for a reason in half a sentence."""


def page_text(content: bytes, title: str) -> tuple[str, bytes]:
    """The page's title (``title`` where it has none) and its text as UTF-8, laid out as a reader sees it.

    Raises:
        NoProse: it is no HTML that can be read.
    """
    root = _parsed_page(content)
    said = " ".join((root.findtext(".//title") or "").split())
    return said or title, _text_of(root).encode("utf-8", "replace")


def book_text(content: bytes, title: str) -> tuple[str, bytes]:
    """The book's title and the text of its chapters, in the order of its spine.

    Raises:
        NoProse: it is no EPUB that can be read, or one under lock and key.
    """
    try:
        book = Zip(io.BytesIO(content), "the book", _BOOK)
    except UserError as error:
        raise NoProse(str(error).removeprefix("the book ")) from None
    try:
        package_name = _package_name(book)
        package = _xml(_read(book, package_name))
        said = " ".join((package.findtext(".//{*}metadata/{*}title") or "").split())
        names = dict.fromkeys(_spine(package, posixpath.dirname(package_name)))  # one that is named again would be as long a text as it likes
        chapters = [_text_of(_parsed_page(content)) for content in _contents(book, names)]
    finally:
        book.close()
    return said or title, "\n\n".join(chapter for chapter in chapters if chapter).encode("utf-8", "replace")


def _contents(book: Zip, names: Iterable[str]) -> Iterator[bytes]:
    num_bytes = 0
    for name in names:
        content = _read(book, name)
        num_bytes += len(content)
        if num_bytes > _MOST_BOOK_BYTES:
            raise NoProse(f"its chapters have more than {_MOST_BOOK_BYTES:,} bytes")
        yield content


def _package_name(book: Zip) -> str:
    rootfile = _xml(_read(book, _CONTAINER)).find(".//{*}rootfile")
    name = None if rootfile is None else rootfile.get("full-path")
    if not name:
        raise NoProse(f"its {_CONTAINER} names no package")
    return str(name)


def _spine(package: "_Element", folder: str) -> Iterator[str]:
    """The names of the chapters, in order."""
    names = {item.get("id"): item.get("href") for item in package.iterfind(".//{*}manifest/{*}item")}
    chapters = [names.get(item.get("idref")) for item in package.iterfind(".//{*}spine/{*}itemref") if item.get("linear") != "no"]
    if not any(chapters):
        raise NoProse("its spine names no chapters")
    for href in chapters:
        if href:
            yield posixpath.normpath(posixpath.join(folder, urllib.parse.unquote(href.partition("#")[0])))


def _read(book: Zip, name: str) -> bytes:
    entry = book.find(name)
    if entry is None and name == _CONTAINER:  # its folder is not hidden, but a book without it is no book
        raise NoProse(f"it has no {_CONTAINER}")
    if entry is None:
        raise NoProse(f"its file {name} is missing")
    try:
        return read_entry(book, entry, _MOST_BYTES)
    except Unreadable as error:
        raise NoProse(f"its file {name} cannot be read ({error})") from None


def _xml(content: bytes) -> "_Element":
    from lxml import etree

    # Entities stay as they are, so none can grow or name a file; nothing is fetched.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        return etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise NoProse(f"its package is no XML ({error})") from None


def _parsed_page(content: bytes) -> Any:
    from lxml import etree, html

    if len(content) > _MOST_BYTES or content.count(b"<") > _MOST_TAGS:
        raise NoProse(f"the page has more than {_MOST_BYTES:,} bytes or {_MOST_TAGS:,} tags")
    try:
        text = content.decode(_charset(content))
    except (UnicodeError, LookupError) as error:
        raise NoProse(f"the page is not in the encoding that it names ({error})") from None
    if not text.strip():
        raise NoProse("the page is blank")
    try:
        # As bytes, for lxml refuses text that names an encoding of its own.
        return html.document_fromstring(text.encode("utf-8", "replace"), parser=html.HTMLParser(encoding="utf-8", no_network=True, huge_tree=False))
    except (etree.ParserError, etree.XMLSyntaxError, ValueError) as error:
        raise NoProse(f"the page is no HTML ({error})") from None


def _charset(content: bytes) -> str:
    for mark, name in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if content.startswith(mark):
            return name
    found = _CHARSET.search(content[:_CHARSET_WITHIN])
    if found is None:
        return "utf-8"
    name = codecs.lookup(found[1].decode("ascii")).name
    if name in _NO_CHARSETS:
        raise LookupError(f"{name} is none of the web's")
    return name


def _text_of(root: Any) -> str:
    from inscriptis import Inscriptis
    from inscriptis.css_profiles import STRICT_CSS_PROFILE
    from inscriptis.html_properties import Display
    from inscriptis.model.config import ParserConfig
    from inscriptis.model.html_element import HtmlElement

    _unstyle(root)
    # The library's other profile would set in what stands in a box, and put white space round parts of words.
    styles = STRICT_CSS_PROFILE | {name: HtmlElement(display=Display.block) for name in _MORE_BLOCKS}
    try:
        text: str = Inscriptis(root, ParserConfig(css=styles)).get_text()
    except RecursionError:
        raise NoProse("the page is nested too deeply") from None
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


def _unstyle(root: Any) -> None:
    """Take out what would fill a text with white space, without end where a page is made for that: wide margins, columns of one width, lists in lists in lists.

    The cells of a table's row stand in one line with a bar between them, but where one holds several paragraphs.
    """
    from lxml import etree

    depth = 0
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if element.tag in _LISTS:
            depth += 1 if event == "start" else -1
        if event == "start":
            continue
        if style := element.attrib.pop("style", ""):
            element.set("style", ";".join(part for part in style.split(";") if part.strip().lower().startswith(("display", "white-space"))))
        if element.tag in _CELLS:
            _join(element)
        elif element.tag in _TABLE or (element.tag in _LISTS and depth >= _DEEPEST_LIST):
            element.tag = "div"


def _join(cell: Any) -> None:
    """Let ``cell`` go on with the line of the one before it."""
    if len(cell) == 1 and cell[0].tag in ("p", "div") and not (cell.text or "").strip():
        cell[0].tag = "span"
    before = next(cell.itersiblings("td", "th", "span", preceding=True), None)
    if before is not None and "none" not in before.get("style", "").lower():
        cell.text = f" | {(cell.text or '').lstrip()}"
    cell.tag = "span"
